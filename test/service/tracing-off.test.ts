/** Without an endpoint nothing of OpenTelemetry is in the process. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/package-root.js';

/** Packages of OpenTelemetry that a server has loaded once it has answered a call, and how many scripts it has. */
async function census(...flags: string[]): Promise<{ scripts: number; packages: string[] }> {
  const script = join(packageRoot, 'test/service/module-census.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [script, ...flags]);
  return JSON.parse(stdout) as { scripts: number; packages: string[] };
}

test('a server without an endpoint loads none of it, but the interface that prom-client loads for itself', async () => {
  const { scripts, packages } = await census('--access-log', '1');
  expect(scripts).toBeGreaterThan(100);
  expect(packages).toEqual(['api']);
}, 120_000);

test('the same look finds it where there is an endpoint', async () => {
  const { packages } = await census('--otlp-endpoint', 'http://127.0.0.1:9');
  expect(packages).toEqual(expect.arrayContaining(['exporter-trace-otlp-proto', 'sdk-trace', 'resources']));
}, 120_000);
