/** The client and the commands against a server that lets in whom it knows: TLS, certificates, tokens from files. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CoordinatorClient, matrix, tokenFile } from '../../client/client.js';
import { createToken, tokenDigest } from '../../src/access/token.js';
import { packageRoot } from '../../src/package-root.js';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { SecurityFiles } from './security-files.js';

const eventually = { timeout: 20_000, interval: 20 };
const request = { agents: matrix(1, 1, [0]) };
let files: SecurityFiles;
let fake: FakeServer;

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function cli(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const command = join(packageRoot, 'dist/client/cli.js');
    const child = spawn(process.execPath, [command, ...argv], { env: { ...process.env, ...env } });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.once('close', (code) => resolve({ code, out, err }));
  });
}

function lineOf(identity: string, token: string): string {
  return JSON.stringify({ identity, tenants: ['lab'], sha256: tokenDigest(token) });
}

const first = createToken();
const second = createToken();

beforeAll(async () => {
  files = new SecurityFiles();
  files.writeServerCertificate();
  files.write('ca.pem', files.authority.cert);
  files.write('access.jsonl', [lineOf('first', first), lineOf('second', second)].join('\n'));
  fake = await startFakeServer([...files.tlsFlags(), '--access-file', files.path('access.jsonl')]);
});

afterAll(async () => {
  await fake.server.close();
  files.remove();
});

function clientWith(token?: string | (() => string)): CoordinatorClient {
  const tls = { ca: files.authority.cert };
  return new CoordinatorClient(fake.server.grpcAddress, { tls, ...(token === undefined ? {} : { token }) });
}

test('calls, streams and health of a client go over TLS with its token', async () => {
  const client = clientWith(first);
  try {
    await client.waitForReady(20_000);
    expect((await client.coordinate(request)).resources).toBeDefined();
    const stream = client.openStream();
    expect((await stream.send(request)).resources).toBeDefined();
    await stream.close();
    expect(fake.core.calls.map(({ context }) => context.tenant)).toEqual(['lab', 'lab']);
  } finally {
    client.close();
  }
});

test('a client without a token is told so, and not sent round again', async () => {
  const client = clientWith();
  try {
    await expect(client.coordinate(request)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      reason: 'CREDENTIALS_MISSING',
    });
  } finally {
    client.close();
  }
});

test('a token file is read again when it changes', async () => {
  const token = tokenFile(files.write('rotated.token', `${first}\n`));
  expect(token()).toBe(first);
  files.write('rotated.token', second);
  await expect.poll(() => token(), eventually).toBe(second);
  files.write('rotated.token', '');
  await new Promise((resolve) => setTimeout(resolve, 1100));
  expect(token()).toBe(second);
  expect(() => tokenFile(files.path('rotated.token'))).toThrow('expected one token');
});

test('a token does not travel in plain text beyond this machine, and a certificate needs its key', () => {
  for (const address of ['10.0.0.1:50051', 'swarm.example:50051', 'dns:///swarm.example:1', '127.0.0.1.example:1'])
    expect(() => new CoordinatorClient(address, { token: first })).toThrow('token: expected tls');
  for (const address of ['127.0.0.1:50051', 'localhost:1', '[::1]:50051'])
    new CoordinatorClient(address, { token: first }).close();
  expect(() => new CoordinatorClient('127.0.0.1:1', { tls: { cert: 'x' } })).toThrow('tls: expected a certificate and');
});

test('the command makes a token that its line lets in, and keeps it from other eyes', async () => {
  const path = files.path('made.token');
  const made = await cli(['token', '--identity', 'made', '--tenant', 'lab', '--token-file', path]);
  expect(made).toMatchObject({ code: 0, err: '' });
  const token = readFileSync(path, 'utf8').trim();
  expect(JSON.parse(made.out)).toEqual({ identity: 'made', tenants: ['lab'], sha256: tokenDigest(token) });
  expect(made.out).not.toContain(token);
  expect(statSync(path).mode & 0o077).toBe(0);
  files.write('access.jsonl', [lineOf('first', first), lineOf('second', second), made.out].join('\n'));
  const flags = ['policies', '--address', fake.server.grpcAddress, '--ca', files.path('ca.pem'), '--output', 'json'];
  const env = { TC_CLIENT_TOKEN_FILE: path };
  await expect.poll(async () => (await cli(flags, env)).code, { timeout: 50_000, interval: 20 }).toBe(0);
  const refused = await cli(flags);
  expect(refused).toMatchObject({ code: 1, out: '' });
  expect(refused.err).toContain('UNAUTHENTICATED CREDENTIALS_MISSING');
});

test.each([
  [['--identity', 'x'], '--token-file'],
  [['--identity', 'two words', '--token-file', 'unused.token'], 'identity: expected printable'],
  [['--identity', 'x', '--token-file', 'unused.token', '--permissions', 'fly'], 'permissions: expected'],
])('the command token %j is refused in one line and writes nothing', async (argv, message) => {
  const ended = await cli(['token', ...argv]);
  expect(ended).toMatchObject({ code: 2, out: '' });
  expect(ended.err).toContain(message);
  expect(existsSync('unused.token')).toBe(false);
});
