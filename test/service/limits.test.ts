/** What a connection may not do to the server: come in crowds, send large metadata, ping without end, stay for nothing. */
import { once } from 'node:events';
import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { callMethod, connectionTo } from './security-files.js';

const eventually = { timeout: 20_000, interval: 20 };
let fake: FakeServer | null = null;

afterEach(async () => {
  await fake?.server.close();
  fake = null;
});

async function start(...flags: string[]): Promise<string> {
  fake = await startFakeServer(flags);
  return fake.server.grpcAddress;
}

async function metrics(): Promise<string> {
  return (await fetch(`http://${fake!.server.adminAddress}/metrics`)).text();
}

test('connections beyond the limit are closed as they come, and those before them are served', async () => {
  const address = await start('--max-connections', '2');
  const client = connectionTo(address, grpc.credentials.createInsecure());
  const [host = '', port = ''] = address.split(':');
  const sockets: Socket[] = [];
  try {
    expect((await callMethod(client)).error).toBeNull();
    let closed = 0;
    for (let i = 0; i < 20; i++) {
      const socket = connectTcp({ host, port: Number(port) });
      socket.on('error', () => undefined).once('close', () => closed++);
      sockets.push(socket.resume());
    }
    await expect.poll(() => closed, eventually).toBe(19);
    expect((await callMethod(client)).error).toBeNull();
    expect(await metrics()).toContain('coordinate_connections_refused_total{reason="limit"} 19');
  } finally {
    for (const socket of sockets) socket.destroy();
    client.close();
  }
});

test('metadata beyond the limit ends the call that brings it and no other', async () => {
  const address = await start('--max-metadata-kb', '8');
  const client = connectionTo(address, grpc.credentials.createInsecure());
  try {
    const large = Object.fromEntries(Array.from({ length: 12 }, (_, index) => [`x-${index}`, 'a'.repeat(1000)]));
    expect((await callMethod(client, { metadata: large })).error).not.toBeNull();
    expect(fake!.core.calls).toHaveLength(0);
    const small = Object.fromEntries(Object.entries(large).slice(0, 4));
    expect((await callMethod(client, { metadata: small })).error).toBeNull();
  } finally {
    client.close();
  }
});

/** Pings until the session is closed; how many were answered. */
async function pingUntilClosed(session: ClientHttp2Session, most: number): Promise<number> {
  let answered = 0;
  for (let i = 0; i < most && !session.destroyed && !session.closed; i++) {
    const ok = await new Promise<boolean>((resolve) => {
      session.once('close', () => resolve(false));
      if (!session.ping((error) => resolve(error === null))) resolve(false);
    });
    session.removeAllListeners('close');
    if (!ok) break;
    answered++;
  }
  return answered;
}

test('a connection that sends ping after ping is closed and told why; one that does so beside its calls is not', async () => {
  const address = await start('--max-idle-pings', '10');
  const idle = connect(`http://${address}`);
  let goaway: { code: number; data: string } | null = null;
  idle.on('error', () => undefined);
  idle.on('goaway', (code: number, _last: number, data?: Buffer) => {
    goaway = { code, data: data?.toString() ?? '' };
  });
  await once(idle, 'connect');
  const answered = await pingUntilClosed(idle, 100);
  // A slow machine refills a ping every six seconds.
  expect(answered).toBeGreaterThanOrEqual(10);
  expect(answered).toBeLessThan(50);
  await expect
    .poll(() => goaway, eventually)
    .toEqual({ code: constants.NGHTTP2_ENHANCE_YOUR_CALM, data: 'too_many_pings' });
  expect(await metrics()).toContain('coordinate_connections_refused_total{reason="pings"} 1');

  const busy = connect(`http://${address}`);
  busy.on('error', () => undefined);
  await once(busy, 'connect');
  fake!.core.answerElements = 100;
  for (let i = 0; i < 30; i++) {
    await new Promise<void>((resolve, reject) => {
      const stream = busy.request({
        ':method': 'POST',
        ':path': '/tensorconsensus.v1.Coordinator/Coordinate',
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      stream.on('error', reject).on('end', () => resolve());
      stream.resume().end(Buffer.alloc(5));
    });
    expect(await pingUntilClosed(busy, 1)).toBe(1);
  }
  busy.destroy();
});

test('a connection without calls is asked to go, and its client connects again', async () => {
  const address = await start('--max-connection-idle-ms', '1000');
  const client = connectionTo(address, grpc.credentials.createInsecure());
  try {
    expect((await callMethod(client)).error).toBeNull();
    await expect.poll(async () => /coordinate_connections_open (\d+)/.exec(await metrics())?.[1], eventually).toBe('0');
    expect((await callMethod(client)).error).toBeNull();
  } finally {
    client.close();
  }
});
