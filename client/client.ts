/**
 * The client of the Coordinator service, over one server or several replicas. Typed arrays in, typed arrays out; every call
 * has a deadline; what may be tried again is tried again within it, and nothing else.
 */
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type Metadata,
  type MethodDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { systemClock } from '../src/clock.js';
import { Attempts } from './attempts.js';
import { type Balancing, type OutlierEjection, serviceConfig, targetOf } from './balancing.js';
import { CoordinatorCallError, fromServiceError } from './call-error.js';
import { channelOptions } from './channel-options.js';
import { isConnectionLoss } from './connection-loss.js';
import { callAccess, type CallAccess, type ClientAccess } from './credentials.js';
import { CoordinatorStream, type StreamOptions } from './coordinator-stream.js';
import { HedgeBudget, type HedgingOptions } from './hedging.js';
import { coordinateMethod, coordinatorServiceName, type Health, healthMethod, listPoliciesMethod } from './methods.js';
import { registerReplicaPolicy } from './replica-balancer.js';
import { RetryBudget, type RetryBudgetOptions } from './retry-budget.js';
import type { CoordinateAnswer, CoordinateRequest, PolicyInfo } from './request.js';
import { decodeAnswer, decodePolicies, encodeRequest } from './wire-format.js';

export { type Balancing, type OutlierEjection } from './balancing.js';
export { CoordinatorCallError, type FieldViolation, type GrpcCode } from './call-error.js';
export { type CoordinatorStream, type Reconnect, type StreamOptions, type TickOptions } from './coordinator-stream.js';
export { type ClientAccess, type ClientTls, tokenFile } from './credentials.js';
export { type HedgingOptions } from './hedging.js';
export { coordinatorServiceName, type Health } from './methods.js';
export * from './request.js';
export { type RetryBudgetOptions } from './retry-budget.js';

export interface ClientOptions extends ClientAccess {
  /** Default deadline of a call, milliseconds. 10 000 where left out. */
  readonly deadlineMs?: number;
  /** Largest message in either direction, bytes. 64 MiB where left out, as the server's own default. */
  readonly maxMessageBytes?: number;
  /** Times a refused call is tried again, 0..4. 3 where left out. */
  readonly retries?: number;
  /** What stops retries where most calls fail. */
  readonly retryBudget?: RetryBudgetOptions;
  /** `round_robin` for several addresses and for `dns:` names, else `pick_first`, where left out. */
  readonly balancing?: Balancing;
  /**
   * Sends a `coordinate` call that is slow to a second replica as well; the first answer counts, the other attempt is
   * cancelled. Needs `round_robin`. Hedged calls have connections of their own, and failures are not paused before they are
   * tried again. Off where left out: it is for tails of a few slow calls, and costs up to `ratio` more load.
   */
  readonly hedging?: HedgingOptions;
  /**
   * Whether a replica most of whose calls fail is left out for a while (`round_robin` only), a third of them at most. Every status but OK
   * counts, also of requests that are at fault themselves. False where left out: health says what is to be known of our own servers.
   */
  readonly ejectOutliers?: boolean | OutlierEjection;
  /**
   * Metadata sent with every call and every stream, asked for when one is opened: for a trace that the caller's process has, see
   * docs/observability.md.
   */
  readonly metadata?: () => Readonly<Record<string, string>>;
  /** In place of `tls`, where it does not do. */
  readonly credentials?: ChannelCredentials;
  /** Further options of the grpc-js channel; they win over the client's own. */
  readonly channelOptions?: ChannelOptions;
}

export interface CallOptions {
  /** Milliseconds from now, retries included. The client's default where left out. */
  readonly deadlineMs?: number;
  /** Aborting cancels the call here and in the server's queue; the call then fails with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
}

const defaultDeadlineMs = 10_000;
const defaultMaxMessageBytes = 64 * 1024 * 1024;
const defaultRetries = 3;
/** grpc-js caps attempts at five. */
const mostRetries = 4;
const healthPollMs = 50;

/**
 * @example
 * const client = new CoordinatorClient('127.0.0.1:50051');
 * const answer = await client.coordinate({
 *   agents: matrix(2, 2, [0, 0, 9, 9]),
 *   tasks: matrix(2, 2, [8, 8, 1, 1]),
 * });
 * answer.assignment?.taskOfAgent; // Int32Array [1, 0]
 * client.close();
 *
 * Replicas. `['10.0.0.1:50051', '10.0.0.2:50051']`, or `dns:///NAME:50051` for all addresses of a name (a headless Kubernetes
 * Service): calls go in turn to the replicas that serve, by their own health services; a retry goes to another one.
 * `close` the client when it is done with: its health watches keep the process alive.
 *
 * Retries. UNAVAILABLE (the server starts, drains, or restarts its engine) is retried by gRPC itself with growing,
 * jittered pauses. RESOURCE_EXHAUSTED is retried only where the service said when (RetryInfo), after that time; so is a call
 * that one of several replicas could not answer in time (PREDICTED_LATE). All retries stay within the deadline, and a budget
 * stops them when most calls fail, so that a crowd of clients does not keep an overloaded server down. Nothing else is
 * retried: the same bad request stays bad.
 */
export class CoordinatorClient {
  readonly address: string;
  readonly #client: Client;
  readonly #access: CallAccess;
  readonly #moreMetadata: ClientOptions['metadata'];
  /** Of calls that may be hedged: a method has a hedging or a retry policy, so these go over a channel of their own. */
  readonly #hedgingClient: Client | null;
  readonly #hedging: HedgeBudget | null;
  readonly #balancing: Balancing;
  readonly #deadlineMs: number;
  readonly #retries: number;
  readonly #budget: RetryBudget;
  /** Failures of calls whose answer had begun: grpc-js does not retry a call from its headers on, and ours may be sent twice. */
  readonly #cutShort = new WeakSet<ServiceError>();
  readonly #idPrefix = Math.random().toString(36).slice(2, 8);
  #calls = 0;

  /**
   * `addresses`: HOST:PORT, several of them (numbers only; also as one text with commas), or any target that grpc-js
   * understands (`dns:///swarm.example:50051`). Connects on the first call.
   *
   * @throws RangeError where an address or an option is out of range.
   */
  constructor(addresses: string | readonly string[], options: ClientOptions = {}) {
    const { target, balancing } = targetOf(addresses);
    this.address = typeof addresses === 'string' ? addresses : addresses.join(',');
    this.#balancing = options.balancing ?? balancing;
    this.#deadlineMs = positive('deadlineMs', options.deadlineMs ?? defaultDeadlineMs);
    this.#retries = options.retries ?? defaultRetries;
    if (!Number.isInteger(this.#retries) || this.#retries < 0 || this.#retries > mostRetries) {
      throw new RangeError(`retries: expected a whole number from 0 to ${mostRetries}, received ${this.#retries}`);
    }
    this.#budget = new RetryBudget(options.retryBudget);
    this.#hedging = options.hedging === undefined ? null : new HedgeBudget(options.hedging);
    if (this.#hedging !== null && this.#balancing === 'pick_first')
      throw new RangeError('hedging: expected several replicas (balancing round_robin), received pick_first');
    this.#access = callAccess(typeof addresses === 'string' ? [addresses] : addresses, options, options.credentials);
    const { credentials } = this.#access;
    this.#moreMetadata = options.metadata;
    registerReplicaPolicy();
    const open = (hedging: HedgeBudget | null): Client => {
      const config = serviceConfig({
        balancing: this.#balancing,
        outliers: outliersOf(options.ejectOutliers ?? false),
        retries: this.#retries,
        retryBudget: this.#budget,
        hedging,
      });
      return new Client(target, credentials, {
        ...channelOptions(positive('maxMessageBytes', options.maxMessageBytes ?? defaultMaxMessageBytes)),
        ...this.#access.channelOptions,
        'grpc.service_config': JSON.stringify(config),
        ...options.channelOptions,
      });
    };
    this.#client = open(null);
    this.#hedgingClient = this.#hedging === null ? null : open(this.#hedging);
  }

  /**
   * One Coordinate call. The request's typed arrays are sent from where they lie: do not change them until the promise
   * settles. The answer's arrays are the caller's.
   *
   * @throws CoordinatorCallError whatever goes wrong, malformed answers included (`INTERNAL`).
   */
  async coordinate(request: CoordinateRequest, options: CallOptions = {}): Promise<CoordinateAnswer> {
    const requestId = request.requestId ?? this.#nextRequestId();
    const message = encodeRequest(request, requestId);
    const answer = await this.#callWithRetries(coordinateMethod(), message, requestId, options);
    try {
      return decodeAnswer(answer);
    } catch (cause) {
      throw new CoordinatorCallError('INTERNAL', `malformed answer: ${textOf(cause)}`, { requestId, cause });
    }
  }

  /**
   * Opens a stream of ticks: the service remembers each tick's assignment and where its search ended, by ids where requests
   * carry them, so that the next tick is answered sooner and robots keep their tasks without `previous` being sent. Where the
   * connection or the server goes away the stream goes on over another one, with the last `warmStart`.
   *
   * @example
   * const stream = client.openStream();
   * const { assignment } = await stream.send({ agents, tasks, agentIds, taskIds, assignment: { keepBonus: 0.5 } });
   * await stream.close();
   */
  openStream(options: StreamOptions = {}): CoordinatorStream {
    const same = (bytes: Buffer): Buffer => bytes;
    return new CoordinatorStream(
      {
        open: (path, deadline) =>
          this.#client.makeBidiStreamRequest(
            path,
            same,
            same,
            this.#metadata(),
            deadline === undefined ? {} : { deadline },
          ),
        nextRequestId: () => this.#nextRequestId(),
        defaultDeadlineMs: this.#deadlineMs,
        clock: systemClock,
        random: Math.random,
      },
      options,
    );
  }

  /** The policies that the server has loaded. */
  async listPolicies(options: CallOptions = {}): Promise<PolicyInfo[]> {
    return decodePolicies(await this.#callWithRetries(listPoliciesMethod(), {}, '', options));
  }

  /** What the server says about a service, by default this one. Never retried. */
  async health(service = coordinatorServiceName, options: CallOptions = {}): Promise<Health> {
    try {
      const deadline = Date.now() + (options.deadlineMs ?? this.#deadlineMs);
      return (await this.#call(healthMethod(), { service }, '', deadline, options.signal)).status;
    } catch (error) {
      if (error instanceof CoordinatorCallError && error.code === 'NOT_FOUND') return 'SERVICE_UNKNOWN';
      if (error instanceof CoordinatorCallError && error.code === 'UNIMPLEMENTED') return 'UNIMPLEMENTED';
      throw error;
    }
  }

  /**
   * Waits until the server is reachable and says that it serves: it does not while it warms up or drains.
   * A server without a health service counts as ready.
   *
   * @throws CoordinatorCallError UNAVAILABLE when it does not within `timeoutMs`, with the last thing heard.
   */
  async waitForReady(timeoutMs: number): Promise<void> {
    const deadline = Date.now() + positive('timeoutMs', timeoutMs);
    const nothingHeard = 'no answer';
    let heard = nothingHeard;
    for (;;) {
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) {
        const message = `${this.address} is not ready after ${timeoutMs} ms (${heard})`;
        throw new CoordinatorCallError('UNAVAILABLE', message);
      }
      try {
        heard = await this.health(coordinatorServiceName, { deadlineMs: Math.min(1000, leftMs) });
        if (heard === 'SERVING' || heard === 'UNIMPLEMENTED') return;
      } catch (error) {
        // The last look is cut short by the time that is left: what was heard before says more.
        const cutShort = error instanceof CoordinatorCallError && error.code === 'DEADLINE_EXCEEDED';
        if (!cutShort || heard === nothingHeard) heard = textOf(error);
      }
      await pause(Math.min(healthPollMs, Math.max(1, deadline - Date.now())));
    }
  }

  /** Closes all connections. Calls under way fail with CANCELLED or UNAVAILABLE. */
  close(): void {
    this.#client.close();
    this.#hedgingClient?.close();
  }

  #metadata(): Metadata {
    const metadata = this.#access.metadata();
    for (const [name, value] of Object.entries(this.#moreMetadata?.() ?? {})) metadata.set(name, value);
    return metadata;
  }

  #nextRequestId(): string {
    this.#calls += 1;
    return `${this.#idPrefix}-${this.#calls}`;
  }

  /** gRPC retries UNAVAILABLE by itself (service config); waiting as long as the server asks is left to us. */
  async #callWithRetries<Request, Response>(
    method: MethodDefinition<Request, Response>,
    message: Request,
    requestId: string,
    options: CallOptions,
  ): Promise<Response> {
    const deadline = Date.now() + positive('deadlineMs', options.deadlineMs ?? this.#deadlineMs);
    const attempts = this.#balancing === 'round_robin' ? new Attempts() : null;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const response = await this.#call(method, message, requestId, deadline, options.signal, attempts);
        this.#budget.succeeded();
        this.#hedging?.succeeded();
        return response;
      } catch (error) {
        const waitMs = error instanceof CoordinatorCallError ? this.#pauseBeforeRetryMs(error, options.signal) : null;
        if (waitMs === null) throw error;
        // The budget hears of every refusal, also of those that are not tried again.
        const affordable = this.#budget.failed();
        if (!affordable || attempt >= this.#retries || Date.now() + waitMs >= deadline) throw error;
        await pause(waitMs, options.signal);
      }
    }
  }

  /**
   * Null: not retryable, or retried by grpc-js already. A refusal is repeated when the service said, one of a replica that would be late only
   * where there are others; a lost connection at once where it does not look like one to grpc-js, or where the answer had begun.
   */
  #pauseBeforeRetryMs(error: CoordinatorCallError, signal: AbortSignal | undefined): number | null {
    const isLate = error.reason === 'PREDICTED_LATE' && this.#balancing === 'round_robin';
    if (error.code === 'RESOURCE_EXHAUSTED' || isLate) return error.retryAfterMs;
    if (error.reason !== '') return null;
    const { cause } = error as { readonly cause?: ServiceError };
    if (error.code === 'UNAVAILABLE') return cause !== undefined && this.#cutShort.has(cause) ? 0 : null;
    return cause?.metadata !== undefined && isConnectionLoss(cause, signal?.aborted === true) ? 0 : null;
  }

  #call<Request, Response>(
    method: MethodDefinition<Request, Response>,
    message: Request,
    requestId: string,
    deadline: number,
    signal: AbortSignal | undefined,
    attempts: Attempts | null = null,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(cancelled(requestId, signal));
        return;
      }
      const before = attempts?.count ?? 0;
      const hedging =
        method.path === coordinateMethod().path && this.#hedging?.reserve() === true ? this.#hedging : null;
      const finish = (error: ServiceError | null, response?: Response): void => {
        signal?.removeEventListener('abort', abort);
        attempts?.close();
        hedging?.settle(attempts!.count - before);
        if (error === null && response !== undefined) resolve(response);
        else if (signal?.aborted === true) reject(cancelled(requestId, signal));
        else if (error !== null) {
          if (answerBegan) this.#cutShort.add(error);
          reject(fromServiceError(error, requestId));
        } else reject(new CoordinatorCallError('INTERNAL', 'the call ended without an answer', { requestId }));
      };
      let abort = (): void => undefined;
      let answerBegan = false;
      const metadata = this.#metadata();
      attempts?.writeTo(metadata);
      try {
        const { path, requestSerialize, responseDeserialize } = method;
        const client = hedging === null ? this.#client : this.#hedgingClient!;
        const call = client.makeUnaryRequest(
          path,
          requestSerialize,
          responseDeserialize,
          message,
          metadata,
          { deadline },
          finish,
        );
        call.once('metadata', () => (answerBegan = true));
        abort = () => call.cancel();
        signal?.addEventListener('abort', abort, { once: true });
      } catch (cause) {
        attempts?.close();
        hedging?.settle(1);
        // grpc-js throws at once where the client is closed or the message cannot be serialized.
        const code = cause instanceof TypeError ? 'INVALID_ARGUMENT' : 'CANCELLED';
        reject(new CoordinatorCallError(code, textOf(cause), { requestId, cause }));
      }
    });
  }
}

function outliersOf(option: boolean | OutlierEjection): OutlierEjection | null {
  return typeof option === 'object' ? option : option ? {} : null;
}

function cancelled(requestId: string, signal: AbortSignal): CoordinatorCallError {
  return new CoordinatorCallError('CANCELLED', 'cancelled by the caller', { requestId, cause: signal.reason });
}

function positive(name: string, value: number): number {
  if (!(value > 0 && Number.isFinite(value)))
    throw new RangeError(`${name}: expected a positive, finite number, received ${value}`);
  return value;
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Ends early, without failing, when the signal aborts: the call that follows then says so. */
function pause(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    if (signal?.aborted === true) done();
    else signal?.addEventListener('abort', done, { once: true });
  });
}
