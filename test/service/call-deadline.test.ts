/** Deadlines on the server's own clock, which this test moves, while a request is on its way. */
import { once } from 'node:events';
import { connect, type ClientHttp2Stream } from 'node:http2';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { dueMsOf } from '../../server/call-deadline.js';
import { GrpcServer } from '../../server/grpc-server.js';
import { loadConfig } from '../../src/config.js';
import { createMetrics } from '../../src/metrics.js';
import { VirtualClock } from '../virtual-clock.js';

const path = '/test.Echo/Due';
const longestMs = 60_000;
const raw = (bytes: Buffer): Buffer => bytes;
/** A message of no bytes. */
const emptyMessage = Buffer.alloc(5);

let clock: VirtualClock;
let server: GrpcServer;
let address: string;
/** When the calls whose requests have come are due. */
let due: number[];

beforeEach(async () => {
  clock = new VirtualClock(1000);
  due = [];
  const { config } = loadConfig([], {});
  const deadlines = new Map([[`${path}Capped`, longestMs]]);
  server = new GrpcServer({ config, deadlines, clock, metrics: createMetrics(new Registry()) });
  const method = (name: string) => ({
    path: name,
    requestStream: false,
    responseStream: false,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  });
  type Answer = (error: null, bytes: Buffer) => void;
  const handler = (call: { metadata: Parameters<typeof dueMsOf>[0] }, answer: Answer): void => {
    due.push(dueMsOf(call.metadata));
    answer(null, Buffer.alloc(0));
  };
  server.server.addService({ Due: method(path), Capped: method(`${path}Capped`) }, { Due: handler, Capped: handler });
  address = await server.bind({ host: '127.0.0.1', port: 0 });
});

afterEach(() => {
  vi.restoreAllMocks();
  server.cutOff();
});

/** Sends the headers, lets `meanwhile` happen once the server has them, then sends the request; resolves when the call has ended. */
async function callWith(headers: Record<string, string>, meanwhile: () => void, to = path): Promise<void> {
  const session = connect(`http://${address}`);
  await once(session, 'connect');
  try {
    const stream: ClientHttp2Stream = session.request({
      ':method': 'POST',
      ':path': to,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    const ended = new Promise<void>((resolve, reject) => stream.once('close', resolve).once('error', reject));
    // What is answered to a ping has come after the headers.
    await new Promise<void>((resolve, reject) => {
      session.ping((error) => (error === null ? resolve() : reject(error)));
    });
    meanwhile();
    stream.end(emptyMessage);
    stream.resume();
    await ended;
  } finally {
    session.close();
  }
}

test('a step of the wall clock while a request arrives does not move its deadline', async () => {
  for (const hours of [-1, 1]) {
    await callWith({ 'grpc-timeout': '50S' }, () => {
      clock.advance(10);
      const stepped = Date.now() + hours * 3_600_000;
      vi.spyOn(Date, 'now').mockReturnValue(stepped);
    });
    vi.restoreAllMocks();
  }
  expect(due).toEqual([51_000, 51_010]);
});

test('a deadline is the shorter of what the caller and the method say, and neither is none', async () => {
  const later = (): void => clock.advance(1);
  await callWith({}, later);
  await callWith({ 'grpc-timeout': '10H' }, later, `${path}Capped`);
  await callWith({}, later, `${path}Capped`);
  await callWith({ 'grpc-timeout': '30000m' }, later, `${path}Capped`);
  expect(due).toEqual([Infinity, 61_001, 61_002, 31_003]);
});

test('a caller cannot set its deadline but by its timeout', async () => {
  await callWith({ 'tc-internal-due-ms': '5' }, () => undefined);
  await callWith({ 'tc-internal-due-ms': '1e15', 'grpc-timeout': '40S' }, () => undefined);
  expect(due).toEqual([Infinity, 41_000]);
});
