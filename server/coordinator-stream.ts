/**
 * CoordinateStream: ticks of one simulator, answered in order over one call. Ticks run one after another, as each starts
 * from what the last answered one left; while one runs the next is read and decoded. What may pile up in a stream is
 * bounded by requests, by bytes and by answers that the client has not taken; beyond that nothing more is read.
 */
import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { CoordinatorError } from '../src/errors.js';
import { StreamMemory } from '../src/stream/stream-memory.js';
import type { Problem } from '../src/problem.js';
import { encodeFailure } from '../src/wire/failure.js';
import { outlineOf } from '../src/wire/peek.js';
import { encodeAnswer } from '../src/wire/response.js';
import { dueMsOf } from './call-deadline.js';
import { answerTooLarge, deserialize, failureOf, idFields, recordOutcome } from './call-outcome.js';
import { type CallIds, idsOf } from './call-ids.js';
import type { Core, ServiceOptions } from './coordinator-service.js';
import { coordinateMethod } from './definitions.js';
import { readOneAhead } from './grpc-server.js';
import { toStatusReply, toStreamError } from './status.js';
import { tenantOf } from './tenant.js';
import { Tick } from './tick.js';
import { type TraceContext, traceContextOf } from './trace-context.js';

export interface StreamOptions extends ServiceOptions {
  readonly maxStreams: number;
  /** Most requests of a stream that are not answered. */
  readonly streamWindow: number;
  readonly streamTickTimeoutMs: number;
}

type StreamCall = ServerDuplexStream<Buffer, Buffer>;

const method = 'CoordinateStream';

/** A stream reads no further request while it holds so many bytes of unanswered ones; one of any size is always taken. */
const mostUnansweredBytes = 4 * 1024 * 1024;
/** No tick starts and no request is read while so many bytes of answers are not taken by the client. */
const mostUnsentBytes = 1024 * 1024;
/** So many ticks in a row are taken out of the queue for newer ones; the next is kept, so that a stream in an overload gets answers at all. */
const mostSupersededInRow = 4;

export function streamHandlers(options: StreamOptions): UntypedServiceImplementation {
  let openStreams = 0;
  return {
    CoordinateStream(call: StreamCall) {
      const { maxStreams, metrics, log } = options;
      const refuse = (error: CoordinatorError): void => {
        const ids = idsOf({ requestId: '', metadata: call.metadata, record: null });
        log.warn({ method, ...idFields(ids), code: error.code, status: error.status }, error.message);
        call.emit('error', toStatusReply(error, ids));
      };
      if (openStreams >= maxStreams) {
        refuse(new CoordinatorError('STREAM_LIMIT', `${openStreams} streams are open, which is the limit`));
        return;
      }
      try {
        const stream = new TickStream(call, options);
        metrics.streamsOpen.set(++openStreams);
        const unwatch = options.gate?.watch(call.metadata, (error) => stream.revoke(error));
        // grpc-js emits `cancelled` at the end of every call, however it ended.
        call.once('cancelled', () => {
          metrics.streamsOpen.set(--openStreams);
          unwatch?.();
          stream.close();
        });
      } catch (thrown) {
        refuse(CoordinatorError.from(thrown));
      }
    },
  };
}

class TickStream {
  readonly #call: StreamCall;
  readonly #options: StreamOptions;
  readonly #memory = new StreamMemory();
  readonly #openedMs: number;
  readonly #tenant: string;
  /** Whose stream it is; null also where nothing is traced. */
  readonly #caller: TraceContext | null;
  /** Of the whole stream; Infinity where the caller set none. */
  readonly #deadlineMs: number;
  /** Requests read whose answers are not written, in order of arrival. */
  readonly #ticks: Tick[] = [];
  #running: Tick | null = null;
  #unansweredBytes = 0;
  #unsentBytes = 0;
  /** Says of an answer that it is taken, for the connection's books; grpc-js does not call back for all of a call that is gone. */
  readonly #untaken = new Set<() => void>();
  #supersededInRow = 0;
  #answered = 0;
  #failed = 0;
  #clientIsDone = false;
  #draining = false;
  /** The status is on its way, or the call is gone. */
  #ended = false;
  readonly #drain = (): void => this.#stopReading();

  /** Throws WARMING or DRAINING where no streams are taken, and REQUEST_INVALID where the name of its tenant is not allowed. */
  constructor(call: StreamCall, options: StreamOptions) {
    const { clock, state, recorder, gate } = options;
    this.#call = call;
    this.#options = options;
    this.#openedMs = clock.nowMs();
    this.#tenant = gate === null ? tenantOf(call.metadata) : gate.tenantOf(call.metadata);
    this.#caller = recorder === null ? null : traceContextOf(call.metadata);
    this.#deadlineMs = dueMsOf(call.metadata);
    state.openStream(this.#drain);
    readOneAhead(call);
    call.on('data', (bytes: Buffer) => this.#receive(bytes));
    call.on('end', () => {
      this.#clientIsDone = true;
      this.#endWhenDone();
    });
  }

  /** The caller lost its right to the stream: it ends at once, what is under way with it. */
  revoke(error: CoordinatorError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#call.emit('error', toStatusReply(error, this.#ids()));
  }

  /** The call is over: what is under way is given up and everything is let go. */
  close(): void {
    const { clock, state, log } = this.#options;
    this.#ended = true;
    state.closeStream(this.#drain);
    const gone = new CoordinatorError('CANCELLED', 'the stream ended before the answer was ready');
    for (const tick of this.#ticks.splice(0)) {
      this.#fail(tick, failureOf(gone, tick, clock));
      state.closeCall(tick);
    }
    for (const taken of this.#untaken) taken();
    this.#untaken.clear();
    const fields = {
      method,
      ...idFields(this.#ids()),
      durationMs: Math.round(clock.nowMs() - this.#openedMs),
      answered: this.#answered,
      failed: this.#failed,
    };
    log.debug(fields, 'stream closed');
  }

  #receive(bytes: Buffer): void {
    if (this.#ended || this.#draining) return;
    const { clock, state, recorder, streamTickTimeoutMs } = this.#options;
    const { metadata } = this.#call;
    const arrivedMs = clock.nowMs();
    const deadlineMs = Math.min(this.#deadlineMs, arrivedMs + streamTickTimeoutMs);
    const record = recorder === null ? null : recorder.begin(method, arrivedMs, this.#caller, true);
    if (record !== null) record.tenant = this.#tenant;
    const tick = new Tick(bytes.length, { arrivedMs, deadlineMs, metadata, record }, (cut) => this.#cutOff(cut));
    this.#ticks.push(tick);
    this.#unansweredBytes += tick.bytes;
    try {
      state.openCall(tick);
      this.#options.gate?.chargeTick(this.#tenant, bytes);
      tick.message = deserialize(() => coordinateMethod.requestDeserialize(bytes));
      tick.requestId = tick.message.requestId;
      tick.supersede = tick.message.supersede;
      tick.decodeMs = clock.nowMs() - arrivedMs;
      this.#supersedeOlder(tick);
    } catch (thrown) {
      if (tick.requestId === '') tick.requestId = outlineOf(bytes).requestId;
      this.#fail(tick, failureOf(thrown, tick, clock));
    }
    this.#proceed();
    this.#decodeAhead();
  }

  /** Older ticks that allow it, and that no engine has begun, are answered at once and leave their queues. */
  #supersedeOlder(newer: Tick): void {
    for (const tick of this.#ticks) {
      if (tick === newer) return;
      if (!tick.supersede || tick.begun || tick.outcome !== null) continue;
      if (tick === this.#running && ++this.#supersededInRow > mostSupersededInRow) continue;
      // One that leaves the queue is counted there, as cancelled.
      if (tick !== this.#running) this.#options.metrics.shed.inc({ reason: 'superseded' });
      this.#fail(tick, new CoordinatorError('SUPERSEDED', 'a newer request of the stream took its place'));
    }
  }

  /** Starts what can start, sends what can be sent, reads on where there is room. Called after whatever may change one of them. */
  #proceed(): void {
    if (this.#running === null && this.#unsentBytes < mostUnsentBytes) {
      const next = this.#ticks.find(({ outcome }) => outcome === null);
      if (next !== undefined) void this.#run(next);
    }
    this.#send();
    const isFull =
      this.#ticks.length >= this.#options.streamWindow ||
      this.#unansweredBytes >= mostUnansweredBytes ||
      this.#unsentBytes >= mostUnsentBytes;
    if (isFull) this.#call.pause();
    else if (this.#call.isPaused()) this.#call.resume();
    this.#endWhenDone();
  }

  /** Never rejects. */
  async #run(tick: Tick): Promise<void> {
    const { clock, metrics, maxMessageBytes } = this.#options;
    this.#running = tick;
    let cancelTimer = (): void => undefined;
    try {
      const leftMs = tick.deadlineMs - clock.nowMs();
      if (leftMs <= 0) throw expired('earlier ticks of the stream ran');
      const core = this.#core();
      const problem = this.#memory.carryInto(this.#decode(tick, core));
      if (leftMs !== Infinity) {
        cancelTimer = clock.after(leftMs, () => {
          this.#fail(tick, expired('the tick ran'));
          this.#proceed();
        });
      }
      const { deadlineMs, signal, decodeMs, bytes: requestBytes } = tick;
      const onBegun = (): void => {
        tick.begun = true;
        this.#supersededInRow = 0;
      };
      const tenant = this.#tenant;
      const trace = tick.record?.span ?? null;
      const context = { deadlineMs, signal, decodeMs, requestBytes, onBegun, tenant, trace };
      const answering = core.coordinate(problem, context);
      tick.problem = null;
      this.#decodeAhead();
      const answer = await answering;
      if (tick.outcome === null && !this.#ended) {
        const encodeStartMs = clock.nowMs();
        const encoded = coordinateMethod.responseSerialize(encodeAnswer(answer, problem));
        const encodeMs = clock.nowMs() - encodeStartMs;
        metrics.stageDuration.observe({ stage: 'encode' }, encodeMs / 1000);
        tick.record?.answered(answer, encodeMs);
        if (encoded.length > maxMessageBytes) throw answerTooLarge(encoded.length, maxMessageBytes);
        this.#memory.remember(problem, answer);
        this.#settle(tick, encoded, null);
      }
    } catch (thrown) {
      this.#fail(tick, failureOf(thrown, tick, clock));
    }
    cancelTimer();
    this.#proceed();
  }

  #core(): Core {
    const core = this.#options.core();
    if (core === null) throw new CoordinatorError('WARMING', 'the server is still warming up');
    return core;
  }

  #decode(tick: Tick, core: Core): Problem {
    if (tick.problem !== null) return tick.problem;
    const { clock, metrics } = this.#options;
    const startMs = clock.nowMs();
    const problem = core.decode(tick.message!);
    tick.message = null;
    tick.decodeMs += clock.nowMs() - startMs;
    metrics.stageDuration.observe({ stage: 'decode' }, tick.decodeMs / 1000);
    tick.record?.decoded(problem, tick.decodeMs);
    return problem;
  }

  /** The next tick, while another runs; not one that a newer request may make worthless. */
  #decodeAhead(): void {
    const running = this.#running;
    if (running === null || this.#ended) return;
    const next = this.#ticks.find((tick) => tick.outcome === null && tick !== running);
    if (next === undefined || next.supersede || next.message === null) return;
    try {
      next.problem = this.#decode(next, this.#core());
    } catch (thrown) {
      this.#fail(next, failureOf(thrown, next, this.#options.clock));
    }
  }

  /** From outside, at the end of the drain timeout. */
  #cutOff(tick: Tick): void {
    this.#fail(tick, new CoordinatorError('DRAINING', 'the server shut down before the answer was ready'));
    this.#proceed();
  }

  /** Answers a tick with an error, unless it is answered, and stops what it set going. */
  #fail(tick: Tick, error: CoordinatorError): void {
    if (tick.outcome !== null) return;
    const failure = encodeFailure(tick.requestId, toStreamError(error, idsOf(tick)));
    this.#settle(tick, coordinateMethod.responseSerialize(failure), error);
    tick.abort();
  }

  #settle(tick: Tick, outcome: Buffer, error: CoordinatorError | null): void {
    this.#unansweredBytes -= tick.bytes;
    tick.settle(outcome);
    if (this.#running === tick) this.#running = null;
    if (error === null) this.#answered++;
    else this.#failed++;
    recordOutcome(this.#options, method, tick, error);
  }

  /** Writes the answers that are next in order. */
  #send(): void {
    while (!this.#ended && this.#ticks.length > 0) {
      const tick = this.#ticks[0]!;
      const { outcome } = tick;
      if (outcome === null) return;
      this.#ticks.shift();
      const { length } = outcome;
      this.#unsentBytes += length;
      const taken = this.#options.unread.wrote(this.#call, length);
      this.#untaken.add(taken);
      this.#call.write(outcome, () => {
        this.#unsentBytes -= length;
        if (this.#untaken.delete(taken)) taken();
        if (!this.#ended) this.#proceed();
      });
      this.#options.state.closeCall(tick);
    }
  }

  /** Of the stream itself. */
  #ids(): CallIds {
    return idsOf({ requestId: '', metadata: this.#call.metadata, record: null });
  }

  /** What was read is answered; what is still on its way is not begun, so the client may send it elsewhere. */
  #stopReading(): void {
    this.#draining = true;
    this.#endWhenDone();
  }

  #endWhenDone(): void {
    if (this.#ended || this.#ticks.length > 0) return;
    if (this.#clientIsDone) {
      this.#ended = true;
      this.#call.end();
    } else if (this.#draining) {
      this.#ended = true;
      const text = 'the server is shutting down; resume elsewhere with the last warm_start';
      this.#call.emit('error', toStatusReply(new CoordinatorError('DRAINING', text), this.#ids()));
    }
  }
}

function expired(doing: string): CoordinatorError {
  return new CoordinatorError('DEADLINE_EXPIRED', `the tick's time passed while ${doing}`);
}
