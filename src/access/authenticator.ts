/** Turns what a call brings (a bearer token, a client certificate) into a caller, or refuses it. */
import { CoordinatorError } from '../errors.js';
import { type AccessRules, callerWithToken } from './access-rules.js';
import type { Caller } from './caller.js';
import { tokenDigest } from './token.js';

/** Verifies a JSON web token, which takes as long as its signature does; rejects with CREDENTIALS_REFUSED. */
export type VerifyJwt = (token: string, rules: AccessRules) => Promise<Caller>;

export interface AuthenticatorOptions {
  readonly rules: AccessRules;
  /** Null: JSON web tokens are refused. */
  readonly verifyJwt: VerifyJwt | null;
  /** Milliseconds since 1970. */
  readonly wallMs: () => number;
}

/** Verified JSON web tokens that are remembered; those beyond are verified again. */
const mostRemembered = 10_000;
/** Verifications under way; each takes a thread of Node's pool for a moment, and strangers may ask for them. */
const mostVerifying = 64;
/** Headers of gRPC are far shorter; the rest is not worth hashing. */
const longestToken = 16 * 1024;

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  #rules: AccessRules;
  /** By the digest of the token, so that no token is kept; oldest first. */
  readonly #verified = new Map<string, Caller>();
  readonly #verifying = new Map<string, Promise<Caller>>();

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
    this.#rules = options.rules;
  }

  /** From now on; what was verified under the old rules is verified again. */
  use(rules: AccessRules): void {
    this.#rules = rules;
    this.forget();
  }

  /** For when the keys changed. */
  forget(): void {
    this.#verified.clear();
    this.#verifying.clear();
  }

  get remembered(): number {
    return this.#verified.size;
  }

  /**
   * `authorization`: the metadata's values of that name. Where there is one it decides; else the first of the certificate's names that the
   * rules know. At once but for a JSON web token that is not remembered. Throws, or rejects with, CREDENTIALS_MISSING or CREDENTIALS_REFUSED.
   */
  authenticate(authorization: readonly unknown[], certificateNames: readonly string[]): Caller | Promise<Caller> {
    if (authorization.length === 0) return this.#unexpired(this.#withCertificate(certificateNames));
    const token = bearerToken(authorization);
    const digest = tokenDigest(token);
    const known = callerWithToken(this.#rules, digest);
    if (known !== undefined) return this.#unexpired(known);
    if (this.#options.verifyJwt === null || !looksLikeJwt(token)) throw refused('the bearer token is not known');
    const remembered = this.#verified.get(digest);
    if (remembered !== undefined && remembered.expiresMs > this.#options.wallMs()) return remembered;
    return this.#verify(token, digest, this.#options.verifyJwt);
  }

  #withCertificate(names: readonly string[]): Caller {
    for (const name of names) {
      const caller = this.#rules.certificates.get(name);
      if (caller !== undefined) return caller;
    }
    if (names.length > 0) throw refused('no access is given to the names in the client certificate');
    throw new CoordinatorError('CREDENTIALS_MISSING', 'expected metadata authorization: Bearer TOKEN, received none');
  }

  #unexpired(caller: Caller): Caller {
    if (caller.expiresMs <= this.#options.wallMs()) throw refused('the credential has expired');
    return caller;
  }

  /** Calls that bring the same token while it is verified share one verification. */
  #verify(token: string, digest: string, verify: VerifyJwt): Promise<Caller> {
    const underWay = this.#verifying.get(digest);
    if (underWay !== undefined) return underWay;
    if (this.#verifying.size >= mostVerifying) {
      throw new CoordinatorError('QUEUE_FULL', 'too many tokens are being verified', { retryAfterMs: 50 });
    }
    const verified = verify(token, this.#rules)
      .then((caller) => {
        // Not where keys or rules changed meanwhile.
        if (this.#verifying.get(digest) === verified) this.#remember(digest, caller);
        return this.#unexpired(caller);
      })
      .finally(() => {
        if (this.#verifying.get(digest) === verified) this.#verifying.delete(digest);
      });
    this.#verifying.set(digest, verified);
    return verified;
  }

  #remember(digest: string, caller: Caller): void {
    if (this.#verified.size >= mostRemembered) {
      const [oldest] = this.#verified.keys();
      this.#verified.delete(oldest!);
    }
    this.#verified.set(digest, caller);
  }
}

function bearerToken(values: readonly unknown[]): string {
  const [value] = values;
  const match = typeof value === 'string' && values.length === 1 ? /^bearer +(\S+)$/i.exec(value) : null;
  if (match === null || match[1]!.length > longestToken)
    throw refused('metadata authorization: expected one value of the form Bearer TOKEN');
  return match[1]!;
}

function looksLikeJwt(token: string): boolean {
  return token.split('.', 4).length === 3;
}

function refused(text: string): CoordinatorError {
  return new CoordinatorError('CREDENTIALS_REFUSED', text);
}
