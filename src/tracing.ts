/** What batching tells whoever traces calls. Nothing here knows how traces are kept or sent. */
import type { CoordinatorError } from './errors.js';
import type { DispatchReason } from './metrics.js';

/** A call that is traced, as its tracer made it; handed along and not looked into. */
export interface CallTrace {
  readonly traceId: string;
  readonly spanId: string;
}

/** One run of a program, for every call in it. Times are the clock's, in milliseconds. */
export interface BatchReport {
  /** The traced calls in the batch, one for each of its jobs; at least one. */
  readonly calls: readonly CallTrace[];
  /** Real jobs in the batch, those of calls that are not traced included. */
  readonly size: number;
  /** As `bucketName` gives it. */
  readonly bucket: string;
  readonly engine: string;
  readonly fingerprint: string;
  readonly reason: DispatchReason;
  /** When packing began, when the engine was given the batch, and when it answered or failed. */
  readonly dispatchedMs: number;
  readonly sentMs: number;
  readonly endedMs: number;
  /** Null where the run failed. */
  readonly run: BatchRun | null;
  /** Null where it went well. */
  readonly error: CoordinatorError | null;
}

export interface BatchRun {
  readonly device: string;
  readonly transferInMs: number;
  readonly executeMs: number;
  readonly transferOutMs: number;
}

/** Called once for each run with traced calls in it, before any of them is answered. Never throws. */
export type BatchTracer = (report: BatchReport) => void;
