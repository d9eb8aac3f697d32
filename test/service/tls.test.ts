/** TLS of the gRPC address: what is encrypted, who may connect, and certificates that change while calls run. */
import { connect as connectTls, type DetailedPeerCertificate } from 'node:tls';
import * as grpc from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createAuthority } from '../../client/bench/certificates.js';
import { loadConfig } from '../../src/config.js';
import { startServer } from '../../server/start.js';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { callMethod, connectionTo, SecurityFiles } from './security-files.js';

const eventually = { timeout: 20_000, interval: 20 };
let files: SecurityFiles;
let fake: FakeServer | null = null;

beforeAll(() => {
  files = new SecurityFiles();
});

afterEach(async () => {
  await fake?.server.close();
  fake = null;
});

afterAll(() => {
  files.remove();
});

async function start(...flags: string[]): Promise<string> {
  fake = await startFakeServer([...files.tlsFlags(), ...flags]);
  return fake.server.grpcAddress;
}

/** As a new connection sees it. */
function presentedCertificate(address: string): Promise<DetailedPeerCertificate> {
  const [host = '', port = ''] = address.split(':');
  return new Promise((resolve, reject) => {
    const socket = connectTls(
      { host, port: Number(port), ca: files.authority.cert, ALPNProtocols: ['h2'], servername: '' },
      () => {
        resolve(socket.getPeerCertificate(true));
        socket.destroy();
      },
    );
    socket.on('error', reject);
  });
}

async function metric(name: string): Promise<number | undefined> {
  const found = await fake!.server.registry.getSingleMetric(name)?.get();
  return found?.values[0]?.value;
}

test('calls are answered over TLS, plaintext gets nowhere, and the metric tells when the certificate expires', async () => {
  const issued = files.authority.issue({ commonName: 'server', names: ['ip:127.0.0.1'], validMs: 7_200_000 });
  files.writeServerCertificate(issued);
  const address = await start();
  expect((await callMethod(address, { credentials: files.credentials() })).error).toBeNull();
  expect((await callMethod(address)).error?.code).toBe(grpc.status.UNAVAILABLE);
  const { valid_to } = await presentedCertificate(address);
  expect(await metric('coordinate_tls_certificate_expiry_timestamp_seconds')).toBe(Date.parse(valid_to) / 1000);
});

test('without TLS there is no expiry to alert on', async () => {
  fake = await startFakeServer();
  expect(await metric('coordinate_tls_certificate_expiry_timestamp_seconds')).toBeUndefined();
});

test('with an authority, connections without a certificate of it are refused', async () => {
  files.writeServerCertificate();
  const address = await start('--tls-client-ca', files.write('clients.pem', files.authority.cert));
  const known = files.authority.issue({ commonName: 'simulator' });
  const stranger = createAuthority('another authority').issue({ commonName: 'simulator' });
  expect((await callMethod(address, { credentials: files.credentials(known) })).error).toBeNull();
  expect((await callMethod(address, { credentials: files.credentials() })).error?.code).toBe(grpc.status.UNAVAILABLE);
  expect((await callMethod(address, { credentials: files.credentials(stranger) })).error?.code).toBe(
    grpc.status.UNAVAILABLE,
  );
});

test('a new certificate is used by new connections, and no call of an open one is lost', async () => {
  const first = files.authority.issue({ commonName: 'first', names: ['ip:127.0.0.1'] });
  files.writeServerCertificate(first);
  const address = await start();
  const client = connectionTo(address, files.credentials());
  const errors: (grpc.ServiceError | null)[] = [];
  const stop = new AbortController();
  const caller = (async () => {
    while (!stop.signal.aborted) errors.push((await callMethod(client)).error);
  })();
  try {
    expect((await presentedCertificate(address)).subject.CN).toBe('first');
    files.writeServerCertificate(files.authority.issue({ commonName: 'second', names: ['ip:127.0.0.1'] }));
    await expect.poll(async () => (await presentedCertificate(address)).subject.CN, eventually).toBe('second');
    const before = errors.length;
    await expect.poll(() => errors.length, eventually).toBeGreaterThan(before + 10);
  } finally {
    stop.abort();
    await caller;
    client.close();
  }
  expect(errors.filter((error) => error !== null)).toEqual([]);
  expect(fake!.logLines.filter(({ msg }) => msg === 'certificates changed')).toHaveLength(1);
});

test.each([
  ['garbage', () => files.write('server.pem', 'no certificate'), 'found none'],
  [
    'a certificate of another key',
    () => files.write('server.pem', files.authority.issue({ commonName: 'other' }).cert),
    'cannot be used together',
  ],
  [
    'an expired certificate',
    () => files.writeServerCertificate(files.authority.issue({ commonName: 'old', validMs: -1000 })),
    'expired on',
  ],
])('%s in place of the certificate changes nothing but for one line in the log', async (_what, breakFiles, reason) => {
  files.writeServerCertificate(files.authority.issue({ commonName: 'good', names: ['ip:127.0.0.1'] }));
  const address = await start();
  breakFiles();
  const refusals = () => fake!.logLines.filter(({ msg }) => String(msg).startsWith('changed certificates are refused'));
  await expect.poll(() => refusals().length, eventually).toBe(1);
  expect(refusals()[0]!['reason']).toContain(reason);
  expect((await presentedCertificate(address)).subject.CN).toBe('good');
  // It is picked up as soon as it is mended, and told as often as it was broken.
  files.writeServerCertificate(files.authority.issue({ commonName: 'mended', names: ['ip:127.0.0.1'] }));
  await expect.poll(async () => (await presentedCertificate(address)).subject.CN, eventually).toBe('mended');
  expect(refusals()).toHaveLength(1);
});

test('a start with files that cannot be used fails in one line that names the setting', async () => {
  files.write('server.key', 'no key');
  const { config } = loadConfig([...files.tlsFlags(), '--log-level', 'silent'], {
    TC_GRPC_ADDRESS: '127.0.0.1:0',
    TC_ADMIN_ADDRESS: '127.0.0.1:0',
  });
  await expect(startServer(config)).rejects.toThrow(/^--tls-cert, --tls-key: the certificate and its key[^\n]*$/);
});
