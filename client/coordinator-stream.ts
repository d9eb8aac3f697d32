/**
 * A stream of ticks to the Coordinator service: answers come in the order of the requests, and the service remembers what
 * each tick left for the next, so that requests need neither `previous` nor `warmStart`.
 */
import { type ClientDuplexStream, type ServiceError, status as grpcStatus } from '@grpc/grpc-js';
import { CoordinatorCallError, fromServiceError, fromStreamError } from './call-error.js';
import { coordinateStreamMethod } from './methods.js';
import type { CoordinateAnswer, CoordinateRequest } from './request.js';
import { decodeAnswer, encodeRequest } from './wire-format.js';

export interface StreamOptions {
  /** Aborting cancels the stream; what is not answered then fails with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
  /** Most requests under way; more wait here for their turn. 16 where left out, as the server's own default. */
  readonly window?: number | undefined;
  /** For the life of the whole stream, milliseconds from now. None where left out. */
  readonly deadlineMs?: number | undefined;
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
}

interface PendingTick {
  readonly requestId: string;
  /** Null once it was written. */
  bytes: Buffer | null;
  readonly resolve: (answer: CoordinateAnswer) => void;
  readonly reject: (error: CoordinatorCallError) => void;
  readonly timer: NodeJS.Timeout;
}

const defaultWindow = 16;

export class CoordinatorStream {
  readonly #call: ClientDuplexStream<Buffer, Buffer>;
  readonly #context: StreamContext;
  readonly #window: number;
  readonly #signal: AbortSignal | undefined;
  readonly #method = coordinateStreamMethod();
  /** In the order of the requests: the written ones, then those that wait for their turn. Late ones stay until their answer comes. */
  readonly #pending: PendingTick[] = [];
  #written = 0;
  #waitingForRoom: (() => void)[] = [];
  #isClosing = false;
  #failure: CoordinatorCallError | null = null;
  #warmStart: Uint8Array | null = null;
  readonly #ended: Promise<void>;

  /** Streams are opened with `CoordinatorClient.openStream`. */
  constructor(context: StreamContext, options: StreamOptions = {}) {
    this.#context = context;
    this.#window = options.window ?? defaultWindow;
    if (!Number.isInteger(this.#window) || this.#window < 1) {
      throw new RangeError(`window: expected a whole number from 1, received ${this.#window}`);
    }
    const { deadlineMs, signal } = options;
    this.#signal = signal;
    const call = context.open(this.#method.path, deadlineMs === undefined ? undefined : Date.now() + deadlineMs);
    this.#call = call;
    const abort = (): void => call.cancel();
    call.on('data', (bytes: Buffer) => this.#receive(bytes));
    this.#ended = new Promise((resolve) => {
      const end = (error: ServiceError | null): void => {
        signal?.removeEventListener('abort', abort);
        this.#end(error);
        resolve();
      };
      call.on('error', end);
      call.on('end', () => end(null));
    });
    if (signal?.aborted === true) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  }

  /** `warmStart` of the last answer that had one: in the first request of another stream it resumes this one there. */
  get warmStart(): Uint8Array | null {
    return this.#warmStart;
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
   * their answers, which come in order. Nothing is tried again: the next tick is worth more.
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
      const timer = setTimeout(
        () => reject(new CoordinatorCallError('DEADLINE_EXCEEDED', `no answer in ${deadlineMs} ms`, { requestId })),
        deadlineMs,
      );
      this.#pending.push({ requestId, bytes, resolve, reject, timer });
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
    this.#call.cancel();
  }

  #write(): void {
    while (this.#failure === null && this.#written < Math.min(this.#pending.length, this.#window)) {
      const tick = this.#pending[this.#written++]!;
      if (tick.bytes !== null) this.#call.write(tick.bytes);
      tick.bytes = null;
    }
    if (this.#isClosing && this.#written === this.#pending.length && !this.#call.writableEnded) this.#call.end();
  }

  #receive(bytes: Buffer): void {
    const tick = this.#pending.shift();
    if (tick === undefined) {
      this.#call.cancel();
      return;
    }
    this.#written -= 1;
    clearTimeout(tick.timer);
    const { requestId } = tick;
    try {
      const message = this.#method.responseDeserialize(bytes);
      if (message.error !== null) tick.reject(fromStreamError(message.error, requestId));
      else {
        const answer = decodeAnswer(message);
        const warmStart = answer.assignment?.warmStart;
        if (warmStart !== undefined && warmStart.length > 0) this.#warmStart = warmStart;
        tick.resolve(answer);
      }
    } catch (cause) {
      tick.reject(new CoordinatorCallError('INTERNAL', `malformed answer: ${textOf(cause)}`, { requestId, cause }));
    }
    this.#write();
    this.#wake();
  }

  #end(error: ServiceError | null): void {
    if (this.#failure !== null) return;
    const signal = this.#signal?.aborted === true ? this.#signal : null;
    const left = this.#pending.splice(0);
    this.#written = 0;
    for (const { requestId, reject, timer } of left) {
      clearTimeout(timer);
      if (signal !== null) reject(cancelled(requestId, signal.reason));
      else if (error !== null) reject(fromServiceError(error, requestId));
      else reject(new CoordinatorCallError('UNAVAILABLE', 'the stream ended without an answer', { requestId }));
    }
    if (signal !== null) this.#failure = cancelled('', signal.reason);
    else if (error !== null && error.code !== grpcStatus.OK) this.#failure = fromServiceError(error, '');
    this.#isClosing = true;
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waitingForRoom;
    this.#waitingForRoom = [];
    for (const resolve of waiting) resolve();
  }
}

function cancelled(requestId: string, cause: unknown): CoordinatorCallError {
  return new CoordinatorCallError('CANCELLED', 'cancelled by the caller', { requestId, cause });
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
