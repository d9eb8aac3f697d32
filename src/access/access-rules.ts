/**
 * The access file: one credential a line, each a JSON object, so that lines are appended and deleted with any tool. Empty lines and those
 * that begin with `#` are skipped. A line names the caller and what it may do, and one way to be recognised:
 *
 *   {"identity": "depot-7", "tenants": ["depot"], "permissions": ["coordinate", "stream"], "sha256": "…64 hex digits…"}
 *   {"identity": "sim-1", "tenants": ["lab"], "certificate": "dns:sim-1.example.org"}
 *   {"identity": "planner", "tenants": ["*"], "subject": "planner@example.org", "expires": "2030-01-01T00:00:00Z"}
 *
 * `permissions` left out are all of them; `tenants` of ["*"] are any.
 */
import { timingSafeEqual } from 'node:crypto';
import { isTenantName, maxTenantLength } from '../batching/fairness.js';
import { allPermissions, type Caller, type Permission, permissions } from './caller.js';

interface TokenRule {
  readonly digest: Buffer;
  readonly caller: Caller;
}

export interface AccessRules {
  /** By the digest of their token, see `callerWithToken`. */
  readonly tokens: ReadonlyMap<string, TokenRule>;
  /** By `dns:`, `uri:`, `email:` or `cn:` and the name in their certificate. */
  readonly certificates: ReadonlyMap<string, Caller>;
  /** By the `sub` of their JSON web token. */
  readonly subjects: ReadonlyMap<string, Caller>;
}

/**
 * Undefined where no line holds the digest. Tokens are found by their digest, so the time that takes tells of SHA-256's output and not of
 * a token; the comparison that decides takes the same time wherever they differ.
 */
export function callerWithToken({ tokens }: AccessRules, digest: string): Caller | undefined {
  const rule = tokens.get(digest);
  if (rule === undefined || !timingSafeEqual(rule.digest, Buffer.from(digest, 'hex'))) return undefined;
  return rule.caller;
}

const fields = ['identity', 'tenants', 'permissions', 'sha256', 'certificate', 'subject', 'expires'] as const;
const certificateName = /^(?:dns|uri|email|cn):.+$/;
const longestName = 256;

/** Throws with the line's number and what was expected; never with what a line holds beyond names of fields. */
export function parseAccessRules(text: string): AccessRules {
  const tokens = new Map<string, TokenRule>();
  const certificates = new Map<string, Caller>();
  const subjects = new Map<string, Caller>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.trimStart().startsWith('#')) continue;
    const at = `line ${index + 1}`;
    const entry = objectOf(at, line);
    const caller = callerOf(at, entry);
    const { sha256, certificate, subject } = entry;
    if ([sha256, certificate, subject].filter((given) => given !== undefined).length !== 1)
      throw new Error(`${at}: expected one of sha256, certificate and subject`);
    if (sha256 !== undefined) {
      const digest = textOf(at, 'sha256', sha256, /^[0-9a-fA-F]{64}$/, '64 hexadecimal digits').toLowerCase();
      add(at, 'sha256', tokens, digest, { digest: Buffer.from(digest, 'hex'), caller });
    } else if (certificate !== undefined) {
      const name = textOf(at, 'certificate', certificate, certificateName, 'dns:, uri:, email: or cn: and a name');
      add(at, 'certificate', certificates, name, caller);
    } else {
      add(at, 'subject', subjects, textOf(at, 'subject', subject, /./, 'a text'), caller);
    }
  }
  return { tokens, certificates, subjects };
}

function objectOf(at: string, line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // What JSON.parse says quotes the line.
    throw new Error(`${at}: expected a JSON object, received something else`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`${at}: expected a JSON object, received something else`);
  const unknown = Object.keys(value).find((key) => !(fields as readonly string[]).includes(key));
  if (unknown !== undefined)
    throw new Error(`${at}: expected the fields ${fields.join(', ')}, received ${unknown.slice(0, 32)}`);
  return value as Record<string, unknown>;
}

function callerOf(at: string, { identity, tenants, permissions: allowed, expires }: Record<string, unknown>): Caller {
  return {
    identity: textOf(at, 'identity', identity, /^[\x21-\x7e]+$/, 'printable characters without spaces'),
    tenants: tenantsOf(at, tenants),
    permissions: allowed === undefined ? allPermissions : permissionsOf(at, allowed),
    expiresMs: expires === undefined ? Infinity : dateOf(at, expires),
  };
}

function tenantsOf(at: string, value: unknown): readonly string[] | null {
  const tenants = tenantList(value);
  if (tenants === undefined) {
    throw new Error(
      `${at}: tenants: expected ["*"] or a list of names of at most ${maxTenantLength} letters, digits and ._:/@-`,
    );
  }
  return tenants;
}

/** Null for any, undefined where it is no list of names. */
export function tenantList(value: unknown): readonly string[] | null | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  if (value.length === 1 && value[0] === '*') return null;
  const names = value.filter((name): name is string => typeof name === 'string' && isTenantName(name));
  return names.length === value.length ? names : undefined;
}

function permissionsOf(at: string, value: unknown): ReadonlySet<Permission> {
  const known = Array.isArray(value) ? value.map((name) => permissions.find((each) => each === name)) : [undefined];
  if (known.includes(undefined)) throw new Error(`${at}: permissions: expected a list of ${permissions.join(', ')}`);
  return new Set(known as Permission[]);
}

function dateOf(at: string, value: unknown): number {
  const ms = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) throw new Error(`${at}: expires: expected a date such as 2030-01-01T00:00:00Z`);
  return ms;
}

function textOf(at: string, field: string, value: unknown, pattern: RegExp, expected: string): string {
  if (typeof value !== 'string' || value.length > longestName || !pattern.test(value))
    throw new Error(`${at}: ${field}: expected ${expected}`);
  return value;
}

function add<T>(at: string, field: string, rules: Map<string, T>, key: string, rule: T): void {
  if (rules.has(key)) throw new Error(`${at}: ${field}: expected each once, received one that an earlier line has`);
  rules.set(key, rule);
}
