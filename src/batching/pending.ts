/** One submission between admission and answer. Settles exactly once, whoever is first: results, failure, deadline or caller. */
import type { LoadedProgram } from '../engine/engine.js';
import type { CoordinatorError } from '../errors.js';
import type { Job, JobResult, Submission } from './job.js';
import { agentBucket, taskBucket } from './buckets.js';
import type { Party, QueuedJob } from './queue.js';

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

export class PendingSubmission implements Party {
  /** Owned by the waiting room. */
  waiting = 0;
  /** Whether any of its jobs has been in a batch. */
  started = false;
  readonly #onBegun: (() => void) | undefined;
  readonly forbidFallback: boolean;
  readonly promise: Promise<readonly JobResult[]>;
  readonly tickets: readonly Ticket[];
  readonly #signal: AbortSignal;
  readonly #onAbort: () => void;
  readonly #results: JobResult[];
  #unanswered: number;
  #settled = false;
  #resolve!: (results: readonly JobResult[]) => void;
  #reject!: (error: CoordinatorError) => void;

  /** `onAbort` is called when the caller goes away before the answer. SIZE_LIMIT where a job fits no bucket. */
  constructor(submission: Submission, enqueuedMs: number, onAbort: (pending: PendingSubmission) => void) {
    const { jobs, priority, deadlineMs, signal, forbidFallback = false } = submission;
    this.forbidFallback = forbidFallback;
    this.#onBegun = submission.onBegun;
    this.tickets = jobs.map((job, index) => ({
      party: this,
      job,
      index,
      key: job.key,
      agents: agentBucket(job.agentCount),
      tasks: taskBucket(job.taskCount),
      priority,
      enqueuedMs,
      deadlineMs,
      failedOn: null,
      compiling: null,
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
