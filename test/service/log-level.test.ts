/** The log's level, changed at the admin address of a running server. */
import { request } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { VirtualClock } from '../virtual-clock.js';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { rawClient } from './raw-client.js';

let fake: FakeServer;
let clock: VirtualClock;

beforeEach(async () => {
  clock = new VirtualClock();
  fake = await startFakeServer([], { clock });
});

afterEach(async () => {
  await fake.server.close();
});

interface Reply {
  readonly status: number;
  readonly text: string;
}

function ask(method: string, query = '', headers: Record<string, string> = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request(`http://${fake.server.adminAddress}/log-level${query}`, { method, headers }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

async function answeredLines(): Promise<number> {
  const client = rawClient(fake.server.grpcAddress);
  await client.coordinate({});
  client.close();
  return fake.logLines.filter(({ msg }) => msg === 'call answered').length;
}

test('debug lines come once the level is debug, and the change itself is told', async () => {
  expect(await ask('GET')).toEqual({ status: 200, text: 'info\n' });
  expect(await answeredLines()).toBe(0);
  expect(await ask('PUT', '?level=debug')).toEqual({ status: 200, text: 'debug\n' });
  expect(await answeredLines()).toBe(1);
  expect(await ask('PUT', '?level=error')).toEqual({ status: 200, text: 'error\n' });
  expect(await answeredLines()).toBe(1);
  expect(await ask('GET')).toEqual({ status: 200, text: 'error\n' });
  const changes = fake.logLines.filter(({ msg }) => msg === 'log level changed');
  expect(changes.map(({ from, to }) => [from, to])).toEqual([
    ['info', 'debug'],
    ['debug', 'error'],
  ]);
});

test('a level set for a time goes back by itself to the configured one', async () => {
  await ask('PUT', '?level=trace&seconds=60');
  clock.advance(59_999);
  expect((await ask('GET')).text).toBe('trace\n');
  await ask('PUT', '?level=debug&seconds=60');
  clock.advance(59_999);
  expect((await ask('GET')).text).toBe('debug\n');
  clock.advance(1);
  expect((await ask('GET')).text).toBe('info\n');
});

test.each([
  '',
  '?level=',
  '?level=loud',
  '?level=debug&seconds=0',
  '?level=debug&seconds=x',
  '?level=debug&seconds=99999',
])('PUT %s changes nothing and says what was expected', async (query) => {
  const { status, text } = await ask('PUT', query);
  expect([status, text.includes('expected')]).toEqual([400, true]);
  expect((await ask('GET')).text).toBe('info\n');
});

test('a page in a browser of this machine cannot change it: not by a name of its own for this host, nor without asking first', async () => {
  expect((await ask('PUT', '?level=debug', { host: 'rebound.example:9464' })).status).toBe(403);
  for (const method of ['OPTIONS', 'POST', 'DELETE']) expect((await ask(method, '?level=debug')).status).toBe(405);
  expect((await ask('PUT', '?level=debug', { host: 'localhost:9464' })).status).toBe(200);
});
