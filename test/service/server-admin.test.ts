/** The admin address: metrics that Prometheus takes, and probes. */
import { execFileSync, spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { rawClient } from './raw-client.js';

let fake: FakeServer;
let origin: string;

beforeAll(async () => {
  fake = await startFakeServer();
  origin = `http://${fake.server.adminAddress}`;
  const client = rawClient(fake.server.grpcAddress);
  await client.coordinate({});
  client.close();
});

afterAll(async () => {
  await fake.server.close();
});

interface Family {
  readonly help: string;
  readonly type: string;
}

/** `# HELP` and `# TYPE` of every family. */
function familiesOf(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  for (const [, name, help] of text.matchAll(/^# HELP (\S+) (.*)$/gm)) {
    const type = new RegExp(`^# TYPE ${name} (\\w+)$`, 'm').exec(text)?.[1] ?? '';
    families.set(name!, { help: help!, type });
  }
  return families;
}

async function scrape(): Promise<string> {
  const response = await fetch(`${origin}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  return response.text();
}

test('/metrics holds the calls, the process and the event loop, in base units', async () => {
  const text = await scrape();
  expect(text).toMatch(/^coordinate_request_duration_seconds_count\{code="OK"\} 1$/m);
  expect(text).toMatch(/^coordinate_request_duration_seconds_bucket\{le="0\.00005",code="OK"\} \d$/m);
  expect(text).toMatch(/^coordinate_stage_duration_seconds_count\{stage="decode"\} 1$/m);
  expect(text).toMatch(/^process_resident_memory_bytes \d+$/m);
  expect(text).toMatch(/^nodejs_eventloop_lag_p99_seconds /m);
});

test('metric names follow the conventions: counters and they alone end in _total, every family has help and type', async () => {
  const families = familiesOf(await scrape());
  expect(families.size).toBeGreaterThan(30);
  for (const [name, { help, type }] of families) {
    expect(help, name).not.toBe('');
    expect(['counter', 'gauge', 'histogram'], name).toContain(type);
    expect(name.endsWith('_total'), name).toBe(type === 'counter');
    expect(name, name).toMatch(/^[a-z][a-z0-9_]*$/);
    expect(name, name).not.toMatch(/_(ms|milliseconds|us|kb|mb|kilobytes)(_|$)/);
  }
});

test('promtool has nothing to say about /metrics (where it is installed; the conventions are asserted without it)', async () => {
  const text = await scrape();
  const found = spawnSync('promtool', ['--version']).status === 0;
  // Its output is empty and its exit code 0 where it finds nothing; execFileSync throws on any other code.
  const said = found ? execFileSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' }) : '';
  expect(said).toBe('');
});

test.each([
  ['/livez', 200],
  ['/readyz', 200],
  ['/metrics?name=x', 200],
  ['/', 404],
  ['/metrics/', 404],
  ['/../etc/passwd', 404],
])('GET %s answers %i', async (path, status) => {
  expect((await fetch(origin + path)).status).toBe(status);
});

test('HEAD answers like GET without a body', async () => {
  const response = await fetch(`${origin}/metrics`, { method: 'HEAD' });
  expect(response.status).toBe(200);
  expect(await response.text()).toBe('');
});

test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('%s is refused', async (method) => {
  const response = await fetch(`${origin}/livez`, { method });
  expect(response.status).toBe(405);
  expect(response.headers.get('allow')).toBe('GET, HEAD');
});

test('what is not HTTP is cut off and the server lives on', async () => {
  const { port } = new URL(origin);
  const said = await new Promise<string>((resolve) => {
    let text = '';
    const socket = connect(Number(port), '127.0.0.1', () => socket.write('\0\x01 nonsense\r\n\r\n'));
    socket.on('data', (chunk) => (text += chunk.toString()));
    socket.on('close', () => resolve(text));
  });
  expect(said).toMatch(/^HTTP\/1\.1 400 /);
  expect((await fetch(`${origin}/livez`)).status).toBe(200);
});
