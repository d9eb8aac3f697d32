/** What deploy/ and the container files say agrees with the code. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config.js';
import { serverNodeFlags } from '../../src/node-flags.js';
import { createMetrics } from '../../src/metrics.js';
import { packageRoot } from '../../src/package-root.js';

const read = (path: string): string => readFileSync(join(packageRoot, path), 'utf8');
const { config } = loadConfig([], {});
const grpcPort = String(config.grpcAddress.port);
const adminPort = String(config.adminAddress.port);

/** Series names that a scrape of the server holds. */
function scrapedNames(): Set<string> {
  const registry = new Registry();
  createMetrics(registry);
  collectDefaultMetrics({ register: registry });
  const names = new Set<string>();
  for (const { name, type } of registry.getMetricsAsArray()) {
    // prom-client's own types say string; at run time it is the name of the kind.
    const suffixes = String(type) === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    for (const suffix of suffixes) names.add(name + suffix);
  }
  return names;
}

const metricName = /\b(?:coordinate|nodejs|process)_[a-z0-9_]+/g;

test.each(['deploy/grafana/dashboards/tensor-consensus.json', 'deploy/prometheus/alerts.yml'])(
  '%s queries only metrics that the server exposes',
  (path) => {
    const names = scrapedNames();
    // The variable's query is not a rate, so a histogram's bare name never occurs.
    const used = [...read(path).matchAll(metricName)].map(([name]) => name);
    expect(used.length).toBeGreaterThan(5);
    for (const name of used) expect(names, name).toContain(name);
  },
);

test('every metric of the service is on the dashboard', () => {
  const dashboard = read('deploy/grafana/dashboards/tensor-consensus.json');
  const registry = new Registry();
  createMetrics(registry);
  for (const { name } of registry.getMetricsAsArray()) expect(dashboard).toContain(name);
});

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
