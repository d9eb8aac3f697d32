/**
 * When to dispatch which jobs: one pure function of the queue, the engine's load, what runs cost and the time.
 *
 * Order: first come, first served within a priority. A priority is worth a head start: each level above LOW counts as
 * having come `headStartMs` earlier. So HIGH goes before NORMAL before LOW among jobs of about the same age, and nobody
 * starves: whatever comes two head starts after a LOW job stays behind it.
 *
 * When: an idle engine never waits. While it is busy one more batch is staged behind the running ones, so that the engine
 * goes on without a gap. That batch is held back to grow until the engine is about to be free, or until the oldest job has
 * waited `maxQueueDelayMs`, whichever is first, or until a batch is full (before that time a full batch may go before the
 * first job's, if its lead is of no lower priority). All else waits in the queue, where batches grow with the load by
 * themselves.
 *
 * What: the first job in order leads, and later ones of its key join it in order, as far as the bucket's batch limit goes;
 * `nextBatchSize` says how many of them run at once. Jobs of other sizes join while sharing wastes at most
 * `maxPaddingWaste` of the batch (of the cells (N x M) of its slots, the share that the jobs would not have been padded
 * to in their own smallest buckets) and costs the engine no more than running them by themselves would. So jobs of one bucket
 * always share, and a job alone always runs in its own. With a limit of w sharing costs at most 1/(1-w) times the work.
 */
import type { DispatchReason } from '../metrics.js';
import type { Bucket } from '../operators/signature.js';
import type { Priority } from '../problem.js';
import { batchSizes, maxBatch, smallestBatch } from './buckets.js';
import type { RunCosts } from './cost-model.js';
import { nextBatchSize } from './split.js';

export interface BatchLimits {
  /** Most jobs in a batch, on top of the ladder's own limit. */
  readonly maxBatch: number;
  readonly maxQueueDelayMs: number;
  /** 0 to 1; `defaultMaxPaddingWaste` where there is no reason to choose. */
  readonly maxPaddingWaste: number;
}

/** Two jobs share if the smaller has a quarter of the larger's cells; a tiny one rides only along with two full ones. */
export const defaultMaxPaddingWaste = 0.4;

/** A tenth of a second: ten ticks of a fast simulator, below what a person notices. */
export const headStartMs = 100;

/** Batches handed to the engine beyond what it runs at once. */
const stagedBatches = 1;

export interface WaitingJob {
  readonly key: string;
  /** N and M of the smallest bucket that holds the job. */
  readonly agents: number;
  readonly tasks: number;
  readonly priority: Priority;
  readonly enqueuedMs: number;
  readonly deadlineMs: number;
  /** Names the program without which the job cannot run and which is being compiled; null: can run. */
  readonly compiling: string | null;
}

export interface BatchingView<J extends WaitingJob> {
  /** In order of `rankOf`; at equal ranks the higher priority first, then by arrival. */
  readonly waiting: { inOrder(): readonly J[]; readonly earliestDeadlineMs: number };
  /** Batches that the engine has and has not answered. */
  readonly inFlight: number;
  /** Below this many in flight the engine is idle. */
  readonly concurrency: number;
  /** When one more should be handed over so that the engine goes on without a gap; Infinity where that cannot be told. */
  readonly stageAtMs: number;
  /** Nothing more will come, so nothing is held back to grow. */
  readonly draining: boolean;
}

export type Decision<J extends WaitingJob> =
  | { readonly kind: 'drop'; readonly expired: readonly J[] }
  | { readonly kind: 'dispatch'; readonly batch: PlannedBatch<J>; readonly reason: DispatchReason }
  /** Nothing to do before `untilMs` (Infinity: before something changes). */
  | { readonly kind: 'wait'; readonly untilMs: number };

export interface PlannedBatch<J extends WaitingJob> {
  /** In order: the first `bucket.batch` of them run; those after them may where a program with more slots stands in. */
  readonly jobs: readonly J[];
  readonly bucket: Bucket;
}

/** Jobs are served in ascending rank: arrival, less the head start of the priority. */
export function rankOf(priority: Priority, enqueuedMs: number): number {
  return enqueuedMs - headStartMs * levelOf(priority);
}

/** The next thing to do. Ask again after doing it, until it says `wait`. */
export function decide<J extends WaitingJob>(
  view: BatchingView<J>,
  nowMs: number,
  limits: BatchLimits,
  costs: RunCosts,
): Decision<J> {
  const { waiting, inFlight, concurrency, draining } = view;
  const { earliestDeadlineMs } = waiting;
  if (earliestDeadlineMs <= nowMs) {
    return { kind: 'drop', expired: waiting.inOrder().filter((job) => job.deadlineMs <= nowMs) };
  }
  if (inFlight >= concurrency + stagedBatches) return { kind: 'wait', untilMs: earliestDeadlineMs };

  const runnable = waiting.inOrder().filter((job) => job.compiling === null);
  const first = runnable[0];
  if (first === undefined) return { kind: 'wait', untilMs: earliestDeadlineMs };
  const places = Math.max(concurrency - inFlight, 1);
  const batch = batchFrom(runnable, 0, limits, costs);
  const dispatch = (planned: PlannedBatch<J>, reason: DispatchReason): Decision<J> => ({
    kind: 'dispatch',
    batch: sized(planned, places, limits, costs),
    reason,
  });
  if (isFull(batch, limits)) return dispatch(batch, 'full');
  if (inFlight < concurrency) return dispatch(batch, draining ? 'drain' : 'idle');
  if (draining) return dispatch(batch, 'drain');
  const heldUntilMs = Math.min(oldestOf(runnable) + limits.maxQueueDelayMs, view.stageAtMs);
  if (heldUntilMs <= nowMs) return dispatch(batch, 'delay');
  const full = fullBatch(runnable, limits, costs);
  if (full !== null) return dispatch(full, 'full');
  return { kind: 'wait', untilMs: Math.min(heldUntilMs, earliestDeadlineMs) };
}

/** The job at `lead`, joined by those after it that may share its batch. Its bucket holds all of them. */
function batchFrom<J extends WaitingJob>(
  runnable: readonly J[],
  lead: number,
  limits: BatchLimits,
  costs: RunCosts,
): PlannedBatch<J> {
  const first = runnable[lead]!;
  const jobs = [first];
  let { agents, tasks } = first;
  let ownCells = cellsOf(agents, tasks);
  let limit = maxBatch(agents, tasks, limits.maxBatch);
  for (let i = lead + 1; i < runnable.length && jobs.length < limit; i++) {
    const job = runnable[i]!;
    if (job.key !== first.key) continue;
    const sharedAgents = Math.max(agents, job.agents);
    const sharedTasks = Math.max(tasks, job.tasks);
    const sharedLimit = maxBatch(sharedAgents, sharedTasks, limits.maxBatch);
    const sharedOwnCells = ownCells + cellsOf(job.agents, job.tasks);
    const waste = 1 - sharedOwnCells / ((jobs.length + 1) * cellsOf(sharedAgents, sharedTasks));
    if (jobs.length >= sharedLimit || waste > limits.maxPaddingWaste) continue;
    if (job.agents !== agents || job.tasks !== tasks) {
      const alone = runnable.filter((other) => alike(other, job)).length;
      const slotMs = (n: number, m: number) => slotCost(job.key, n, m, limits, costs);
      const sharingMs = (jobs.length + 1) * slotMs(sharedAgents, sharedTasks) - jobs.length * slotMs(agents, tasks);
      if (sharingMs > ownCost(job, alone, limits, costs)) continue;
    }
    jobs.push(job);
    agents = sharedAgents;
    tasks = sharedTasks;
    ownCells = sharedOwnCells;
    limit = sharedLimit;
  }
  return { jobs, bucket: { batch: smallestBatch(jobs.length, agents, tasks, limits.maxBatch), agents, tasks } };
}

/** With as many slots as should run at once, and only as large as they need. */
function sized<J extends WaitingJob>(
  { jobs, bucket }: PlannedBatch<J>,
  places: number,
  limits: BatchLimits,
  costs: RunCosts,
): PlannedBatch<J> {
  const sizes = batchSizes(bucket.agents, bucket.tasks, limits.maxBatch);
  const runMs = (size: number) => costs.runMs(jobs[0]!.key, { ...bucket, batch: size });
  const batch = nextBatchSize(jobs.length, places, sizes, runMs);
  let agents = 0;
  let tasks = 0;
  for (const job of jobs.slice(0, batch)) {
    agents = Math.max(agents, job.agents);
    tasks = Math.max(tasks, job.tasks);
  }
  return { jobs, bucket: { batch, agents, tasks } };
}

/** What one more slot of a batch costs the engine. */
function slotCost(key: string, agents: number, tasks: number, limits: BatchLimits, costs: RunCosts): number {
  const batch = maxBatch(agents, tasks, limits.maxBatch);
  if (batch === 1) return costs.runMs(key, { batch, agents, tasks });
  const [oneMs, allMs] = [1, batch].map((size) => costs.runMs(key, { batch: size, agents, tasks }));
  return (allMs! - oneMs!) / (batch - 1);
}

/** A job's share of what a batch of `count` like it would cost the engine. */
function ownCost({ key, agents, tasks }: WaitingJob, count: number, limits: BatchLimits, costs: RunCosts): number {
  const together = Math.min(count, maxBatch(agents, tasks, limits.maxBatch));
  const batch = smallestBatch(together, agents, tasks, limits.maxBatch);
  return costs.runMs(key, { batch, agents, tasks }) / together;
}
/** The first full batch, other than the first job's own, whose lead has at least that job's priority. */
function fullBatch<J extends WaitingJob>(
  runnable: readonly J[],
  limits: BatchLimits,
  costs: RunCosts,
): PlannedBatch<J> | null {
  const first = runnable[0]!;
  const tried: J[] = [first];
  for (const [lead, job] of runnable.entries()) {
    if (levelOf(job.priority) < levelOf(first.priority) || tried.some((other) => alike(job, other))) continue;
    tried.push(job);
    const batch = batchFrom(runnable, lead, limits, costs);
    if (isFull(batch, limits)) return batch;
  }
  return null;
}

function alike(a: WaitingJob, b: WaitingJob): boolean {
  return a.agents === b.agents && a.tasks === b.tasks && a.key === b.key;
}

function isFull({ jobs, bucket }: PlannedBatch<WaitingJob>, limits: BatchLimits): boolean {
  return jobs.length >= maxBatch(bucket.agents, bucket.tasks, limits.maxBatch);
}

function oldestOf(jobs: readonly WaitingJob[]): number {
  let oldestMs = Infinity;
  for (const { enqueuedMs } of jobs) oldestMs = Math.min(oldestMs, enqueuedMs);
  return oldestMs;
}

function levelOf(priority: Priority): number {
  return priority === 'HIGH' ? 2 : priority === 'NORMAL' ? 1 : 0;
}

/** A program without a task axis has one column of cells. */
function cellsOf(agents: number, tasks: number): number {
  return agents * Math.max(tasks, 1);
}
