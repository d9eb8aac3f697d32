/** The load generator's own calls against a gRPC server that knows nothing of them. */
import { once } from 'node:events';
import { constants, createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { Metadata, Server, ServerCredentials, status, type handleUnaryCall } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BareConnection, type BareEnd, framed } from '../../client/bench/bare-connection.js';

const path = '/test.Echo/Call';
const unchanged = (bytes: Buffer): Buffer => bytes;
const details = Buffer.from([0, 1, 254, 255]);
const seen: { message: string; tenant: unknown; leftMs: number }[] = [];

const echo: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
  const message = call.request.toString();
  const leftMs = Number(call.getDeadline()) - Date.now();
  seen.push({ message, tenant: call.metadata.get('tc-tenant')[0], leftMs });
  if (message === 'answer') callback(null, Buffer.alloc(100_000));
  if (message === 'refuse') {
    const metadata = new Metadata();
    metadata.set('grpc-status-details-bin', details);
    callback({ code: status.RESOURCE_EXHAUSTED, details: 'no', metadata });
  }
};

interface Listening {
  readonly server: Server;
  readonly address: string;
}

async function listen(): Promise<Listening> {
  const server = new Server();
  const types = {
    requestSerialize: unchanged,
    requestDeserialize: unchanged,
    responseSerialize: unchanged,
    responseDeserialize: unchanged,
  };
  server.addService({ Call: { path, requestStream: false, responseStream: false, ...types } }, { Call: echo });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { server, address: `127.0.0.1:${port}` };
}

let server: Server;
let address: string;
let connection: BareConnection;

function call(message: string, deadlineMs = 60_000, metadata = {}, over = connection): Promise<BareEnd> {
  return new Promise((resolve) => over.call(path, framed(Buffer.from(message)), deadlineMs, metadata, resolve));
}

beforeAll(async () => {
  ({ server, address } = await listen());
  connection = await BareConnection.open(address);
});

afterAll(() => {
  connection.close();
  server.forceShutdown();
});

describe('a bare connection', () => {
  it('sends the message, its metadata and its deadline, and ends with OK when the answer is there', async () => {
    seen.length = 0;
    expect(await call('answer', 5000, { 'tc-tenant': 'paced' })).toEqual({ code: 'OK', details: Buffer.alloc(0) });
    expect(seen).toEqual([{ message: 'answer', tenant: 'paced', leftMs: expect.any(Number) as number }]);
    expect(seen[0]!.leftMs).toBeGreaterThan(1000);
    expect(seen[0]!.leftMs).toBeLessThanOrEqual(5000);
  });

  it("ends with the server's code and its details", async () => {
    expect(await call('refuse')).toEqual({ code: 'RESOURCE_EXHAUSTED', details });
  });

  it('ends once with DEADLINE_EXCEEDED where no answer comes in time, and cancels the call', async () => {
    const deaf = createServer();
    const cancelled = new Promise<number>((resolve) => {
      deaf.on('stream', (stream) => {
        stream.on('error', () => undefined);
        stream.once('close', () => resolve(stream.rstCode));
      });
    });
    deaf.listen(0, '127.0.0.1');
    await once(deaf, 'listening');
    const toDeaf = await BareConnection.open(`127.0.0.1:${(deaf.address() as AddressInfo).port}`);
    const ends: BareEnd[] = [];
    toDeaf.call(path, framed(Buffer.from('anything')), 30, {}, (end) => ends.push(end));
    expect(await cancelled).toBe(constants.NGHTTP2_CANCEL);
    toDeaf.close();
    deaf.close();
    await once(deaf, 'close');
    expect(ends).toMatchObject([{ code: 'DEADLINE_EXCEEDED' }]);
  });

  it('keeps calls apart that are under way together', async () => {
    const ends = await Promise.all(['answer', 'refuse', 'answer'].map((message) => call(message)));
    expect(ends.map(({ code }) => code)).toEqual(['OK', 'RESOURCE_EXHAUSTED', 'OK']);
  });

  it('ends with UNAVAILABLE when the server goes, and so do calls after it', async () => {
    const other = await listen();
    const toOther = await BareConnection.open(other.address);
    seen.length = 0;
    const open = call('say nothing', 60_000, {}, toOther);
    await expect.poll(() => seen.length).toBe(1);
    other.server.forceShutdown();
    expect(await open).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await call('answer', 60_000, {}, toOther)).toMatchObject({ code: 'UNAVAILABLE' });
    await expect(BareConnection.open(other.address)).rejects.toThrow('ECONNREFUSED');
  });

  it('ends calls after its own closing with UNAVAILABLE, while an open one goes on', async () => {
    const own = await BareConnection.open(address);
    seen.length = 0;
    const open = call('say nothing', 500, {}, own);
    await expect.poll(() => seen.length).toBe(1);
    own.close();
    expect(await call('answer', 60_000, {}, own)).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await open).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  });
});
