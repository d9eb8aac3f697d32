/** What deploy/ and the container files say agrees with the code. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config.js';
import { serverNodeFlags } from '../../src/node-flags.js';
import { packageRoot } from '../../src/package-root.js';

const read = (path: string): string => readFileSync(join(packageRoot, path), 'utf8');
const { config } = loadConfig([], {});
const grpcPort = String(config.grpcAddress.port);
const adminPort = String(config.adminAddress.port);

test('container, compose file and Prometheus use the default ports', () => {
  const dockerfile = read('Dockerfile');
  expect(dockerfile).toContain(`EXPOSE ${grpcPort} ${adminPort}\n`);
  expect(dockerfile).toContain(`TC_GRPC_ADDRESS=0.0.0.0:${grpcPort}\n`);
  expect(dockerfile).toContain(`TC_ADMIN_ADDRESS=0.0.0.0:${adminPort}\n`);
  expect(dockerfile).toContain(`http://127.0.0.1:${adminPort}/readyz`);
  expect(read('docker-compose.yml')).toContain(`127.0.0.1:${grpcPort}:${grpcPort}`);
  expect(read('docker-compose.yml')).toContain(`127.0.0.1:${adminPort}:${adminPort}`);
  expect(read('deploy/prometheus/prometheus.yml')).toContain(`coordinator:${adminPort}`);
});

test('every load profile calls Coordinate, and its tags describe its request', () => {
  const profiles = readdirSync(join(packageRoot, 'deploy/ghz'));
  expect(profiles.length).toBeGreaterThan(0);
  for (const file of profiles) {
    const profile = JSON.parse(read(`deploy/ghz/${file}`)) as { call: string; proto: string; tags: object };
    expect(read(profile.proto)).toContain('rpc Coordinate(');
    expect(profile.call).toBe('tensorconsensus.v1.Coordinator/Coordinate');
    expect(profile.tags, file).toMatchObject({
      policy: expect.any(String) as string,
      agents: expect.stringMatching(/^\d+$/) as string,
      tasks: expect.stringMatching(/^\d+$/) as string,
      width: expect.stringMatching(/^\d+$/) as string,
      forms: expect.stringMatching(/^(HARD|TOP_K|PLAN)(,(HARD|TOP_K|PLAN))*$/) as string,
    });
  }
});

test.each(['package.json', 'Dockerfile', 'client/cli.ts'])(
  '%s starts a server with the flags that it needs',
  (path) => {
    const words = read(path).split(/["',\s]+/);
    for (const flag of serverNodeFlags) expect(words).toContain(flag);
  },
);
