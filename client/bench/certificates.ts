/**
 * Certificates for an hour of measuring or testing, made in this process: no openssl is needed and no key lies in the repository.
 * X.509 version 3 in DER, P-256 keys, ECDSA with SHA-256.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

export interface CertificateAuthority {
  /** PEM. */
  readonly cert: string;
  issue(options: CertificateOptions): IssuedCertificate;
}

export interface CertificateOptions {
  readonly commonName: string;
  /** Subject alternative names: `dns:`, `ip:` (version 4) or `uri:` before each. */
  readonly names?: readonly string[];
  /** From now; negative: it has expired. An hour where left out. */
  readonly validMs?: number;
}

export interface IssuedCertificate {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

const hourMs = 3_600_000;

const oid = {
  commonName: '550403',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  ecdsaWithSha256: '2a8648ce3d040302',
} as const;

/** One that signs itself. */
export function createAuthority(commonName: string): CertificateAuthority {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const cert = certificate({ commonName }, commonName, publicKey, privateKey, true);
  return {
    cert,
    issue(options) {
      const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      return {
        cert: certificate(options, commonName, pair.publicKey, privateKey, false),
        key: createPrivateKey(pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))
          .export({ type: 'pkcs8', format: 'pem' })
          .toString(),
      };
    },
  };
}

function certificate(
  options: CertificateOptions,
  issuer: string,
  subjectKey: KeyObject,
  issuerKey: KeyObject,
  isAuthority: boolean,
): string {
  const { commonName, names = [], validMs = hourMs } = options;
  const now = Date.now();
  const algorithm = sequence(der(0x06, Buffer.from(oid.ecdsaWithSha256, 'hex')));
  const extensions: Buffer[] = [];
  if (isAuthority) extensions.push(extension(oid.basicConstraints, sequence(der(0x01, Buffer.from([0xff])))));
  if (names.length > 0) extensions.push(extension(oid.subjectAltName, sequence(...names.map(alternativeName))));
  // The first bit is clear, as the number is not negative, and the second set, so that no leading byte is 0.
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  const toSign = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    algorithm,
    distinguishedName(issuer),
    sequence(time(Math.min(now, now + validMs) - hourMs), time(now + validMs)),
    distinguishedName(commonName),
    subjectKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length === 0 ? [] : [der(0xa3, sequence(...extensions))]),
  );
  const signature = sign('sha256', toSign, issuerKey);
  const bytes = sequence(toSign, algorithm, der(0x03, Buffer.concat([Buffer.from([0]), signature])));
  const lines = bytes.toString('base64').match(/.{1,64}/g)!;
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(der(0x06, Buffer.from(id, 'hex')), der(0x04, value));
}

function distinguishedName(commonName: string): Buffer {
  const attribute = sequence(der(0x06, Buffer.from(oid.commonName, 'hex')), der(0x0c, Buffer.from(commonName)));
  return sequence(der(0x31, attribute));
}

function alternativeName(name: string): Buffer {
  const [kind, value] = [name.slice(0, name.indexOf(':')), name.slice(name.indexOf(':') + 1)];
  if (kind === 'ip') return der(0x87, Buffer.from(value.split('.').map(Number)));
  return der(kind === 'dns' ? 0x82 : 0x86, Buffer.from(value));
}

/** UTCTime, which reaches to 2049. */
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/\D/g, '').slice(2, 14);
  return der(0x17, Buffer.from(`${digits}Z`));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

/** Tag, length, value. */
function der(tag: number, value: Buffer): Buffer {
  const { length } = value;
  const head =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), value]);
}
