/** The bounded waiting room: jobs in the order in which the policy serves them, counted by submission. */
import type { Priority } from '../problem.js';
import { rankOf, type WaitingJob } from './policy.js';

/** A submission's place in the room. One object for all of its jobs. */
export interface Party {
  /** Jobs of the submission in the room; kept by the room, 0 to start with. */
  waiting: number;
}

export interface QueuedJob extends WaitingJob {
  readonly party: Party;
}

/**
 * Adding and removing cost O(1). The order is made when it is asked for after a change: O(n), as the lines of the three
 * priorities are each in order of arrival (and a sort finds and merges such runs in one pass).
 */
export class WaitingRoom<J extends QueuedJob> {
  readonly #maxQueue: number;
  /** Insertion order is order of arrival: the clock never goes back, and `restore` sorts. */
  readonly #lines: Readonly<Record<Priority, Set<J>>> = { HIGH: new Set(), NORMAL: new Set(), LOW: new Set() };
  #depth = 0;
  #order: readonly J[] | null = null;
  /** Null: not known since the job that had it left. */
  #earliestDeadlineMs: number | null = Infinity;

  /** `maxQueue`: most submissions that wait at a time. */
  constructor(maxQueue: number) {
    this.#maxQueue = maxQueue;
  }

  /** Submissions with at least one job in the room. */
  get depth(): number {
    return this.#depth;
  }

  /** Jobs in the room. */
  get jobCount(): number {
    return this.#lines.HIGH.size + this.#lines.NORMAL.size + this.#lines.LOW.size;
  }

  get isFull(): boolean {
    return this.#depth >= this.#maxQueue;
  }

  /** Of all jobs in the room; Infinity where none has one. */
  get earliestDeadlineMs(): number {
    if (this.#earliestDeadlineMs === null) {
      let earliestMs = Infinity;
      for (const line of Object.values(this.#lines)) {
        for (const { deadlineMs } of line) if (deadlineMs < earliestMs) earliestMs = deadlineMs;
      }
      this.#earliestDeadlineMs = earliestMs;
    }
    return this.#earliestDeadlineMs;
  }

  /** Jobs of one submission arrive together; whether there is room for it is for the caller to ask before. */
  add(job: J): void {
    this.#lines[job.priority].add(job);
    this.#order = null;
    if (this.#earliestDeadlineMs !== null && job.deadlineMs < this.#earliestDeadlineMs) {
      this.#earliestDeadlineMs = job.deadlineMs;
    }
    if (job.party.waiting++ === 0) this.#depth++;
  }

  /** Takes jobs back that have been in the room: each stands where it stood by the time of its arrival, before equals. */
  restore(jobs: readonly J[]): void {
    for (const priority of new Set(jobs.map((job) => job.priority))) {
      const line = this.#lines[priority];
      const others = [...line];
      line.clear();
      for (const job of jobs) if (job.priority === priority) this.add(job);
      for (const job of others) line.add(job);
      const ordered = [...line].sort((a, b) => a.enqueuedMs - b.enqueuedMs);
      line.clear();
      for (const job of ordered) line.add(job);
    }
  }

  /** Safe to call for a job that has left already. */
  remove(job: J): void {
    if (!this.#lines[job.priority].delete(job)) return;
    this.#order = null;
    if (job.deadlineMs === this.#earliestDeadlineMs) this.#earliestDeadlineMs = this.jobCount === 0 ? Infinity : null;
    if (--job.party.waiting === 0) this.#depth--;
  }

  /** By `rankOf`, then priority, then arrival. Valid until the room changes. */
  inOrder(): readonly J[] {
    this.#order ??= this.#sorted();
    return this.#order;
  }

  #sorted(): J[] {
    const { HIGH, NORMAL, LOW } = this.#lines;
    const jobs = [...HIGH, ...NORMAL, ...LOW];
    if (jobs.length === HIGH.size || jobs.length === NORMAL.size || jobs.length === LOW.size) return jobs;
    return jobs.sort((a, b) => rankOf(a.priority, a.enqueuedMs) - rankOf(b.priority, b.enqueuedMs));
  }
}
