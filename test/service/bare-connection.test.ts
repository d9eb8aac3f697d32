/** The load generator's own calls against a gRPC server that knows nothing of them. */
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

const server = new Server();
let address: string;
let connection: BareConnection;

function call(message: string, deadlineMs = 60_000, metadata = {}): Promise<BareEnd> {
  return new Promise((resolve) => connection.call(path, framed(Buffer.from(message)), deadlineMs, metadata, resolve));
}

beforeAll(async () => {
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
  address = `127.0.0.1:${port}`;
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
    expect(seen[0]!.leftMs).toBeLessThanOrEqual(5000);
  });

  it("ends with the server's code and its details", async () => {
    expect(await call('refuse')).toEqual({ code: 'RESOURCE_EXHAUSTED', details });
  });

  it('ends once with DEADLINE_EXCEEDED where no answer comes in time', async () => {
    const ends: BareEnd[] = [];
    await new Promise<void>((resolve) => {
      connection.call(path, framed(Buffer.from('say nothing')), 30, {}, (end) => {
        ends.push(end);
        resolve();
      });
    });
    // Later calls are answered, and by then the cancelled one is over for the session, too.
    expect(await call('answer')).toMatchObject({ code: 'OK' });
    expect(ends).toMatchObject([{ code: 'DEADLINE_EXCEEDED' }]);
  });

  it('keeps calls apart that are under way together', async () => {
    const ends = await Promise.all(['answer', 'refuse', 'answer'].map((message) => call(message)));
    expect(ends.map(({ code }) => code)).toEqual(['OK', 'RESOURCE_EXHAUSTED', 'OK']);
  });

  it('ends with UNAVAILABLE when the server is gone, and so do calls after it', async () => {
    const open = call('say nothing');
    await expect.poll(() => seen.at(-1)?.message).toBe('say nothing');
    server.forceShutdown();
    expect(await open).toMatchObject({ code: 'UNAVAILABLE' });
    await expect.poll(async () => (await call('answer', 1000)).code).toBe('UNAVAILABLE');
    await expect(BareConnection.open(address)).rejects.toThrow('ECONNREFUSED');
  });
});
