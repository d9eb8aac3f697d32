/** JSON web tokens: signature, issuer, audience and times are checked by jose; who may do what is read from the claims. */
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose';
import { CoordinatorError } from '../errors.js';
import { tenantList } from './access-rules.js';
import { type Caller, type Permission, permissions } from './caller.js';

/** Only public keys sign: with a shared secret whoever verifies could also issue. */
export const jwtAlgorithms = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'] as const;

export interface JwtRules {
  readonly issuer: string;
  readonly audience: string;
  readonly algorithms: readonly string[];
  readonly clockToleranceSeconds: number;
  /** Claim that lists the tenants of a caller that the access file does not name. */
  readonly tenantsClaim: string;
}

type LocalKeySet = ReturnType<typeof createLocalJWKSet>;

/** Throws where the text is no set of JSON web keys, or holds private or shared ones. */
export function parseKeySet(text: string): LocalKeySet {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('expected a JSON web key set, received something that is not JSON');
  }
  const keys = (value as { readonly keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys) || keys.length === 0) throw new Error('expected a JSON web key set with at least one key');
  const secret = keys.some((key: unknown) => typeof key !== 'object' || key === null || 'd' in key || 'k' in key);
  if (secret) throw new Error('expected public keys only');
  return createLocalJWKSet(value as JSONWebKeySet);
}

/**
 * Whether the token is good now. Rejects with CREDENTIALS_REFUSED, which says what is wrong and nothing of the token. `now`: wall time.
 */
export async function verifyJwt(token: string, keys: LocalKeySet, rules: JwtRules, now: Date): Promise<JWTPayload> {
  const { issuer, audience, algorithms, clockToleranceSeconds: clockTolerance } = rules;
  try {
    const options = { issuer, audience, algorithms: [...algorithms], clockTolerance, currentDate: now };
    return (await jwtVerify(token, keys, { ...options, requiredClaims: ['exp', 'sub'] })).payload;
  } catch (cause) {
    throw new CoordinatorError('CREDENTIALS_REFUSED', `the JSON web token is refused: ${reasonOf(cause)}`, { cause });
  }
}

/** jose's own messages name claims and headers, and no values. */
function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'it has expired';
  if (error instanceof errors.JWTClaimValidationFailed) return `its claim ${error.claim} is not as expected`;
  if (error instanceof errors.JOSEAlgNotAllowed) return 'its algorithm is not allowed';
  if (error instanceof errors.JWKSNoMatchingKey) return 'no key of the key set signed it';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is wrong';
  return 'it does not read as one';
}

/**
 * The caller that verified claims stand for: the access file's where it names the subject, else of the tenants in the claim, with the
 * permissions in `scope`. Throws CREDENTIALS_REFUSED where the claims name no tenants.
 */
export function callerOf(claims: JWTPayload, named: Caller | undefined, rules: JwtRules): Caller {
  const expiresMs = ((claims.exp ?? 0) + rules.clockToleranceSeconds) * 1000;
  if (named !== undefined) return { ...named, expiresMs: Math.min(named.expiresMs, expiresMs) };
  const claimed = claims[rules.tenantsClaim];
  const tenants = tenantList(typeof claimed === 'string' ? [claimed] : claimed);
  if (tenants === undefined) {
    const text = `the JSON web token is refused: its claim ${rules.tenantsClaim} is not a list of tenants, and the access file does not name its subject`;
    throw new CoordinatorError('CREDENTIALS_REFUSED', text);
  }
  const scope = typeof claims['scope'] === 'string' ? claims['scope'].split(' ') : [];
  const allowed = permissions.filter((permission): permission is Permission => scope.includes(permission));
  return { identity: printable(claims.sub ?? ''), tenants, permissions: new Set(allowed), expiresMs };
}

/** As it may stand in a log line and in a message. */
function printable(subject: string): string {
  return subject.slice(0, 64).replace(/[^\x21-\x7e]/g, '?');
}
