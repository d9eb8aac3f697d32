/**
 * A stream of ticks to the Coordinator service: answers come in the order of the requests, and the service remembers what
 * each tick left for the next, so that requests need neither `previous` nor `warmStart`.
 *
 * It outlives its connection. Where that ends, or the server drains, another call is opened (to another replica where there
 * are several), the requests without an answer are sent again in their order, and the first of them that asks for an
 * assignment brings the last `warmStart`. A request keeps its place at the head until its answer is there, so none is answered twice.
 */
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import type { Clock } from '../src/clock.js';
import { CoordinatorCallError, fromServiceError, fromStreamError } from './call-error.js';
import { isConnectionLoss } from './connection-loss.js';
import { coordinateStreamMethod } from './methods.js';
import { reconnectDelayMs } from './reconnect-delay.js';
import type { CoordinateAnswer, CoordinateRequest } from './request.js';
import { decodeAnswer, encodeRequest, withWarmStart } from './wire-format.js';

export interface StreamOptions {
  /** Aborting cancels the stream; what is not answered then fails with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
  /** Most requests under way; more wait here for their turn. 16 where left out, as the server's own default. */
  readonly window?: number | undefined;
  /** For the life of the whole stream, milliseconds from now. None where left out. */
  readonly deadlineMs?: number | undefined;
  /**
   * How often in a row the stream is opened anew without an answer in between, before it fails. 12 where left out, which
   * takes some 8 s; 0: it fails with its first connection.
   */
  readonly reconnects?: number | undefined;
  /** Told each time before the stream is opened anew. What it throws is an error of the caller's and not caught. */
  readonly onReconnect?: ((reconnect: Reconnect) => void) | undefined;
}

export interface Reconnect {
  /** Why the call before ended. */
  readonly cause: CoordinatorCallError;
  /** Of those in a row without an answer, from 1. */
  readonly attempt: number;
  /** Requests that are sent again. */
  readonly unanswered: number;
}

export interface TickOptions {
  /** An answer that comes later is worth nothing: `send` then fails with DEADLINE_EXCEEDED. The client's default where left out. */
  readonly deadlineMs?: number | undefined;
}

/** What a stream needs of the client that opens it. */
export interface StreamContext {
  /** Requests and answers travel as bytes, so that a message that cannot be coded fails alone. */
  open(path: string, deadline: number | undefined): ClientDuplexStream<Buffer, Buffer>;
  nextRequestId(): string;
  /** Of a tick, milliseconds. */
  readonly defaultDeadlineMs: number;
  readonly clock: Clock;
  /** Numbers in [0, 1). */
  readonly random: () => number;
}

interface PendingTick {
  readonly requestId: string;
  /** Kept until the answer is there: the request may have to be sent again. */
  readonly bytes: Buffer;
  /** Its time is over, and it has failed: it only waits for its answer to be passed over. */
  isLate: boolean;
  readonly resolve: (answer: CoordinateAnswer) => void;
  readonly reject: (error: CoordinatorCallError) => void;
  readonly timer: NodeJS.Timeout;
}

type Call = ClientDuplexStream<Buffer, Buffer>;

const defaultWindow = 16;
const defaultReconnects = 12;

export class CoordinatorStream {
  readonly #context: StreamContext;
  readonly #window: number;
  readonly #signal: AbortSignal | undefined;
  readonly #deadline: number | undefined;
  readonly #mostReconnects: number;
  readonly #onReconnect: ((reconnect: Reconnect) => void) | undefined;
  readonly #method = coordinateStreamMethod();
  readonly #abort = (): void => this.cancel();
  /** Null between the end of one and the opening of the next. */
  #call: Call | null = null;
  #cancelReconnect: () => void = () => undefined;
  /** Why there is no call, where it ended while nothing was unanswered: the next request opens another. */
  #idleSince: CoordinatorCallError | null = null;
  /** Opened anew since the last answer. */
  #attempts = 0;
  #reconnects = 0;
  /** The next request that asks for an assignment has to bring the warm start: this call's server does not know it. */
  #mustResume = false;
  /** In the order of the requests: the written ones, of which late ones stay until their answer comes, then those that wait for their turn. */
  readonly #pending: PendingTick[] = [];
  #written = 0;
  #waitingForRoom: (() => void)[] = [];
  #isClosing = false;
  #isCancelled = false;
  #hasEnded = false;
  #failure: CoordinatorCallError | null = null;
  #warmStart: Uint8Array | null = null;
  readonly #ended: Promise<void>;
  #resolveEnded: () => void = () => undefined;

  /** Streams are opened with `CoordinatorClient.openStream`. */
  constructor(context: StreamContext, options: StreamOptions = {}) {
    this.#context = context;
    this.#window = whole('window', options.window ?? defaultWindow, 1);
    this.#mostReconnects = whole('reconnects', options.reconnects ?? defaultReconnects, 0);
    this.#onReconnect = options.onReconnect;
    const { deadlineMs, signal } = options;
    this.#signal = signal;
    this.#deadline = deadlineMs === undefined ? undefined : Date.now() + deadlineMs;
    this.#ended = new Promise((resolve) => (this.#resolveEnded = resolve));
    this.#open();
    if (signal?.aborted === true) this.cancel();
    else signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** `warmStart` of the last answer that had one: in the first request of another stream it resumes this one there. */
  get warmStart(): Uint8Array | null {
    return this.#warmStart;
  }

  /** How often the stream was opened anew. */
  get reconnects(): number {
    return this.#reconnects;
  }

  /** Whether the stream takes no more requests: it was closed, or it failed. */
  get isClosed(): boolean {
    return this.#isClosing || this.#failure !== null;
  }

  /** Requests that are not answered. */
  get unanswered(): number {
    return this.#pending.length;
  }

  /** Resolves when a request that is sent now need not wait for its turn, or the stream is closed. */
  async ready(): Promise<void> {
    while (!this.isClosed && this.#pending.length >= this.#window) {
      await new Promise<void>((resolve) => this.#waitingForRoom.push(resolve));
    }
  }

  /**
   * One tick. The request is coded before `send` returns, so its arrays may be changed then. Requests may be sent ahead of
   * their answers, which come in order. A request that the service refused is not tried again: the next tick is worth more.
   *
   * @throws CoordinatorCallError with the service's code and reason where it refused this request (the stream lives on:
   *   `isClosed` is false), or with that of the stream where it ended.
   */
  send(request: CoordinateRequest, options: TickOptions = {}): Promise<CoordinateAnswer> {
    const requestId = request.requestId ?? this.#context.nextRequestId();
    if (this.isClosed) {
      const { code = 'CANCELLED', message = 'the stream is closed', reason = '' } = this.#failure ?? {};
      return Promise.reject(new CoordinatorCallError(code, message, { requestId, reason, cause: this.#failure }));
    }
    let bytes: Buffer;
    try {
      bytes = this.#method.requestSerialize(encodeRequest(request, requestId));
    } catch (cause) {
      return Promise.reject(new CoordinatorCallError('INVALID_ARGUMENT', textOf(cause), { requestId, cause }));
    }
    return new Promise((resolve, reject) => {
      const deadlineMs = options.deadlineMs ?? this.#context.defaultDeadlineMs;
      const late = (): void => {
        tick.isLate = true;
        const place = this.#pending.indexOf(tick);
        if (place >= this.#written) {
          // Never sent: nothing would come of it but that those behind it are late, too.
          this.#pending.splice(place, 1);
          this.#write();
          this.#wake();
        }
        reject(new CoordinatorCallError('DEADLINE_EXCEEDED', `no answer in ${deadlineMs} ms`, { requestId }));
      };
      const timer = setTimeout(late, deadlineMs);
      const tick: PendingTick = { requestId, bytes, isLate: false, resolve, reject, timer };
      this.#pending.push(tick);
      this.#write();
    });
  }

  /** No more requests; resolves when those under way are answered and the stream has ended. Never rejects. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#write();
    await this.#ended;
  }

  /** Ends the stream at once; what is not answered fails with CANCELLED. */
  cancel(): void {
    if (this.#hasEnded) return;
    this.#isCancelled = true;
    if (this.#call === null) this.#end(cancelled('', this.#signal?.reason));
    else this.#call.cancel();
  }

  #open(): void {
    const call = this.#context.open(this.#method.path, this.#deadline);
    this.#call = call;
    this.#written = 0;
    call.on('data', (bytes: Buffer) => {
      if (call === this.#call) this.#receive(bytes);
    });
    call.on('error', (error: ServiceError) => this.#lost(call, error));
    call.on('end', () => this.#lost(call, null));
  }

  #write(): void {
    if (this.#idleSince !== null && this.#pending.length > 0) {
      this.#tellReconnect(this.#idleSince);
      this.#idleSince = null;
      this.#open();
    }
    if (this.#call === null) {
      if (this.#isClosing && this.#pending.length === 0) this.#end(null);
      return;
    }
    while (this.#written < Math.min(this.#pending.length, this.#window)) {
      this.#call.write(this.#bytesOf(this.#pending[this.#written++]!));
    }
    if (this.#isClosing && this.#written === this.#pending.length && !this.#call.writableEnded) this.#call.end();
  }

  #bytesOf({ bytes }: PendingTick): Buffer {
    if (!this.#mustResume || this.#warmStart === null) return bytes;
    const resuming = withWarmStart(this.#method.requestDeserialize(bytes), this.#warmStart);
    if (resuming === null) return bytes;
    this.#mustResume = false;
    return this.#method.requestSerialize(resuming);
  }

  #receive(bytes: Buffer): void {
    const tick = this.#pending[0];
    const call = this.#call!;
    if (tick === undefined || this.#written === 0) {
      this.cancel();
      return;
    }
    let outcome: { readonly answer: CoordinateAnswer } | { readonly error: CoordinatorCallError };
    try {
      const message = this.#method.responseDeserialize(bytes);
      outcome =
        message.error === null
          ? { answer: decodeAnswer(message) }
          : { error: fromStreamError(message.error, tick.requestId) };
    } catch (cause) {
      const { requestId } = tick;
      outcome = {
        error: new CoordinatorCallError('INTERNAL', `malformed answer: ${textOf(cause)}`, { requestId, cause }),
      };
    }
    if ('error' in outcome && outcome.error.reason === 'DRAINING' && this.#mayReconnect) {
      // Cut off by a server that ends, as all further requests on this call will be: they are sent elsewhere.
      this.#reopen(outcome.error);
      call.cancel();
      return;
    }
    this.#pending.shift();
    this.#written -= 1;
    this.#attempts = 0;
    clearTimeout(tick.timer);
    if ('error' in outcome) tick.reject(outcome.error);
    else {
      const warmStart = outcome.answer.assignment?.warmStart;
      if (warmStart !== undefined && warmStart.length > 0) this.#warmStart = warmStart;
      tick.resolve(outcome.answer);
    }
    this.#write();
    this.#wake();
  }

  get #mayReconnect(): boolean {
    const isOver = this.#deadline !== undefined && Date.now() >= this.#deadline;
    return !this.#isCancelled && !isOver && this.#attempts < this.#mostReconnects;
  }

  /** Called with the end of any call; only that of the present one counts. */
  #lost(call: Call, error: ServiceError | null): void {
    if (call !== this.#call) return;
    const aborted = this.#signal?.aborted === true;
    if (aborted) this.#end(cancelled('', this.#signal.reason));
    else if (error === null && this.#isClosing && this.#pending.length === 0) this.#end(null);
    else {
      const cause =
        error === null
          ? new CoordinatorCallError('UNAVAILABLE', 'the stream ended without an answer')
          : fromServiceError(error, '');
      const goesOn = error === null || isConnectionLoss(error, this.#isCancelled) || cause.reason === 'STREAM_LIMIT';
      if (goesOn && this.#mayReconnect) this.#reopen(cause);
      else this.#end(cause);
    }
  }

  #reopen(cause: CoordinatorCallError): void {
    this.#call = null;
    this.#written = 0;
    this.#mustResume = true;
    this.#dropLate();
    if (this.#pending.length === 0) {
      if (this.#isClosing) this.#end(null);
      else this.#idleSince = cause;
      return;
    }
    this.#tellReconnect(cause);
    const askedMs = cause.code === 'RESOURCE_EXHAUSTED' ? (cause.retryAfterMs ?? 0) : 0;
    const delayMs = Math.max(askedMs, reconnectDelayMs(this.#attempts, this.#context.random()));
    this.#cancelReconnect = this.#context.clock.after(delayMs, () => {
      if (this.#hasEnded) return;
      this.#dropLate();
      this.#open();
      this.#write();
    });
  }

  #tellReconnect(cause: CoordinatorCallError): void {
    this.#attempts += 1;
    this.#reconnects += 1;
    this.#onReconnect?.({ cause, attempt: this.#attempts, unanswered: this.#pending.length });
  }

  /** Requests that nobody waits for any more are not sent again. */
  #dropLate(): void {
    const inTime = this.#pending.filter(({ isLate }) => !isLate);
    this.#pending.splice(0, this.#pending.length, ...inTime);
    this.#wake();
  }

  /** The end for good. `failure` null: it went well. */
  #end(failure: CoordinatorCallError | null): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#call = null;
    this.#written = 0;
    this.#cancelReconnect();
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#failure = failure;
    for (const { requestId, reject, timer } of this.#pending.splice(0)) {
      clearTimeout(timer);
      reject(failureOfTick(failure, requestId));
    }
    this.#isClosing = true;
    this.#resolveEnded();
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waitingForRoom;
    this.#waitingForRoom = [];
    for (const resolve of waiting) resolve();
  }
}

/** What ended the stream, as the failure of one request in it. */
function failureOfTick(failure: CoordinatorCallError | null, requestId: string): CoordinatorCallError {
  if (failure === null)
    return new CoordinatorCallError('UNAVAILABLE', 'the stream ended without an answer', { requestId });
  const { code, message, reason, fieldViolations, retryAfterMs, cause } = failure;
  return new CoordinatorCallError(code, message, { reason, fieldViolations, retryAfterMs, requestId, cause });
}

function whole(name: string, value: number, least: number): number {
  if (!Number.isInteger(value) || value < least)
    throw new RangeError(`${name}: expected a whole number from ${least}, received ${value}`);
  return value;
}

function cancelled(requestId: string, cause: unknown): CoordinatorCallError {
  return new CoordinatorCallError('CANCELLED', 'cancelled by the caller', { requestId, cause });
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
