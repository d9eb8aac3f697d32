/**
 * The grpc-js server: limits, keepalive, binding, closing, and what grpc-js has no option for. This is the only file
 * that looks inside grpc-js (`http2Servers` and `commonServerOptions`, present in the pinned 1.14.7) and its streams (`_readableState`);
 * tests show that it is effective.
 */
import { constants, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { formatAddress, type Config, type ListenAddress } from '../src/config.js';
import type { Clock } from '../src/clock.js';
import type { Metrics } from '../src/metrics.js';
import { setDeadline } from './call-deadline.js';
import type { CallGate } from './call-gate.js';
import { certificateNamesOf } from './client-certificate.js';
import { limitPings } from './connection-guard.js';
import type { StatusReply } from './status.js';
import { keepStreamsInTable } from '../src/stream-table.js';
import type { Connections } from './unread-answers.js';

/**
 * How much a client may send ahead of being read, for each call and for each connection. Node's 64 KiB let one request
 * of 100 agents and tasks of width 64 fill the whole connection; a call of that size costs a third less CPU with wide windows.
 */
const streamWindowBytes = 1 << 20;
const connectionWindowBytes = 4 << 20;

/**
 * How many calls a connection may cancel, at once and per second, before HTTP/2 closes it and every other call on it
 * fails: a defence against floods. Callers with short deadlines cancel by the hundred in an overload, so Node's 1000 and
 * 33 per second are far too few. Node 20 cannot be told and keeps those.
 */
const resetLimits = { streamResetBurst: 20_000, streamResetRate: 2_000 };

export type GrpcSettings = Pick<
  Config,
  | 'maxMessageMb'
  | 'maxConcurrentStreams'
  | 'maxConnections'
  | 'maxConnectionAgeMs'
  | 'maxConnectionIdleMs'
  | 'maxMetadataKb'
  | 'maxIdlePings'
  | 'keepaliveTimeMs'
  | 'keepaliveTimeoutMs'
>;

export interface GrpcServerOptions {
  readonly config: GrpcSettings;
  /** Longest time in milliseconds that calls of a method have, by its path; also where they set none. */
  readonly deadlines?: ReadonlyMap<string, number>;
  /** What calls pass first; null: nothing. */
  readonly gate?: Pick<CallGate, 'interceptor' | 'refusalOf'> | null;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'connectionsOpen' | 'connectionsRefused'>;
}

/** What connections are encrypted with. */
export interface TlsMaterial {
  /** PEM: the server's chain and its key. */
  readonly cert: Buffer;
  readonly key: Buffer;
  /** PEM: who signs clients' certificates; null: they are not asked for one. */
  readonly ca: Buffer | null;
  /** Whether connections without a certificate of `ca` are refused. */
  readonly requireClientCert: boolean;
}

/** A handshake takes a few round trips; whoever takes longer holds a connection for nothing. */
const handshakeTimeoutMs = 10_000;

/** Credentials that can be replaced: connections that are open keep what they have, new ones get the newest. */
class ReplaceableCredentials extends ServerCredentials {
  constructor(material: TlsMaterial) {
    const { ca, requireClientCert } = material;
    const options = { requestCert: ca !== null, rejectUnauthorized: ca !== null && requireClientCert };
    super({ ...options, handshakeTimeout: handshakeTimeoutMs, minVersion: 'TLSv1.2' }, contextOf(material));
  }

  _equals(other: ServerCredentials): boolean {
    return other === this;
  }

  replace(material: TlsMaterial): void {
    this.updateSecureContextOptions(contextOf(material));
  }
}

function contextOf({ cert, key, ca }: TlsMaterial): SecureContextOptions {
  return { cert, key, minVersion: 'TLSv1.2', ...(ca === null ? {} : { ca }) };
}

export class GrpcServer implements Connections {
  /** To register services with, before `bind`. */
  readonly server: Server;
  /** By the name that calls give their connection. */
  readonly #sessions = new Map<string, ServerHttp2Session>();
  readonly #peers = new WeakMap<object, string>();
  /** Names in clients' certificates, likewise; connections without one are left out. */
  readonly #certificateNames = new Map<string, readonly string[]>();
  readonly #options: GrpcServerOptions;
  readonly #deadlines: ReadonlyMap<string, number>;
  #credentials: ReplaceableCredentials | null = null;

  constructor(options: GrpcServerOptions) {
    const { config, gate = null } = options;
    this.#options = options;
    this.#deadlines = options.deadlines ?? new Map();
    const maxMessageBytes = config.maxMessageMb * 1024 * 1024;
    const age = config.maxConnectionAgeMs;
    this.server = new Server({
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.max_send_message_length': maxMessageBytes,
      'grpc.max_concurrent_streams': config.maxConcurrentStreams,
      'grpc.keepalive_time_ms': config.keepaliveTimeMs,
      'grpc.keepalive_timeout_ms': config.keepaliveTimeoutMs,
      'grpc.enable_channelz': 0,
      ...(config.maxConnectionIdleMs === 0 ? {} : { 'grpc.max_connection_idle_ms': config.maxConnectionIdleMs }),
      ...(gate === null ? {} : { interceptors: [gate.interceptor((peer) => this.#certificateNames.get(peer) ?? [])] }),
      ...(age === 0 ? {} : { 'grpc.max_connection_age_ms': age, 'grpc.max_connection_age_grace_ms': age }),
    });
    const { commonServerOptions } = this.server as unknown as { commonServerOptions: { settings?: object } };
    const settings = { ...commonServerOptions.settings, maxHeaderListSize: config.maxMetadataKb * 1024 };
    Object.assign(commonServerOptions, resetLimits, { settings });
  }

  /** Starts serving, in plaintext without `tls`; resolves with the address in numbers. Rejects where it cannot be listened on. */
  async bind(address: ListenAddress, tls: TlsMaterial | null = null): Promise<string> {
    const text = formatAddress(address);
    this.#credentials = tls === null ? null : new ReplaceableCredentials(tls);
    const port = await new Promise<number>((resolve, reject) => {
      this.server.bindAsync(text, this.#credentials ?? ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(new Error(`cannot listen on ${text} (gRPC): ${error.message}`));
      });
    });
    const { http2Servers } = this.server as unknown as { http2Servers: Map<Http2Server, unknown> };
    const { config, metrics } = this.#options;
    for (const http2Server of http2Servers.keys()) {
      http2Server.updateSettings({ initialWindowSize: streamWindowBytes });
      http2Server.maxConnections = config.maxConnections;
      http2Server.on('drop', () => metrics.connectionsRefused.inc({ reason: 'limit' }));
      http2Server.on('tlsClientError', () => metrics.connectionsRefused.inc({ reason: 'handshake' }));
      http2Server.on('session', (session) => this.#accept(session));
      this.#stepInFront(http2Server);
    }
    const [first] = http2Servers.keys();
    const bound = first?.address() as AddressInfo | null | undefined;
    return formatAddress({ host: bound?.address ?? address.host, port });
  }

  /** For connections to come; those that are open go on as they are. Only where `bind` was given TLS. */
  replaceTls(material: TlsMaterial): void {
    this.#credentials?.replace(material);
  }

  /** Takes no more connections and resolves when all streams of the present ones have ended. */
  end(): Promise<void> {
    return new Promise((resolve) => this.server.tryShutdown(() => resolve()));
  }

  /** Closes every connection at once; open calls fail as UNAVAILABLE or CANCELLED. */
  cutOff(): void {
    this.server.forceShutdown();
    // Without channelz grpc-js forgets which connections it has, and its forceShutdown leaves them open.
    for (const session of this.#sessions.values()) session.destroy(undefined, constants.NGHTTP2_CANCEL);
  }

  /** Sees each call before grpc-js's own listener, which gets those that are not refused on their headers. */
  #stepInFront(http2Server: Http2Server): void {
    const inner = http2Server.listeners('stream') as ((...event: unknown[]) => void)[];
    http2Server.removeAllListeners('stream');
    const { gate = null, clock } = this.#options;
    const nowMs = (): number => clock.nowMs();
    http2Server.on('stream', (stream, headers, ...rest) => {
      const peerOf = (): string => (stream.session === undefined ? '' : (this.#peers.get(stream.session) ?? ''));
      const refusal = gate?.refusalOf(headers[':path'] ?? '', peerOf, headers) ?? null;
      if (refusal !== null) {
        refuse(stream, refusal);
        return;
      }
      setDeadline(headers, this.#deadlines, nowMs);
      for (const listener of inner) listener.call(http2Server, stream, headers, ...rest);
    });
  }

  #accept(session: ServerHttp2Session): void {
    session.setLocalWindowSize(connectionWindowBytes);
    keepStreamsInTable(session);
    const { remoteAddress, remotePort } = session.socket;
    const peer = `${remoteAddress}:${remotePort}`;
    this.#sessions.set(peer, session);
    this.#peers.set(session, peer);
    const { config, clock, metrics } = this.#options;
    metrics.connectionsOpen.inc();
    const onClosed = (): void => metrics.connectionsRefused.inc({ reason: 'pings' });
    limitPings(session, { clock, perMinute: config.maxIdlePings, onClosed });
    const names = session.encrypted === true ? certificateNamesOf(session.socket as TLSSocket) : [];
    if (names.length > 0) this.#certificateNames.set(peer, names);
    session.once('close', () => {
      metrics.connectionsOpen.dec();
      if (this.#sessions.get(peer) !== session) return;
      this.#sessions.delete(peer);
      this.#certificateNames.delete(peer);
    });
  }

  bytesTaken(peer: string): number {
    const session = this.#sessions.get(peer);
    return session === undefined || session.destroyed ? 0 : session.socket.bytesWritten;
  }

  close(peer: string): void {
    this.#sessions.get(peer)?.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }
}

/** Has the requests of a stream read one ahead of whoever takes them, whatever their size; Node would read sixteen. Before the first is read. */
export function readOneAhead(call: Readable): void {
  (call as unknown as { _readableState: { highWaterMark: number } })._readableState.highWaterMark = 1;
}

/** Answers with nothing but the status, as grpc-js does; what still comes of the request is let go. */
function refuse(stream: ServerHttp2Stream, { code, details, metadata }: StatusReply): void {
  // The caller may be gone.
  stream.once('error', () => undefined);
  if (stream.destroyed || stream.closed) return;
  const headers = {
    ':status': 200,
    'content-type': 'application/grpc+proto',
    'grpc-status': code,
    'grpc-message': encodeURI(details),
    ...metadata.toHttp2Headers(),
  };
  stream.respond(headers, { endStream: true });
  stream.resume();
}
