/** What a client shows a server, and what it asks of it: TLS, a client certificate, a bearer token, a tenant. */
import { readFileSync, statSync } from 'node:fs';
import {
  type ChannelCredentials,
  type ChannelOptions,
  credentials as channelCredentials,
  Metadata,
} from '@grpc/grpc-js';

/** PEM texts. */
export interface ClientTls {
  /** Authorities that the server's certificate may come from. Those that Node trusts where left out. */
  readonly ca?: string | Buffer;
  /** The client's own certificate and its key, for servers that ask for one. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  /** Name that the server's certificate must have, where it is not the address's. */
  readonly serverName?: string;
}

export interface ClientAccess {
  /** `true` is TLS with what Node trusts. Plain text where left out. */
  readonly tls?: ClientTls | boolean;
  /** Sent with every call as `authorization: Bearer`; a function is asked for each call, so that tokens can change (`tokenFile`). */
  readonly token?: string | (() => string);
  /** Sent with every call as `tc-tenant`. */
  readonly tenant?: string;
}

export interface CallAccess {
  readonly credentials: ChannelCredentials;
  readonly channelOptions: ChannelOptions;
  /** For a call; a new one each time, which the caller may add to. Throws what the token's function throws. */
  metadata(): Metadata;
}

/**
 * `given`: channel credentials that are used in place of `tls`.
 *
 * @throws RangeError where a certificate lacks its key, or a token would travel in plain text beyond this machine.
 */
export function callAccess(
  addresses: readonly string[],
  { tls, token, tenant }: ClientAccess,
  given?: ChannelCredentials,
): CallAccess {
  const isPlain = given === undefined ? (tls ?? false) === false : !given._isSecure();
  const exposed = isPlain && token !== undefined ? addresses.find((address) => !isLoopback(address)) : undefined;
  if (exposed !== undefined)
    throw new RangeError(`token: expected tls for an address that is not loopback, received ${exposed} without`);
  const options = typeof tls === 'object' ? tls : {};
  const { serverName } = options;
  return {
    credentials: given ?? (isPlain ? channelCredentials.createInsecure() : encrypted(options)),
    channelOptions:
      serverName === undefined
        ? {}
        : { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName },
    metadata() {
      const metadata = new Metadata();
      if (token !== undefined) {
        metadata.set('authorization', `Bearer ${typeof token === 'string' ? token : token()}`);
      }
      if (tenant !== undefined) metadata.set('tc-tenant', tenant);
      return metadata;
    },
  };
}

function encrypted({ ca, cert, key }: ClientTls): ChannelCredentials {
  if ((cert === undefined) !== (key === undefined))
    throw new RangeError('tls: expected a certificate and its key, received one of them');
  const own = cert === undefined || key === undefined ? [] : [bytes(key), bytes(cert)];
  return channelCredentials.createSsl(ca === undefined ? null : bytes(ca), ...own);
}

function bytes(pem: string | Buffer): Buffer {
  return typeof pem === 'string' ? Buffer.from(pem) : pem;
}

/** Of an address as clients write it: `127.0.0.1:50051`, `ipv4:127.0.0.1:1`, `localhost:1`, `[::1]:1`, a socket of this machine. */
function isLoopback(address: string): boolean {
  return address
    .split(',')
    .every((each) =>
      /^(?:(?:ipv4:|ipv6:|dns:\/*)?(?:127\.\d+\.\d+\.\d+|localhost|\[::1\])(?::\d+)?$|unix:)/.test(each.trim()),
    );
}

/** How often the file is looked at, while calls are made. */
const lookPauseMs = 1000;

/**
 * For `token`: what a file holds, read again when it changes.
 *
 * @throws Error here, where it cannot be read or is empty; later the last token that could be read stays in use.
 */
export function tokenFile(path: string): () => string {
  let stamp = '';
  let token = '';
  let lookedAtMs = -Infinity;
  const look = (): void => {
    const { mtimeMs, size, ino } = statSync(path);
    const now = `${mtimeMs} ${size} ${ino}`;
    if (now === stamp) return;
    const text = readFileSync(path, 'utf8').trim();
    if (text === '' || /\s/.test(text)) throw new Error(`${path}: expected one token`);
    token = text;
    stamp = now;
  };
  look();
  return () => {
    const nowMs = performance.now();
    if (nowMs - lookedAtMs >= lookPauseMs) {
      lookedAtMs = nowMs;
      try {
        look();
      } catch {
        // It is being replaced, or gone: the server says whether the token is still good.
      }
    }
    return token;
  };
}
