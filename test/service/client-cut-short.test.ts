/** Answers that were cut off in the middle: a server that is killed has often sent the headers of an answer and nothing else of it. */
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { CoordinatorClient, matrix } from '../../client/client.js';
import { coordinateMethod } from '../wire-codec.js';
import { startFakeServer } from './fake-server.js';

const closers: (() => unknown)[] = [];
/** Connections to the servers of a test. */
const sockets: Socket[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const headers = { ':status': 200, 'content-type': 'application/grpc' };
const request = { requestId: 'whole', agents: matrix(1, 1, [1]) };

/** Lets `answer` do as it likes with each call of Coordinate; resolves with the address. */
async function start(answer: (stream: ServerHttp2Stream) => void): Promise<string> {
  const server: Http2Server = createServer();
  server.on('connection', (socket: Socket) => sockets.push(socket));
  server.on('stream', (stream) => {
    stream.on('error', () => undefined);
    stream.resume();
    answer(stream);
  });
  server.on('sessionError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The headers arrive, then the connection is reset. */
function cutOff(stream: ServerHttp2Stream): void {
  stream.respond(headers);
  // Answered pings tell that the client has what was sent before.
  stream.session!.ping(() => {
    for (const socket of sockets.splice(0)) socket.resetAndDestroy();
  });
}

function clientOf(addresses: string | readonly string[], retries: number): CoordinatorClient {
  const client = new CoordinatorClient(addresses, { retries, deadlineMs: 30_000 });
  closers.push(() => client.close());
  return client;
}

test('a call whose answer is cut off after its headers is sent again', async () => {
  const body = coordinateMethod.requestSerialize({});
  let calls = 0;
  const address = await start((stream) => {
    calls += 1;
    if (calls === 1) {
      cutOff(stream);
      return;
    }
    stream.respond(headers, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    // An empty message.
    stream.end(Buffer.alloc(5 + body.length));
  });
  await clientOf(address, 1).coordinate(request);
  expect(calls).toBe(2);
});

test('it is told as UNAVAILABLE where no retry is left', async () => {
  let calls = 0;
  const address = await start((stream) => {
    calls += 1;
    cutOff(stream);
  });
  await expect(clientOf(address, 0).coordinate(request)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: '' });
  expect(calls).toBe(1);
  await expect(clientOf(address, 2).coordinate(request)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: '' });
  expect(calls).toBe(4);
});

test('over several replicas no call is lost to one that cuts all its answers off', async () => {
  const [broken, healthy] = [await start(cutOff), await startFakeServer()];
  closers.push(() => healthy.server.close());
  const client = clientOf([broken, healthy.server.grpcAddress], 4);
  for (let i = 0; i < 20; i++) expect((await client.coordinate(request)).requestId).toBe('whole');
});
