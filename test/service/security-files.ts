/** Files of a server's credentials in a folder of the test's own, and gRPC clients that use them. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { createAuthority, type IssuedCertificate } from '../../client/bench/certificates.js';

export class SecurityFiles {
  readonly folder = mkdtempSync(join(tmpdir(), 'tc-security-'));
  readonly authority = createAuthority('test authority');

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Replaced at one instant, as mounted secrets are. */
  write(name: string, content: string): string {
    const path = this.path(name);
    writeFileSync(`${path}.new`, content);
    renameSync(`${path}.new`, path);
    return path;
  }

  /** A certificate for 127.0.0.1 and its key, as server.pem and server.key. */
  writeServerCertificate(issued = this.authority.issue({ commonName: 'server', names: ['ip:127.0.0.1'] })): void {
    this.write('server.pem', issued.cert);
    this.write('server.key', issued.key);
  }

  /** `--tls-cert` and `--tls-key`, and files that are looked at often. */
  tlsFlags(): string[] {
    return [
      ...['--tls-cert', this.path('server.pem'), '--tls-key', this.path('server.key')],
      ...['--credential-poll-ms', '50'],
    ];
  }

  /** What trusts the authority; with the client's own certificate where it has one. */
  credentials(client?: IssuedCertificate): grpc.ChannelCredentials {
    const own = client === undefined ? [] : [Buffer.from(client.key), Buffer.from(client.cert)];
    return grpc.credentials.createSsl(Buffer.from(this.authority.cert), ...own);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const coordinatePath = '/tensorconsensus.v1.Coordinator/Coordinate';

/** Metadata of a call, from plain pairs. */
export function metadataOf(pairs: Readonly<Record<string, string>>): grpc.Metadata {
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(pairs)) metadata.set(key, value);
  return metadata;
}

export interface CallOutcome {
  readonly error: grpc.ServiceError | null;
}

/** A unary call with bytes on a connection of its own, or on `client`. */
export function callMethod(
  target: string | grpc.Client,
  options: {
    readonly path?: string;
    readonly metadata?: Readonly<Record<string, string>>;
    readonly credentials?: grpc.ChannelCredentials;
    readonly request?: Buffer;
  } = {},
): Promise<CallOutcome> {
  const { path = coordinatePath, metadata = {}, request = Buffer.alloc(0) } = options;
  const credentials = options.credentials ?? grpc.credentials.createInsecure();
  const client = typeof target === 'string' ? connectionTo(target, credentials) : target;
  const same = (value: Buffer): Buffer => value;
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      path,
      same,
      same,
      request,
      metadataOf(metadata),
      { deadline: Date.now() + 30_000 },
      (error) => {
        if (typeof target === 'string') client.close();
        resolve({ error });
      },
    );
  });
}

/** A client with a connection that it shares with no other. */
export function connectionTo(address: string, credentials: grpc.ChannelCredentials): grpc.Client {
  return new grpc.Client(address, credentials, { 'grpc.use_local_subchannel_pool': 1, 'grpc.enable_retries': 0 });
}
