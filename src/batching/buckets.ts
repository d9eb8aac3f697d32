/**
 * The sizes that programs are compiled for. N and M are padded independently of each other; the batch limit falls as
 * the greater of the two grows, so that the largest batch of any bucket is about the same work.
 */
import { CoordinatorError } from '../errors.js';

/** What N and M are padded to. Multiples of 16 fill vector lanes; 5120 holds the largest swarm that is promised, 5000. */
export const sizeLadder = [16, 32, 64, 128, 256, 512, 1024, 2048, 5120] as const;

/** What widths are padded to where zeros change nothing (distance, consensus). */
export const widthLadder = [4, 16, 64, 256, 1024] as const;

/** The largest batch of any bucket. */
export const largestBatch = 32;

/** N of the smallest bucket that holds `n` agents. SIZE_LIMIT beyond the largest. */
export function agentBucket(n: number): number {
  return rung(sizeLadder, n, 'agents', 'agents');
}

/** M of the smallest bucket that holds `m` tasks; 0 for 0, a program without a task axis. SIZE_LIMIT beyond the largest. */
export function taskBucket(m: number): number {
  return m === 0 ? 0 : rung(sizeLadder, m, 'tasks', 'tasks');
}

/** The width that programs are compiled for; `field` is what a SIZE_LIMIT error names. */
export function paddedWidth(width: number, field = 'agents'): number {
  return rung(widthLadder, width, field, 'columns');
}

/** Most problems in one batch of a bucket: the ladder's limit, or the configured one where that is smaller. */
export function maxBatch(agents: number, tasks: number, configuredMaxBatch: number): number {
  const size = Math.max(agents, tasks);
  const limit = size <= 128 ? largestBatch : size <= 256 ? 16 : size <= 512 ? 8 : size <= 1024 ? 2 : 1;
  return Math.min(limit, Math.max(1, Math.floor(configuredMaxBatch)));
}

/** Batch sizes that a bucket is compiled for: powers of two, then the largest batch itself; ascending. */
export function batchSizes(agents: number, tasks: number, configuredMaxBatch: number): number[] {
  const largest = maxBatch(agents, tasks, configuredMaxBatch);
  const sizes: number[] = [];
  for (let size = 1; size < largest; size *= 2) sizes.push(size);
  sizes.push(largest);
  return sizes;
}

/** The smallest compiled batch size for `count` problems, which must not exceed `maxBatch` of the bucket. */
export function smallestBatch(count: number, agents: number, tasks: number, configuredMaxBatch: number): number {
  const size = batchSizes(agents, tasks, configuredMaxBatch).find((candidate) => candidate >= count);
  if (size !== undefined) return size;
  const largest = maxBatch(agents, tasks, configuredMaxBatch);
  throw new CoordinatorError('INTERNAL', `${count} problems in a bucket of at most ${largest}`);
}

function rung(ladder: readonly number[], value: number, field: string, what: string): number {
  for (const size of ladder) if (value <= size) return size;
  const limit = ladder[ladder.length - 1]!;
  throw CoordinatorError.field('SIZE_LIMIT', field, `at most ${limit} ${what}`, `${value}`);
}
