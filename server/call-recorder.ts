/** Which calls are traced and which good ones are told in the access log, and what becomes of their records. */
import type { Clock } from '../src/clock.js';
import type { CoordinatorError } from '../src/errors.js';
import type { Exemplar, Metrics } from '../src/metrics.js';
import { CallRecord, CallSpan } from './call-record.js';
import type { TraceContext } from './trace-context.js';

/** What traces are given to: `server/trace-export.ts`, which is loaded only where there is an endpoint. */
export interface CallTracer {
  /** False: there is no room, and the call was counted and let go. */
  callEnded(record: CallRecord, span: CallSpan, error: CoordinatorError | null, endMs: number): boolean;
}

export interface CallRecorderOptions {
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'requestDuration' | 'stageDuration'>;
  /** Null: nothing is traced. */
  readonly tracer: CallTracer | null;
  /** Share of the calls that are traced, of those whose caller has not decided. */
  readonly sampleRatio: number;
  /** Most calls traced in a second, whatever callers decide. */
  readonly tracesPerSecond: number;
  /** Share of the good calls told in the access log. */
  readonly accessLog: number;
  /** Gives numbers in [0, 1). */
  readonly random?: () => number;
}

export class CallRecorder {
  readonly #options: CallRecorderOptions;
  readonly #random: () => number;
  /** Traces that may be begun now, at most those of a second. */
  #allowance: number;
  #allowanceAtMs: number;

  constructor(options: CallRecorderOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#allowance = options.tracesPerSecond;
    this.#allowanceAtMs = options.clock.nowMs();
  }

  /** To be asked where a call has arrived; null: nothing is kept of it. `caller`: its own, or its stream's. */
  begin(method: string, arrivedMs: number, caller: TraceContext | null, isTick: boolean): CallRecord | null {
    const span = this.#isTraced(caller) ? new CallSpan(caller, isTick) : null;
    const { accessLog } = this.#options;
    const isLogged = accessLog > 0 && this.#random() < accessLog;
    if (span === null && !isLogged) return null;
    return new CallRecord(method, arrivedMs, span, isLogged);
  }

  /** The call is over; `error` null: it was answered. Of a traced one the histograms show where it lies. */
  end(record: CallRecord, error: CoordinatorError | null, endMs: number): void {
    const { tracer, metrics } = this.#options;
    const { span } = record;
    if (span === null || tracer === null || !tracer.callEnded(record, span, error, endMs)) return;
    if (record.method === 'ListPolicies') return;
    const exemplar: Exemplar = { traceId: span.traceId, spanId: span.spanId, epochSeconds: Date.now() / 1000 };
    const seconds = (endMs - record.arrivedMs) / 1000;
    metrics.requestDuration.exemplify({ code: error?.status ?? 'OK' }, seconds, exemplar);
    if (record.execution === null) return;
    for (const { stage, microseconds } of record.execution.stages) {
      metrics.stageDuration.exemplify({ stage }, microseconds / 1e6, exemplar);
    }
    metrics.stageDuration.exemplify({ stage: 'encode' }, record.encodeMs / 1000, exemplar);
  }

  /** The caller's decision holds where it has made one, as far as there is an allowance. */
  #isTraced(caller: TraceContext | null): boolean {
    const { tracer, sampleRatio, tracesPerSecond, clock } = this.#options;
    if (tracer === null) return false;
    if (caller === null ? this.#random() >= sampleRatio : !caller.sampled) return false;
    const nowMs = clock.nowMs();
    const earned = ((nowMs - this.#allowanceAtMs) / 1000) * tracesPerSecond;
    this.#allowance = Math.min(this.#allowance + earned, tracesPerSecond);
    this.#allowanceAtMs = nowMs;
    if (this.#allowance < 1) return false;
    this.#allowance--;
    return true;
  }
}
