/** A job is one problem's share of a batch: what the batcher queues, packs, runs and splits. */
import type { CancelSignal } from '../cancellation.js';
import type { Parameters } from '../engine/engine.js';
import type { CoordinatorError } from '../errors.js';
import type { Bucket, ProgramSpec, TensorData } from '../operators/signature.js';
import type { Priority } from '../problem.js';
import type { CallTrace } from '../tracing.js';

/**
 * One input of one problem, unpadded, row-major [rows, columns] (a vector input is [1, length] or [length, 1] alike:
 * its `data` is copied as one run where the signature has a single axis after B).
 * Rows whose `rowMask` is 0 are packed as zeros without being read, so they may hold NaN.
 */
export interface JobTensor {
  readonly rows: number;
  readonly columns: number;
  readonly data: TensorData;
  readonly rowMask?: Uint8Array;
  /** Distance between the starts of two rows in `data`; default `columns`. Lets a job send the first columns of wider rows. */
  readonly rowStride?: number;
}

export interface Job {
  readonly spec: ProgramSpec;
  /** `specKey(spec)`, computed once: jobs with equal keys may share a batch. */
  readonly key: string;
  readonly parameters: Parameters;
  readonly agentCount: number;
  /** 0 where the program has no task axis. */
  readonly taskCount: number;
  /** One entry for each input of the signature, by name. */
  readonly inputs: ReadonlyMap<string, JobTensor>;
}

export interface Submission {
  /** Admitted, cancelled and failed together. At least one. */
  readonly jobs: readonly Job[];
  readonly priority: Priority;
  /** Run on the preferred engine or refused with FALLBACK_FORBIDDEN. Default false. */
  readonly forbidFallback?: boolean;
  /** Who shares the engine fairly with whom; '' (default): all that name nobody. Never a label unless configured. */
  readonly tenant?: string;
  /** Memory that the submission holds while it waits. Default 0. */
  readonly bytes?: number;
  /** A solver works for the call while the engine does, so that no core is idle meanwhile. Default false. */
  readonly solvesBeside?: boolean;
  /** What remains to be done once the engine has answered, milliseconds: the jobs must be done so much before the deadline. Default 0. */
  readonly expectedAfterMs?: number;
  /** On the injected clock's scale; Infinity where the caller set none. */
  readonly deadlineMs: number;
  /** Aborted where the caller goes away; the batcher listens until it answers. */
  readonly signal: CancelSignal;
  /** Called once, when the first of the jobs leaves the queue for an engine. */
  readonly onBegun?: () => void;
  /** The call, where it is traced; its batches name it. Default: it is not. */
  readonly trace?: CallTrace | null;
}

export interface JobTimings {
  readonly queueMs: number;
  readonly packMs: number;
  readonly transferInMs: number;
  readonly executeMs: number;
  readonly transferOutMs: number;
}

export interface JobResult {
  /** Outputs by name, cropped to the job's own N and M (padded widths are kept); owned by the caller. */
  readonly outputs: ReadonlyMap<string, TensorData>;
  readonly bucket: Bucket;
  /** Real jobs in the batch. */
  readonly batchSize: number;
  readonly engine: string;
  readonly device: string;
  readonly fingerprint: string;
  readonly timings: JobTimings;
}

/** What the service needs of the batcher. */
export interface JobRunner {
  /**
   * One result per job, in order. Rejects with QUEUE_FULL, PREDICTED_LATE, DRAINING, DEADLINE_EXPIRED, CANCELLED, ENGINE_FAILED,
   * COMPILE_FAILED, FALLBACK_FORBIDDEN or INTERNAL; every submission settles exactly once.
   */
  submit(submission: Submission): Promise<readonly JobResult[]>;
  /**
   * Why a submission of which no more is known would be refused now, whatever its jobs are; null where it may be let in. For refusing
   * calls before they are decoded. A refusal is counted as one.
   */
  refusal?(inquiry: Inquiry): CoordinatorError | null;
  /** False: `refusal` would refuse no call of so many bytes and with that deadline, whoever's it is. For less than that costs. Absent: it might. */
  mayRefuse?(deadlineMs: number, bytes: number): boolean;
}

/** What is known of a submission before its jobs are. */
export type Inquiry = Pick<Submission, 'priority' | 'tenant' | 'bytes' | 'expectedAfterMs' | 'deadlineMs'>;
