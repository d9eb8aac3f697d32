/**
 * Bearer tokens: 256 random bits behind a prefix by which people and scanners know them. Servers keep SHA-256 of them: against that
 * many bits nothing slower is needed, and it is fast enough for every call.
 */
import { hash, randomBytes } from 'node:crypto';

const prefix = 'tct_';
const secretBytes = 32;

export function createToken(): string {
  return `${prefix}${randomBytes(secretBytes).toString('base64url')}`;
}

/** As access files hold it: 64 hexadecimal digits. */
export function tokenDigest(token: string): string {
  return hash('sha256', token, 'hex');
}
