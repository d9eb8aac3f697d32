/**
 * When to dispatch which jobs: one pure function of the queue, the engine's load, what runs cost and the time.
 *
 * Order: the waiting room's (`queue.ts`): fair between tenants, by priority, then the most urgent first.
 *
 * Late: a job that could not be done in time even if it ran at once and alone (`startByMs`) is dropped before it costs anything.
 *
 * When: an idle engine is given what there is once a turn of the event loop brought nothing more, or what waits has waited as long as it would
 * take the engine. While it is busy one more batch is staged behind the running ones, so that the engine
 * goes on without a gap: just before it is about to be free, so that whoever is urgent by then leads, and all who came until then may join; where
 * nothing alike was measured, when the oldest job has waited `maxQueueDelayMs`. A full batch is staged at once. All else waits in the queue,
 * where batches grow with the load by themselves.
 *
 * What: the first job in order leads, and later ones of its key join it in order, as far as the bucket's batch limit goes;
 * `nextBatchSize` says how many of them run at once. Jobs of other sizes join while sharing wastes at most
 * `maxPaddingWaste` of the batch (of the cells (N x M) of its slots, the share that the jobs would not have been padded
 * to in their own smallest buckets) and costs the engine no more than running them by themselves would. So jobs of one bucket
 * always share, and a job alone always runs in its own. With a limit of w sharing costs at most 1/(1-w) times the work.
 *
 * In time: where a member would be late in a batch of that size, all sizes up to it are compared by how many of those that wait they let be
 * done in time; members that would be late are left out.
 */
import type { DispatchReason } from '../metrics.js';
import type { Bucket } from '../operators/signature.js';
import type { Priority } from '../problem.js';
import { batchSizes, maxBatch, smallestBatch } from './buckets.js';
import type { RunCosts } from './cost-model.js';
import { mostInTime, nextBatchSize } from './split.js';

export interface BatchLimits {
  /** Most jobs in a batch, on top of the ladder's own limit. */
  readonly maxBatch: number;
  readonly maxQueueDelayMs: number;
  /** 0 to 1; `defaultMaxPaddingWaste` where there is no reason to choose. */
  readonly maxPaddingWaste: number;
}

/** Two jobs share if the smaller has a quarter of the larger's cells; a tiny one rides only along with two full ones. */
export const defaultMaxPaddingWaste = 0.4;

/** Batches handed to the engine beyond what it runs at once. */
const stagedBatches = 1;

/** Jobs behind a batch whose deadlines count for its size. */
const rivalsLookedAt = 128;

export interface WaitingJob {
  readonly key: string;
  /** N and M of the smallest bucket that holds the job. */
  readonly agents: number;
  readonly tasks: number;
  readonly priority: Priority;
  readonly enqueuedMs: number;
  readonly deadlineMs: number;
  /** When the engine must be done with it for the answer to be in time; at most `deadlineMs`. */
  readonly dueMs: number;
  /** When it must begin at the latest to be done by `dueMs`, by measured costs; `deadlineMs` where they are not known. */
  readonly startByMs: number;
  /** `urgencyOf` of its arrival and `dueMs`. */
  readonly urgencyMs: number;
  /** Names the program without which the job cannot run and which is being compiled; null: can run. */
  readonly compiling: string | null;
}

export interface BatchingView<J extends WaitingJob> {
  /** `earliestStartByMs`: of all jobs; Infinity where there is none. */
  readonly waiting: { inOrder(): readonly J[]; readonly earliestStartByMs: number; readonly jobCount: number };
  /** Batches that the engine has and has not answered. */
  readonly inFlight: number;
  /** Below this many in flight the engine is idle. */
  readonly concurrency: number;
  /** When one more should be handed over so that the engine goes on without a gap; Infinity where that cannot be told. */
  readonly stageAtMs: number;
  /** When the engine is expected to be free for one more; Infinity where that cannot be told. */
  readonly freeAtMs: number;
  /** Until then more is about to come, in the next turn of the event loop, after which this is asked again; -Infinity where that cannot be told. */
  readonly gatherUntilMs: number;
  /** Nothing more will come, so nothing is held back to grow. */
  readonly draining: boolean;
}

export type Decision<J extends WaitingJob> =
  /** `late`: their deadline is still to come. */
  | { readonly kind: 'drop'; readonly expired: readonly J[]; readonly late: readonly J[] }
  | { readonly kind: 'dispatch'; readonly batch: PlannedBatch<J>; readonly reason: DispatchReason }
  /** Nothing to do before `untilMs` (Infinity: before something changes). */
  | { readonly kind: 'wait'; readonly untilMs: number };

export interface PlannedBatch<J extends WaitingJob> {
  /** In order: the first `bucket.batch` of them run; those after them may where a program with more slots stands in. */
  readonly jobs: readonly J[];
  readonly bucket: Bucket;
}

/** The next thing to do. Ask again after doing it, until it says `wait`. */
export function decide<J extends WaitingJob>(
  view: BatchingView<J>,
  nowMs: number,
  limits: BatchLimits,
  costs: RunCosts,
): Decision<J> {
  const { waiting, inFlight, concurrency } = view;
  const { earliestStartByMs } = waiting;
  if (earliestStartByMs <= nowMs) return dropped(waiting.inOrder(), nowMs);
  if (inFlight >= concurrency + stagedBatches) return { kind: 'wait', untilMs: earliestStartByMs };

  const isIdle = inFlight < concurrency;
  const isGathering = nowMs < view.gatherUntilMs && waiting.jobCount < limits.maxBatch;
  if (isIdle && isGathering && !view.draining) return { kind: 'wait', untilMs: earliestStartByMs };
  const startMs = isIdle || view.freeAtMs === Infinity ? nowMs : Math.max(view.freeAtMs, nowMs);
  const runnable = waiting.inOrder().filter((job) => job.compiling === null && job.startByMs > startMs);
  if (runnable.length === 0) return { kind: 'wait', untilMs: earliestStartByMs };
  const batch = batchFrom(runnable, limits, costs);
  const reason = reasonFor(view, batch, runnable, nowMs, limits);
  if (typeof reason === 'number') return { kind: 'wait', untilMs: Math.min(reason, earliestStartByMs) };
  const places = Math.max(concurrency - inFlight, 1);
  return { kind: 'dispatch', batch: sized(batch, runnable, startMs, places, limits, costs), reason };
}

function dropped<J extends WaitingJob>(jobs: readonly J[], nowMs: number): Decision<J> {
  const expired: J[] = [];
  const late: J[] = [];
  for (const job of jobs) {
    if (job.deadlineMs <= nowMs) expired.push(job);
    else if (job.startByMs <= nowMs) late.push(job);
  }
  return { kind: 'drop', expired, late };
}

/** Why the batch goes now, or until when it is held back. */
function reasonFor<J extends WaitingJob>(
  { inFlight, concurrency, draining, stageAtMs }: BatchingView<J>,
  batch: PlannedBatch<J>,
  runnable: readonly J[],
  nowMs: number,
  limits: BatchLimits,
): DispatchReason | number {
  if (isFull(batch, limits)) return 'full';
  if (draining) return 'drain';
  if (inFlight < concurrency) return 'idle';
  const heldUntilMs = stageAtMs === Infinity ? oldestOf(runnable) + limits.maxQueueDelayMs : stageAtMs;
  return heldUntilMs <= nowMs ? 'delay' : heldUntilMs;
}

/** The first job, joined by those after it that may share its batch. Its bucket holds all of them. */
function batchFrom<J extends WaitingJob>(
  runnable: readonly J[],
  limits: BatchLimits,
  costs: RunCosts,
): PlannedBatch<J> {
  const first = runnable[0]!;
  const { key } = first;
  const jobs = [first];
  let { agents, tasks } = first;
  let ownCells = cellsOf(agents, tasks);
  let limit = maxBatch(agents, tasks, limits.maxBatch);
  let alike: ReadonlyMap<number, number> | null = null;
  for (let i = 1; i < runnable.length && jobs.length < limit; i++) {
    const job = runnable[i]!;
    if (job.key !== key) continue;
    const sharedAgents = Math.max(agents, job.agents);
    const sharedTasks = Math.max(tasks, job.tasks);
    const sharedLimit = maxBatch(sharedAgents, sharedTasks, limits.maxBatch);
    const sharedOwnCells = ownCells + cellsOf(job.agents, job.tasks);
    const waste = 1 - sharedOwnCells / ((jobs.length + 1) * cellsOf(sharedAgents, sharedTasks));
    if (jobs.length >= sharedLimit || waste > limits.maxPaddingWaste) continue;
    if (job.agents !== agents || job.tasks !== tasks) {
      alike ??= countsOfSizes(runnable, key);
      const count = alike.get(sizeCode(job))!;
      const slotMs = (n: number, m: number) => slotCost(key, n, m, limits, costs);
      const sharingMs = (jobs.length + 1) * slotMs(sharedAgents, sharedTasks) - jobs.length * slotMs(agents, tasks);
      if (sharingMs > ownCost(job, count, limits, costs)) continue;
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
  runnable: readonly J[],
  startMs: number,
  places: number,
  limits: BatchLimits,
  costs: RunCosts,
): PlannedBatch<J> {
  const { key } = jobs[0]!;
  const sizes = batchSizes(bucket.agents, bucket.tasks, limits.maxBatch);
  const runMs = (size: number) => costs.runMs(key, { ...bucket, batch: size });
  let batch = nextBatchSize(jobs.length, places, sizes, runMs);
  let ordered = jobs;
  const endMs = startMs + (jobs.some(({ dueMs }) => dueMs !== Infinity) ? runMs(batch) : 0);
  if (jobs.slice(0, batch).some(({ dueMs }) => dueMs < endMs)) {
    const usable = sizes.filter((size) => size <= batch);
    const rivals = runnable.filter((job) => job.key === key).slice(0, rivalsLookedAt);
    batch = mostInTime(jobs, rivals, startMs, usable, runMs);
    const dueAfterMs = startMs + runMs(batch);
    const inTime = jobs.filter(({ dueMs }) => dueMs >= dueAfterMs);
    // Where all would be late, by estimates that are no better than that, the first one is tried.
    if (inTime.length > 0) ordered = inTime;
    batch = Math.min(batch, smallestBatch(ordered.length, bucket.agents, bucket.tasks, limits.maxBatch));
  }
  let agents = 0;
  let tasks = 0;
  for (const job of ordered.slice(0, batch)) {
    agents = Math.max(agents, job.agents);
    tasks = Math.max(tasks, job.tasks);
  }
  return { jobs: ordered, bucket: { batch, agents, tasks } };
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
/** How many jobs of a key there are of each size. */
function countsOfSizes(jobs: readonly WaitingJob[], key: string): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (const job of jobs) if (job.key === key) counts.set(sizeCode(job), (counts.get(sizeCode(job)) ?? 0) + 1);
  return counts;
}

function sizeCode({ agents, tasks }: WaitingJob): number {
  return agents * 2 ** 16 + tasks;
}

function isFull({ jobs, bucket }: PlannedBatch<WaitingJob>, limits: BatchLimits): boolean {
  return jobs.length >= maxBatch(bucket.agents, bucket.tasks, limits.maxBatch);
}

function oldestOf(jobs: readonly WaitingJob[]): number {
  let oldestMs = Infinity;
  for (const { enqueuedMs } of jobs) oldestMs = Math.min(oldestMs, enqueuedMs);
  return oldestMs;
}

/** A program without a task axis has one column of cells. */
function cellsOf(agents: number, tasks: number): number {
  return agents * Math.max(tasks, 1);
}
