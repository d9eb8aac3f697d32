/** The access file, tokens, and who is taken for whom. */
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import { Authenticator, type VerifyJwt } from '../../src/access/authenticator.js';
import { callerWithToken, parseAccessRules } from '../../src/access/access-rules.js';
import { type Caller, tenantFor } from '../../src/access/caller.js';
import { callerOf, parseKeySet, verifyJwt } from '../../src/access/jwt.js';
import { createToken, tokenDigest } from '../../src/access/token.js';
import { CoordinatorError } from '../../src/errors.js';
import { alternativeNames, certificateNamesOf } from '../../server/client-certificate.js';

const token = createToken();
const line = (fields: object): string => JSON.stringify({ identity: 'sim', tenants: ['lab'], ...fields });
const lineOfToken = line({ sha256: tokenDigest(token) });

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof CoordinatorError ? error.code : String(error);
  }
  return 'let in';
}

describe('tokens', () => {
  test('are 256 random bits behind a prefix that scanners know', () => {
    expect(token).toMatch(/^tct_[A-Za-z0-9_-]{43}$/);
    expect(createToken()).not.toBe(token);
  });

  test('are known by their SHA-256 alone', () => {
    expect(tokenDigest('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    const rules = parseAccessRules(lineOfToken);
    expect(callerWithToken(rules, tokenDigest(token))).toMatchObject({ identity: 'sim', tenants: ['lab'] });
    expect(callerWithToken(rules, tokenDigest(`${token}x`))).toBeUndefined();
    expect(JSON.stringify([...rules.tokens])).not.toContain(token);
  });
});

describe('the access file', () => {
  test('skips comments and empty lines, and gives all permissions where none are named', () => {
    const rules = parseAccessRules(`# tokens\n\n${lineOfToken}\n${line({ certificate: 'dns:a.example' })}\n`);
    expect(rules.tokens.size).toBe(1);
    expect([...rules.certificates.get('dns:a.example')!.permissions]).toHaveLength(4);
  });

  test.each([
    ['not json', 'line 1: expected a JSON object'],
    ['[]', 'line 1: expected a JSON object'],
    [line({}), 'line 1: expected one of sha256, certificate and subject'],
    [line({ sha256: 'a'.repeat(64), subject: 'x' }), 'line 1: expected one of'],
    [line({ sha256: 'secret' }), 'line 1: sha256: expected 64 hexadecimal digits'],
    [line({ certificate: 'a.example' }), 'line 1: certificate: expected dns:'],
    [line({ subject: 'x', permissions: ['fly'] }), 'line 1: permissions: expected a list of coordinate, stream'],
    [line({ subject: 'x', tenants: [] }), 'line 1: tenants: expected ["*"]'],
    [line({ subject: 'x', tenants: ['a b'] }), 'line 1: tenants: expected ["*"]'],
    [line({ subject: 'x', identity: 'two words' }), 'line 1: identity: expected printable'],
    [line({ subject: 'x', expires: 'soon' }), 'line 1: expires: expected a date'],
    [line({ subject: 'x', tenant: 'lab' }), 'line 1: expected the fields identity, tenants'],
    [`${lineOfToken}\n${lineOfToken}`, 'line 2: sha256: expected each once'],
  ])('refuses %s', (text, message) => {
    expect(() => parseAccessRules(text)).toThrow(message);
  });

  test('is never quoted where it is refused', () => {
    for (const text of [`{"token": "${token}"`, line({ sha256: token }), line({ subject: 'x', expires: token })]) {
      try {
        parseAccessRules(text);
        expect.unreachable();
      } catch (error) {
        expect(String(error)).not.toContain(token);
      }
    }
  });
});

describe('tenants', () => {
  const caller = (tenants: string[] | null): Caller => ({
    identity: 'sim',
    tenants,
    permissions: new Set(),
    expiresMs: Infinity,
  });

  test('a caller counts as its first tenant where it names none, as the one it names of its own, and as no other', () => {
    expect(tenantFor(caller(['a', 'b']), '')).toBe('a');
    expect(tenantFor(caller(['a', 'b']), 'b')).toBe('b');
    expect(tenantFor(caller(null), 'c')).toBe('c');
    expect(tenantFor(caller(null), '')).toBe('');
    expect(codeOf(() => tenantFor(caller(['a', 'b']), 'c'))).toBe('TENANT_FORBIDDEN');
  });
});

describe('the authenticator', () => {
  const never: VerifyJwt = () => Promise.reject(new Error('not asked'));
  const bearer = (text: string): string[] => [`Bearer ${text}`];
  const make = (text: string, verify: VerifyJwt | null = null, nowMs = 0): Authenticator =>
    new Authenticator({ rules: parseAccessRules(text), verifyJwt: verify, wallMs: () => nowMs });

  test('a token decides where there is one, a certificate where there is none', () => {
    const authenticator = make(`${lineOfToken}\n${line({ identity: 'cert', certificate: 'cn:sim' })}`);
    expect(authenticator.authenticate(bearer(token), ['cn:sim'])).toMatchObject({ identity: 'sim' });
    expect(authenticator.authenticate([], ['dns:other', 'cn:sim'])).toMatchObject({ identity: 'cert' });
    expect(codeOf(() => authenticator.authenticate(bearer('wrong'), ['cn:sim']))).toBe('CREDENTIALS_REFUSED');
    expect(codeOf(() => authenticator.authenticate([], ['dns:other']))).toBe('CREDENTIALS_REFUSED');
    expect(codeOf(() => authenticator.authenticate([], []))).toBe('CREDENTIALS_MISSING');
  });

  test.each([[['Basic x']], [['Bearer']], [[token]], [[`Bearer ${token}`, `Bearer ${token}`]], [['Bearer a b']]])(
    'metadata of %j is no bearer token',
    (values) => {
      expect(codeOf(() => make(lineOfToken).authenticate(values, []))).toBe('CREDENTIALS_REFUSED');
    },
  );

  test('a token that is taken out of the rules, or past its date, is refused', () => {
    const authenticator = make(lineOfToken);
    authenticator.use(parseAccessRules(''));
    expect(codeOf(() => authenticator.authenticate(bearer(token), []))).toBe('CREDENTIALS_REFUSED');
    const dated = line({ sha256: tokenDigest(token), expires: '1970-01-01T00:00:10Z' });
    expect(codeOf(() => make(dated, null, 9_999).authenticate(bearer(token), []))).toBe('let in');
    expect(codeOf(() => make(dated, null, 10_000).authenticate(bearer(token), []))).toBe('CREDENTIALS_REFUSED');
  });

  test('a JSON web token is verified once, by calls that come together and after, until it expires or the rules change', async () => {
    let asked = 0;
    let nowMs = 0;
    const caller: Caller = { identity: 'jwt', tenants: null, permissions: new Set(), expiresMs: 1000 };
    const verify: VerifyJwt = () => {
      asked++;
      return Promise.resolve(caller);
    };
    const authenticator = new Authenticator({ rules: parseAccessRules(''), verifyJwt: verify, wallMs: () => nowMs });
    const ask = () => authenticator.authenticate(bearer('a.b.c'), []);
    await Promise.all([ask(), ask()]);
    expect(asked).toBe(1);
    expect(ask()).toBe(caller);
    authenticator.forget();
    await ask();
    expect(asked).toBe(2);
    nowMs = 1000;
    await expect(ask()).rejects.toMatchObject({ code: 'CREDENTIALS_REFUSED' });
    expect(asked).toBe(3);
  });

  test('what is remembered of strangers, and what is verified for them at a time, is bounded', async () => {
    const failing: VerifyJwt = () => Promise.reject(new CoordinatorError('CREDENTIALS_REFUSED', 'no'));
    const authenticator = make('', failing);
    for (let i = 0; i < 100; i++)
      await expect(authenticator.authenticate(bearer(`${i}.b.c`), [])).rejects.toThrow('no');
    expect(authenticator.remembered).toBe(0);
    const hanging = make('', () => new Promise(() => undefined));
    for (let i = 0; i < 64; i++) void hanging.authenticate(bearer(`${i}.b.c`), []);
    expect(codeOf(() => hanging.authenticate(bearer('64.b.c'), []))).toBe('QUEUE_FULL');
    expect(codeOf(() => make('', never).authenticate(bearer('opaque'), []))).toBe('CREDENTIALS_REFUSED');
  });
});

describe('JSON web tokens', () => {
  const rules = {
    issuer: 'https://issuer.example',
    audience: 'coordinator',
    algorithms: ['ES256'],
    clockToleranceSeconds: 5,
    tenantsClaim: 'tenants',
  };
  const now = new Date('2030-01-01T00:00:00Z');
  const seconds = now.getTime() / 1000;

  async function setUp() {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const keys = parseKeySet(JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' }] }));
    const issue = (claims: object, options: { key?: typeof privateKey; alg?: string } = {}): Promise<string> =>
      new SignJWT({ iss: rules.issuer, aud: rules.audience, sub: 'sim', exp: seconds + 60, ...claims })
        .setProtectedHeader({ alg: options.alg ?? 'ES256', kid: 'k1' })
        .sign(options.key ?? privateKey);
    return { keys, issue };
  }

  test('are taken while issuer, audience, times, algorithm and signature are as they must be', async () => {
    const { keys, issue } = await setUp();
    const verify = async (jwt: Promise<string>) => verifyJwt(await jwt, keys, rules, now);
    await expect(verify(issue({}))).resolves.toMatchObject({ sub: 'sim' });
    await expect(verify(issue({ exp: seconds - 4 }))).resolves.toMatchObject({ sub: 'sim' });
    await expect(verify(issue({ exp: seconds - 6 }))).rejects.toThrow('it has expired');
    await expect(verify(issue({ exp: undefined }))).rejects.toThrow('its claim exp');
    await expect(verify(issue({ sub: undefined }))).rejects.toThrow('its claim sub');
    await expect(verify(issue({ nbf: seconds + 60 }))).rejects.toThrow('its claim nbf');
    await expect(verify(issue({ aud: 'another' }))).rejects.toThrow('its claim aud');
    await expect(verify(issue({ iss: 'https://other.example' }))).rejects.toThrow('its claim iss');
    const stranger = await generateKeyPair('ES256');
    await expect(verify(issue({}, { key: stranger.privateKey }))).rejects.toThrow('its signature is wrong');
    const other = await generateKeyPair('PS256');
    await expect(verify(issue({}, { key: other.privateKey, alg: 'PS256' }))).rejects.toThrow('not allowed');
    const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${(await issue({})).split('.')[1]}.`;
    await expect(verify(Promise.resolve(unsigned))).rejects.toMatchObject({ code: 'CREDENTIALS_REFUSED' });
    await expect(verify(Promise.resolve('a.b.c'))).rejects.toThrow('it does not read as one');
  });

  test('are of the caller that the access file names, else of the tenants and the scope they claim', () => {
    const named = parseAccessRules(line({ identity: 'named', subject: 'sim' })).subjects.get('sim');
    expect(callerOf({ sub: 'sim', exp: 100 }, named, rules)).toMatchObject({ identity: 'named', expiresMs: 105_000 });
    const claimed = callerOf({ sub: 'sim x', exp: 100, tenants: ['a'], scope: 'list openid' }, undefined, rules);
    expect(claimed).toMatchObject({ identity: 'sim?x', tenants: ['a'] });
    expect([...claimed.permissions]).toEqual(['list']);
    expect(codeOf(() => callerOf({ sub: 'sim', exp: 100 }, undefined, rules))).toBe('CREDENTIALS_REFUSED');
    expect(codeOf(() => callerOf({ sub: 'sim', exp: 100, tenants: [1] }, undefined, rules))).toBe(
      'CREDENTIALS_REFUSED',
    );
  });

  test('key sets hold public keys', () => {
    expect(() => parseKeySet('{"keys": []}')).toThrow('at least one key');
    expect(() => parseKeySet('x')).toThrow('not JSON');
    expect(() => parseKeySet('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}')).toThrow('expected public keys only');
  });
});

describe('names in client certificates', () => {
  test('are the alternative names by kind, or the common name where there are none', () => {
    expect(alternativeNames('DNS:a.example, URI:spiffe://x/y, IP Address:10.0.0.1, email:a@b')).toEqual([
      'dns:a.example',
      'uri:spiffe://x/y',
      'email:a@b',
    ]);
    const socket = (authorized: boolean, certificate: object) =>
      ({ authorized, getPeerCertificate: () => certificate }) as unknown as Parameters<typeof certificateNamesOf>[0];
    expect(certificateNamesOf(socket(true, { subject: { CN: 'sim' } }))).toEqual(['cn:sim']);
    expect(certificateNamesOf(socket(true, { subject: { CN: 'sim' }, subjectaltname: 'DNS:a' }))).toEqual(['dns:a']);
    expect(certificateNamesOf(socket(true, { subject: { CN: ['a', 'b'] } }))).toEqual([]);
    expect(certificateNamesOf(socket(false, { subject: { CN: 'sim' } }))).toEqual([]);
    expect(certificateNamesOf(socket(true, {}))).toEqual([]);
  });

  test('a name that holds the list’s own separators makes no other names', () => {
    expect(alternativeNames('DNS:"evil, DNS:admin.example", DNS:b.example')).toEqual(['dns:b.example']);
    expect(alternativeNames('URI:"a\\", DNS:admin.example, URI:b"')).toEqual([]);
  });
});
