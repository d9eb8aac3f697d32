/**
 * What every call passes before its request is read: who calls and whether it may (`src/access`), and whether its tenant's quota lets it
 * in (`src/quota`). A refusal costs next to nothing, as the request behind it is never put together. There is no gate where neither is
 * configured.
 */
import type { IncomingHttpHeaders } from 'node:http2';
import { Metadata, type ServerInterceptor, ServerInterceptingCall } from '@grpc/grpc-js';
import type { Authenticator } from '../src/access/authenticator.js';
import { assertAllowed, type Caller, type Permission, tenantFor } from '../src/access/caller.js';
import type { Clock } from '../src/clock.js';
import { CoordinatorError, type ErrorCode } from '../src/errors.js';
import type { Metrics } from '../src/metrics.js';
import type { QuotaCount } from '../src/quota/quota-rules.js';
import type { Quotas } from '../src/quota/quotas.js';
import { agentCountOf } from '../src/wire/peek.js';
import { type CallIds, idsOf } from './call-ids.js';
import type { Logger } from './log.js';
import { type StatusReply, toStatusReply } from './status.js';
import { tenantOf } from './tenant.js';

export interface CallGateOptions {
  /** Null: callers are whom they say they are. */
  readonly authenticator: Authenticator | null;
  /** Null: nothing is limited. */
  readonly quotas: Quotas | null;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly wallMs: () => number;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** The names in the certificate of a connection, by what calls name it. */
export type CertificateNames = (peer: string) => readonly string[];

interface WatchedStream {
  end(error: CoordinatorError): void;
  /** Has it looked at again when the caller's credentials expire; in place of the time before. */
  lookAgain(caller: Caller): void;
}

interface Admission {
  readonly method: string;
  readonly permission: Permission | null;
  readonly peer: string;
  readonly metadata: Metadata;
  readonly caller: Caller | null;
  readonly tenant: string;
}

const servicePath = '/tensorconsensus.v1.Coordinator/';
const permissionOfMethod: ReadonlyMap<string, Permission> = new Map([
  [`${servicePath}Coordinate`, 'coordinate'],
  [`${servicePath}CoordinateStream`, 'stream'],
  [`${servicePath}ListPolicies`, 'list'],
]);
const healthPrefix = '/grpc.health.';
const reflectionPrefix = '/grpc.reflection.';

/** Refusals of one kind are told once in so long, with how many there were. */
const logPauseMs = 1000;
/** For so long after a refusal calls are looked at as soon as their headers are there: more refusals are likely. */
const floodMs = 1000;
const accessReasons: ReadonlySet<ErrorCode> = new Set([
  'CREDENTIALS_MISSING',
  'CREDENTIALS_REFUSED',
  'METHOD_FORBIDDEN',
  'TENANT_FORBIDDEN',
]);

export class CallGate {
  readonly #options: CallGateOptions;
  readonly #admissions = new WeakMap<Metadata, Admission>();
  /** Streams that are open. */
  readonly #watched = new Map<Metadata, WatchedStream>();
  readonly #refusals = new Map<ErrorCode, { nextLogMs: number; unlogged: number }>();
  #certificateNames: CertificateNames = () => [];
  #floodUntilMs = -Infinity;

  constructor(options: CallGateOptions) {
    this.#options = options;
  }

  /** For the grpc-js server; `certificateNames` is asked where a call brings no token. */
  interceptor(certificateNames: CertificateNames): ServerInterceptor {
    this.#certificateNames = certificateNames;
    return ({ path }, call) => {
      if (path.startsWith(healthPrefix)) return new ServerInterceptingCall(call);
      let leave: (() => void) | null = null;
      let isOver = false;
      return new ServerInterceptingCall(call, {
        start: (next) =>
          next({
            onReceiveMetadata: (metadata, pass) => {
              const enter = (admission: Admission): void => {
                if (isOver) return;
                this.#admissions.set(metadata, admission);
                leave = this.#enter(admission);
                pass(metadata);
              };
              const refuse = (thrown: unknown): void => {
                if (isOver) return;
                call.sendStatus(toStatusReply(this.#refused(path, metadata, thrown), refusedIds(metadata)));
              };
              try {
                const admitted = this.#admit(path, call.getPeer(), metadata);
                if (admitted instanceof Promise) admitted.then(enter).catch(refuse);
                else enter(admitted);
              } catch (thrown) {
                refuse(thrown);
              }
            },
            // At the end of every call, however it ended.
            onCancel: () => {
              isOver = true;
              leave?.();
            },
          }),
      });
    };
  }

  /**
   * What the call with these headers is refused with, where calls are being refused and it is one more; else null, and the interceptor decides.
   * So in a flood a refusal costs about half: no call of grpc-js is made for it. Takes nothing of a quota.
   */
  refusalOf(path: string, peerOf: () => string, headers: IncomingHttpHeaders): StatusReply | null {
    const { clock, quotas } = this.#options;
    if (clock.nowMs() >= this.#floodUntilMs || !permissionOfMethod.has(path)) return null;
    const metadata = Metadata.fromHttp2Headers(headers);
    try {
      const admitted = this.#admit(path, peerOf(), metadata);
      if (admitted instanceof Promise) {
        // A web token's first verification takes time; the interceptor waits for the same one.
        admitted.catch(() => undefined);
        return null;
      }
      const place = placeOf(admitted.permission);
      if (place !== null) quotas?.assertRoom(admitted.tenant, place);
      return null;
    } catch (thrown) {
      return toStatusReply(this.#refused(path, metadata, thrown), refusedIds(metadata));
    }
  }

  /** Of a call that was let in. */
  tenantOf(metadata: Metadata): string {
    return this.#admissions.get(metadata)?.tenant ?? '';
  }

  /** Charges what a call carries; before it is decoded. Throws QUOTA_EXCEEDED or QUOTA_TOO_SMALL. */
  charge(tenant: string, request: Uint8Array): void {
    const { quotas } = this.#options;
    if (quotas === null) return;
    quotas.charge(tenant, amountsOf(quotas, request));
  }

  /** As `charge`, and one request. */
  chargeTick(tenant: string, request: Uint8Array): void {
    const { quotas } = this.#options;
    if (quotas === null) return;
    quotas.charge(tenant, { requestsPerSecond: 1, ...amountsOf(quotas, request) });
  }

  /** Has `end` called, once at most, when the credentials of a stream expire or lose their right to it. The function returned ends that. */
  watch(metadata: Metadata, end: (error: CoordinatorError) => void): () => void {
    const caller = this.#admissions.get(metadata)?.caller ?? null;
    if (caller === null) return () => undefined;
    const { clock, wallMs } = this.#options;
    let cancelTimer = (): void => undefined;
    const forget = (): void => {
      cancelTimer();
      this.#watched.delete(metadata);
    };
    const lookAgain = ({ expiresMs }: Caller): void => {
      cancelTimer();
      if (expiresMs === Infinity) return;
      // Timers are 32 bits wide.
      const leftMs = Math.min(Math.max(0, expiresMs - wallMs()), 2 ** 31 - 1);
      cancelTimer = clock.after(leftMs, () => void this.#checkAgain(metadata));
    };
    this.#watched.set(metadata, {
      end(error) {
        forget();
        end(error);
      },
      lookAgain,
    });
    lookAgain(caller);
    return forget;
  }

  /** For when rules or keys changed: streams whose callers lost their right end. Resolves when all were looked at. */
  async checkStreams(): Promise<void> {
    await Promise.all([...this.#watched.keys()].map((metadata) => this.#checkAgain(metadata)));
  }

  async #checkAgain(metadata: Metadata): Promise<void> {
    const admission = this.#admissions.get(metadata);
    if (admission === undefined) return;
    try {
      const { tenant, caller } = await this.#admit(admission.method, admission.peer, metadata);
      // Another tenant than the one it was let in for.
      if (tenant !== admission.tenant)
        throw new CoordinatorError('TENANT_FORBIDDEN', `the stream was opened for the tenant ${admission.tenant}`);
      if (caller !== null) this.#watched.get(metadata)?.lookAgain(caller);
    } catch (thrown) {
      this.#watched.get(metadata)?.end(this.#refused(admission.method, metadata, thrown));
    }
  }

  /** Throws, or rejects with, what the caller is to be told. */
  #admit(method: string, peer: string, metadata: Metadata): Admission | Promise<Admission> {
    const permission = permissionOf(method);
    const claimed = tenantOf(metadata);
    const { authenticator } = this.#options;
    if (authenticator === null) return { method, permission, peer, metadata, caller: null, tenant: claimed };
    const admit = (caller: Caller): Admission => {
      if (permission !== null) assertAllowed(caller, permission);
      return { method, permission, peer, metadata, caller, tenant: tenantFor(caller, claimed) };
    };
    const authorization = metadata.get('authorization');
    const caller = authenticator.authenticate(authorization, this.#certificateNames(peer));
    return caller instanceof Promise ? caller.then(admit) : admit(caller);
  }

  #enter({ permission, tenant }: Admission): (() => void) | null {
    const { quotas } = this.#options;
    if (quotas === null) return null;
    const place = placeOf(permission);
    if (place === null) return null;
    return place === 'streams' ? quotas.enterStream(tenant) : quotas.enterCall(tenant);
  }

  /** For the log: whom a call was let in as, or else the tenant that it claims. */
  #whoIs(metadata: Metadata): { readonly tenant: string; readonly identity?: string } {
    const admission = this.#admissions.get(metadata);
    if (admission === undefined) return { tenant: tenantText(metadata) };
    const { tenant, caller } = admission;
    return caller === null ? { tenant } : { tenant, identity: caller.identity };
  }

  /** Counts and logs a refusal. */
  #refused(method: string, metadata: Metadata, thrown: unknown): CoordinatorError {
    const error = CoordinatorError.from(thrown);
    const { clock, metrics, log } = this.#options;
    const { code, status } = error;
    if (method.startsWith(servicePath) && permissionOf(method) === 'coordinate')
      metrics.requestDuration.observe({ code: status }, 0);
    if (accessReasons.has(code)) metrics.accessRefused.inc({ reason: code.toLowerCase() });
    const nowMs = clock.nowMs();
    this.#floodUntilMs = nowMs + floodMs;
    const state = this.#refusals.get(code) ?? { nextLogMs: -Infinity, unlogged: 0 };
    this.#refusals.set(code, state);
    if (nowMs < state.nextLogMs) {
      state.unlogged++;
      return error;
    }
    const { traceId } = refusedIds(metadata);
    const ids = traceId === '' ? {} : { traceId };
    const fields = { method: method.slice(0, 100), ...ids, code, status, refusedSinceLast: state.unlogged };
    if (status === 'INTERNAL') log.error({ ...fields, err: error.cause ?? error }, error.message);
    else log.warn({ ...fields, ...this.#whoIs(metadata) }, error.message.slice(0, 500));
    state.nextLogMs = nowMs + logPauseMs;
    state.unlogged = 0;
    return error;
  }
}

/** Its request is not read, and it is not traced here. */
function refusedIds(metadata: Metadata): CallIds {
  return idsOf({ requestId: '', metadata, record: null });
}

/** Null: a method that is not there, of which anybody who is known may be told so. */
function permissionOf(path: string): Permission | null {
  return permissionOfMethod.get(path) ?? (path.startsWith(reflectionPrefix) ? 'reflection' : null);
}

/** What it takes of a quota to begin; null: nothing. */
function placeOf(permission: Permission | null): QuotaCount | null {
  if (permission === 'stream') return 'streams';
  return permission === 'coordinate' || permission === 'list' ? 'concurrentCalls' : null;
}

function amountsOf(quotas: Quotas, request: Uint8Array): { bytesPerSecond: number; agentStatesPerSecond: number } {
  return {
    bytesPerSecond: request.length,
    agentStatesPerSecond: quotas.limitsAgentStates ? agentCountOf(request) : 0,
  };
}

/** What the call claims, where that is a name. */
function tenantText(metadata: Metadata): string {
  try {
    return tenantOf(metadata);
  } catch {
    return '';
  }
}
