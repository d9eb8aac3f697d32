/** Certificates of the gRPC address: read, checked, and read again when their files change. */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { Clock } from '../src/clock.js';
import { ConfigError, type Config } from '../src/config.js';
import type { Metrics } from '../src/metrics.js';
import { WatchedFiles } from '../src/watched-files.js';
import type { TlsMaterial } from './grpc-server.js';
import type { Logger } from './log.js';

export interface TlsOptions {
  readonly config: Pick<Config, 'tlsCert' | 'tlsKey' | 'tlsClientCa' | 'tlsRequireClientCert' | 'credentialPollMs'>;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Called with what new connections are to use. */
  readonly onChange: (material: TlsMaterial) => void;
}

/** Null where the settings ask for no TLS. Rejects with ConfigError where the files cannot be used. */
export async function openTls(options: TlsOptions): Promise<WatchedFiles<TlsMaterial> | null> {
  const { config, clock, metrics, log, onChange } = options;
  const { tlsCert, tlsKey, tlsClientCa } = config;
  if (tlsCert === null || tlsKey === null) return null;
  const parse = (contents: readonly Buffer[]): TlsMaterial => readMaterial(contents, config.tlsRequireClientCert);
  const show = (material: TlsMaterial): void => {
    const { certificateExpiry, fileReload } = metrics;
    certificateExpiry.set({ certificate: 'server' }, expiryOf(material.cert));
    if (material.ca !== null) certificateExpiry.set({ certificate: 'client_ca' }, expiryOf(material.ca));
    fileReload.inc({ file: 'tls', result: 'loaded' });
  };
  const paths = [tlsCert, tlsKey, ...(tlsClientCa === null ? [] : [tlsClientCa])];
  const files = await WatchedFiles.open({
    paths,
    pollMs: config.credentialPollMs,
    clock,
    parse,
    onChange(material) {
      show(material);
      log.info({ file: tlsCert, expires: dateOf(expiryOf(material.cert)) }, 'certificates changed');
      onChange(material);
    },
    onRefused(reason) {
      metrics.fileReload.inc({ file: 'tls', result: 'refused' });
      log.error({ file: tlsCert, reason }, 'changed certificates are refused; those before stay in use');
    },
  }).catch((error: unknown) => {
    throw new ConfigError(`--tls-cert, --tls-key: ${error instanceof Error ? error.message : String(error)}`);
  });
  show(files.current);
  return files;
}

/** Certificate chain, key and, where there is one, the clients' authorities. */
function readMaterial([cert, key, ca]: readonly Buffer[], requireClientCert: boolean): TlsMaterial {
  const chain = certificatesIn(cert!);
  if (chain.length === 0) throw new Error('the certificate file: expected certificates in PEM, found none');
  const { validTo } = chain[0]!;
  if (Date.parse(validTo) <= Date.now()) throw new Error(`the certificate expired on ${validTo}`);
  if (ca !== undefined && certificatesIn(ca).length === 0)
    throw new Error("the clients' authorities: expected certificates in PEM, found none");
  try {
    createSecureContext({ cert: cert!, key: key!, ...(ca === undefined ? {} : { ca }) });
  } catch (cause) {
    // OpenSSL's words name the defect and quote nothing of the key.
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the certificate and its key cannot be used together: ${said}`, { cause });
  }
  return { cert: cert!, key: key!, ca: ca ?? null, requireClientCert };
}

/** Those that a PEM file holds. Throws where one does not read. */
function certificatesIn(pem: Buffer): X509Certificate[] {
  const blocks = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

/** Seconds since 1970: of the first one to expire. */
function expiryOf(pem: Buffer): number {
  return Math.min(...certificatesIn(pem).map(({ validTo }) => Date.parse(validTo))) / 1000;
}

function dateOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
