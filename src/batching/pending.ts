/** One submission between admission and answer. Settles exactly once, whoever is first: results, failure, deadline or caller. */
import type { CancelSignal } from '../cancellation.js';
import type { LoadedProgram } from '../engine/engine.js';
import type { CoordinatorError } from '../errors.js';
import type { Job, JobResult, Submission } from './job.js';
import type { JobCost } from './admission.js';
import type { TenantAccount } from './fairness.js';
import { urgencyOf, type Party, type QueuedJob } from './queue.js';
import type { CallTrace } from '../tracing.js';

/** A job in the queue or in a batch. */
export interface Ticket extends QueuedJob {
  readonly party: PendingSubmission;
  readonly job: Job;
  /** Place among the submission's jobs. */
  readonly index: number;
  /** `job.key`, until a run failed: then one that only its like share, as they have to run elsewhere. */
  key: string;
  /** The program whose run of this job failed; null before. A second failure is final. */
  failedOn: LoadedProgram | null;
  compiling: string | null;
}

/** A job with what it will take: `agents` and `tasks` of the smallest bucket that holds it. */
export interface CostedJob {
  readonly job: Job;
  readonly agents: number;
  readonly tasks: number;
  readonly cost: JobCost;
}

export interface Terms {
  readonly enqueuedMs: number;
  /** Whether it is dropped once it can no longer be in time by measured times. */
  readonly mayBeDropped: boolean;
  /** When it is expected to be done; null where that cannot be told. */
  readonly predictedEndMs: number | null;
}

export class PendingSubmission implements Party {
  /** Owned by the waiting room. */
  waiting = 0;
  account: TenantAccount | null = null;
  /** Whether any of its jobs has been in a batch. */
  started = false;
  readonly #onBegun: (() => void) | undefined;
  readonly tenant: string;
  readonly bytes: number;
  readonly forbidFallback: boolean;
  readonly solvesBeside: boolean;
  readonly trace: CallTrace | null;
  readonly predictedEndMs: number | null;
  readonly promise: Promise<readonly JobResult[]>;
  readonly tickets: readonly Ticket[];
  readonly #signal: CancelSignal;
  readonly #onAbort: () => void;
  readonly #results: JobResult[];
  #unanswered: number;
  #settled = false;
  #resolve!: (results: readonly JobResult[]) => void;
  #reject!: (error: CoordinatorError) => void;

  /** `costed`: one for each of the jobs. `onAbort` is called when the caller goes away before the answer. */
  constructor(
    submission: Submission,
    costed: readonly CostedJob[],
    { enqueuedMs, mayBeDropped, predictedEndMs }: Terms,
    onAbort: (pending: PendingSubmission) => void,
  ) {
    const { jobs, priority, deadlineMs, signal, forbidFallback = false, expectedAfterMs = 0 } = submission;
    this.forbidFallback = forbidFallback;
    this.solvesBeside = submission.solvesBeside ?? false;
    this.trace = submission.trace ?? null;
    this.tenant = submission.tenant ?? '';
    this.bytes = submission.bytes ?? 0;
    this.predictedEndMs = predictedEndMs;
    this.#onBegun = submission.onBegun;
    const endByMs = deadlineMs - expectedAfterMs;
    const urgencyMs = urgencyOf(enqueuedMs, endByMs);
    this.tickets = costed.map(({ job, agents, tasks, cost: { ownMs, shareMs } }, index) => ({
      party: this,
      job,
      index,
      key: job.key,
      agents,
      tasks,
      priority,
      enqueuedMs,
      deadlineMs,
      dueMs: ownMs === null || !mayBeDropped ? Infinity : endByMs,
      startByMs: ownMs === null || !mayBeDropped ? deadlineMs : Math.min(endByMs - ownMs, deadlineMs),
      urgencyMs,
      costMs: shareMs,
      failedOn: null,
      compiling: null,
      seat: -1,
    }));
    this.#results = new Array<JobResult>(jobs.length);
    this.#unanswered = jobs.length;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#signal = signal;
    this.#onAbort = () => onAbort(this);
    signal.addEventListener('abort', this.#onAbort);
  }

  begin(): void {
    if (this.started) return;
    this.started = true;
    this.#onBegun?.();
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** True where this was the last result and the submission is thereby answered. Ignored once settled. */
  complete(index: number, result: JobResult): boolean {
    if (this.#settled) return false;
    this.#results[index] = result;
    if (--this.#unanswered > 0) return false;
    this.#settle();
    this.#resolve(this.#results);
    return true;
  }

  /** True where this settled the submission; false where it was settled before. */
  fail(error: CoordinatorError): boolean {
    if (this.#settled) return false;
    this.#settle();
    this.#reject(error);
    return true;
  }

  #settle(): void {
    this.#settled = true;
    this.#signal.removeEventListener('abort', this.#onAbort);
  }
}
