/** Who is let in, over real connections: tokens, client certificates, JSON web tokens, tenants and permissions, all changed live. */
import * as grpc from '@grpc/grpc-js';
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { createToken, tokenDigest } from '../../src/access/token.js';
import { errorDetailsOf } from './error-details-of.js';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { type CallOutcome, callMethod, metadataOf, SecurityFiles } from './security-files.js';
import { streamClient } from './stream-client.js';

const eventually = { timeout: 20_000, interval: 20 };
const listPath = '/tensorconsensus.v1.Coordinator/ListPolicies';
const issuer = 'https://issuer.example';
const audience = 'coordinator';
const tokens = { coordinator: createToken(), anybody: createToken(), lister: createToken() };
let files: SecurityFiles;
let fake: FakeServer;
let address: string;
let signingKey: CryptoKey;

function accessLine(identity: string, fields: object): string {
  return JSON.stringify({ identity, tenants: ['depot', 'yard'], ...fields });
}

function accessFile(...more: string[]): string {
  return [
    '# a comment',
    accessLine('coordinator', { permissions: ['coordinate', 'stream'], sha256: tokenDigest(tokens.coordinator) }),
    accessLine('anybody', { tenants: ['*'], sha256: tokenDigest(tokens.anybody) }),
    accessLine('lister', { permissions: ['list'], sha256: tokenDigest(tokens.lister) }),
    accessLine('machine', { certificate: 'dns:sim-1.example' }),
    ...more,
  ].join('\n');
}

async function keySet(): Promise<string> {
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  signingKey = privateKey;
  return JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256' }] });
}

function jwt(claims: object): Promise<string> {
  const exp = Math.floor(Date.now() / 1000) + 600;
  return new SignJWT({ iss: issuer, aud: audience, sub: 'planner', exp, tenants: ['depot'], ...claims })
    .setProtectedHeader({ alg: 'ES256' })
    .sign(signingKey);
}

beforeAll(() => {
  files = new SecurityFiles();
});

beforeEach(async () => {
  files.write('access.jsonl', accessFile());
  files.write('jwks.json', await keySet());
  files.writeServerCertificate();
  files.write('clients.pem', files.authority.cert);
  fake = await startFakeServer([
    ...files.tlsFlags(),
    ...['--tls-client-ca', files.path('clients.pem'), '--tls-require-client-cert', 'false'],
    ...['--access-file', files.path('access.jsonl')],
    ...['--jwt-jwks-file', files.path('jwks.json'), '--jwt-issuer', issuer, '--jwt-audience', audience],
  ]);
  address = fake.server.grpcAddress;
});

afterEach(async () => {
  await fake.server.close();
});

afterAll(() => {
  files.remove();
});

function call(
  token: string | null,
  options: { path?: string; tenant?: string; credentials?: grpc.ChannelCredentials } = {},
): Promise<CallOutcome> {
  const { tenant, path, credentials = files.credentials() } = options;
  return callMethod(address, {
    ...(path === undefined ? {} : { path }),
    credentials,
    metadata: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(tenant === undefined ? {} : { 'tc-tenant': tenant }),
    },
  });
}

function reasonOf({ error }: CallOutcome): string {
  return error === null ? 'answered' : `${grpc.status[error.code]} ${String(errorDetailsOf(error).reason)}`;
}

test('a call needs a token that is known, and nothing of it is read before', async () => {
  expect(reasonOf(await call(tokens.coordinator))).toBe('answered');
  expect(reasonOf(await call(null))).toBe('UNAUTHENTICATED CREDENTIALS_MISSING');
  expect(reasonOf(await call(createToken()))).toBe('UNAUTHENTICATED CREDENTIALS_REFUSED');
  expect(fake.core.decoded).toBe(1);
});

test('a caller calls for its own tenants only', async () => {
  expect(reasonOf(await call(tokens.coordinator))).toBe('answered');
  expect(reasonOf(await call(tokens.coordinator, { tenant: 'yard' }))).toBe('answered');
  expect(reasonOf(await call(tokens.coordinator, { tenant: 'other' }))).toBe('PERMISSION_DENIED TENANT_FORBIDDEN');
  expect(reasonOf(await call(tokens.anybody, { tenant: 'other' }))).toBe('answered');
  expect(fake.core.calls.map(({ context }) => context.tenant)).toEqual(['depot', 'yard', 'other']);
});

test('each method needs its permission, and health needs nothing', async () => {
  expect(reasonOf(await call(tokens.lister))).toBe('PERMISSION_DENIED METHOD_FORBIDDEN');
  expect(reasonOf(await call(tokens.lister, { path: listPath }))).toBe('answered');
  expect(reasonOf(await call(tokens.coordinator, { path: listPath }))).toBe('PERMISSION_DENIED METHOD_FORBIDDEN');
  expect(reasonOf(await call(null, { path: '/grpc.health.v1.Health/Check' }))).toBe('answered');
  const reflection = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
  expect(reasonOf(await call(tokens.coordinator, { path: reflection }))).toBe('PERMISSION_DENIED METHOD_FORBIDDEN');
  expect((await call(null, { path: '/nobody.Knows/This' })).error?.code).toBe(grpc.status.UNIMPLEMENTED);
});

test('a client certificate is a credential where the access file names it', async () => {
  const known = files.authority.issue({ commonName: 'x', names: ['dns:sim-1.example'] });
  const unknown = files.authority.issue({ commonName: 'sim-1.example', names: ['dns:sim-2.example'] });
  expect(reasonOf(await call(null, { credentials: files.credentials(known) }))).toBe('answered');
  expect(reasonOf(await call(null, { credentials: files.credentials(unknown) }))).toBe(
    'UNAUTHENTICATED CREDENTIALS_REFUSED',
  );
});

test('a JSON web token lets in while its issuer, audience and time are right, with the scope that it has', async () => {
  const good = await jwt({ scope: 'coordinate' });
  expect(reasonOf(await call(good))).toBe('answered');
  expect(reasonOf(await call(good))).toBe('answered');
  expect(reasonOf(await call(good, { path: listPath }))).toBe('PERMISSION_DENIED METHOD_FORBIDDEN');
  expect(reasonOf(await call(good, { tenant: 'yard' }))).toBe('PERMISSION_DENIED TENANT_FORBIDDEN');
  const past = Math.floor(Date.now() / 1000) - 60;
  for (const claims of [{ exp: past }, { aud: 'another' }, { iss: 'https://other.example' }, { tenants: undefined }]) {
    const refused = await jwt({ scope: 'coordinate', ...claims });
    expect(reasonOf(await call(refused)), JSON.stringify(claims)).toBe('UNAUTHENTICATED CREDENTIALS_REFUSED');
  }
  // The keys change: what they signed is no longer good, not even what was verified before.
  files.write('jwks.json', await keySet());
  await expect.poll(async () => reasonOf(await call(good)), eventually).toBe('UNAUTHENTICATED CREDENTIALS_REFUSED');
  expect(reasonOf(await call(await jwt({ scope: 'coordinate' })))).toBe('answered');
});

test('while strangers flood the server, whoever is known gets in by token, certificate or web token, and each stranger is told why', async () => {
  const strangers = await Promise.all(Array.from({ length: 30 }, () => call(createToken())));
  const expected = 'UNAUTHENTICATED CREDENTIALS_REFUSED';
  expect(strangers.map(reasonOf)).toEqual(strangers.map(() => expected));
  // Within the second for which calls are looked at as soon as their headers are there, or after it: the answers are the same.
  expect(reasonOf(await call(tokens.coordinator))).toBe('answered');
  const known = files.authority.issue({ commonName: 'x', names: ['dns:sim-1.example'] });
  expect(reasonOf(await call(null, { credentials: files.credentials(known) }))).toBe('answered');
  expect(reasonOf(await call(createToken()))).toBe(expected);
  expect(reasonOf(await call(await jwt({ scope: 'coordinate' })))).toBe('answered');
  expect(reasonOf(await call(createToken()))).toBe(expected);
  expect(reasonOf(await call(await jwt({ scope: 'coordinate', iss: 'somebody else' })))).toBe(expected);
  expect(reasonOf(await call(null))).toBe('UNAUTHENTICATED CREDENTIALS_MISSING');
  const metrics = await (await fetch(`http://${fake.server.adminAddress}/metrics`)).text();
  expect(metrics).toContain(`coordinate_access_refused_total{reason="credentials_refused"} ${strangers.length + 3}`);
  expect(fake.core.decoded).toBe(3);
});

test('tokens are added and revoked live, and a file that does not parse changes nothing but the log', async () => {
  const added = createToken();
  files.write('access.jsonl', accessFile(accessLine('new', { sha256: tokenDigest(added) })));
  await expect.poll(async () => reasonOf(await call(added)), eventually).toBe('answered');
  files.write('access.jsonl', `${accessFile()}\n{"broken`);
  await expect
    .poll(() => fake.logLines.filter(({ msg }) => String(msg).includes('access file is refused')).length, eventually)
    .toBe(1);
  expect(reasonOf(await call(added))).toBe('answered');
  files.write('access.jsonl', accessFile());
  await expect.poll(async () => reasonOf(await call(added)), eventually).toBe('UNAUTHENTICATED CREDENTIALS_REFUSED');
  expect(reasonOf(await call(tokens.coordinator))).toBe('answered');
});

test('a stream ends when its token is revoked, and others go on', async () => {
  const revoked = createToken();
  files.write('access.jsonl', accessFile(accessLine('new', { sha256: tokenDigest(revoked) })));
  await expect.poll(async () => reasonOf(await call(revoked)), eventually).toBe('answered');
  const client = streamClient(address, {}, files.credentials());
  try {
    const open = (token: string) => client.open({ metadata: metadataOf({ authorization: `Bearer ${token}` }) });
    const [ends, stays] = [open(revoked), open(tokens.coordinator)];
    ends.send({ requestId: 'a' });
    stays.send({ requestId: 'b' });
    await Promise.all([ends.received(1), stays.received(1)]);
    files.write('access.jsonl', accessFile());
    expect((await ends.status).code).toBe(grpc.status.UNAUTHENTICATED);
    stays.send({ requestId: 'c' });
    await stays.received(2);
    expect(stays.answers.map(({ requestId }) => requestId)).toEqual(['b', 'c']);
    stays.call.end();
    expect((await stays.status).code).toBe(grpc.status.OK);
  } finally {
    client.close();
  }
});

test('a stream ends at the date that its token is given while it is open', async () => {
  const dated = createToken();
  const fields = { sha256: tokenDigest(dated) };
  files.write('access.jsonl', accessFile(accessLine('new', fields)));
  await expect.poll(async () => reasonOf(await call(dated)), eventually).toBe('answered');
  const client = streamClient(address, {}, files.credentials());
  try {
    const stream = client.open({ metadata: metadataOf({ authorization: `Bearer ${dated}` }) });
    stream.send({ requestId: 'a' });
    await stream.received(1);
    // Far enough off for the file to be read before.
    const expires = new Date(Date.now() + 1500).toISOString();
    files.write('access.jsonl', accessFile(accessLine('new', { ...fields, expires })));
    expect((await stream.status).code).toBe(grpc.status.UNAUTHENTICATED);
  } finally {
    client.close();
  }
});

test('a stream ends when the time of its JSON web token is over', async () => {
  const exp = Math.floor(Date.now() / 1000) - 3;
  const client = streamClient(address, {}, files.credentials());
  try {
    // Within the tolerance of five seconds, for two or three more.
    const authorization = `Bearer ${await jwt({ scope: 'stream', exp })}`;
    const stream = client.open({ metadata: metadataOf({ authorization }) });
    stream.send({ requestId: 'a' });
    expect((await stream.status).code).toBe(grpc.status.UNAUTHENTICATED);
  } finally {
    client.close();
  }
});

test('no token appears in the log, in an error or at the admin address', async () => {
  const secret = createToken();
  const web = await jwt({ aud: 'another' });
  const outcomes = [await call(secret), await call(web), await call(tokens.lister), await call(tokens.coordinator)];
  const metrics = await (await fetch(`http://${fake.server.adminAddress}/metrics`)).text();
  const text = JSON.stringify([outcomes.map(({ error }) => [error?.details, error?.metadata]), fake.logLines, metrics]);
  for (const word of [secret, web, tokens.lister, tokens.coordinator, tokenDigest(tokens.coordinator)])
    expect(text).not.toContain(word);
  expect(metrics).toContain('coordinate_access_refused_total{reason="credentials_refused"} 2');
  expect(metrics).toContain('coordinate_access_refused_total{reason="method_forbidden"} 1');
});
