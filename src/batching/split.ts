/** How many of the alike jobs that wait should run in the next batch: all at once in a padded one, or some now and the rest after. */

/** Splitting must save this share of the time: estimates are not better, and each batch costs the host something, too. */
const leastSaving = 0.1;

/**
 * The compiled batch size to run next for `count` jobs. `sizes` ascend and `count` is at most the last; `places` (at least 1) is
 * how many batches the engine would run side by side now; `runMs` is what a batch size takes.
 *
 * Every way to cut the jobs into batches takes the engine a time until the last one is answered: the sum of its batches, or, side
 * by side, the longest of them. The largest size is taken with which that time is within `leastSaving` of the least: a
 * size that holds all jobs where padding costs little, a smaller one that is full where padding costs much.
 */
export function nextBatchSize(
  count: number,
  places: number,
  sizes: readonly number[],
  runMs: (size: number) => number,
): number {
  const largest = sizes.findIndex((size) => size >= count);
  const usable = sizes.slice(0, largest + 1);
  if (usable.length <= 1) return usable[0]!;
  const costs = usable.map(runMs);
  // The least time for 0, 1, ... count jobs: in one place, then in as many more as there are.
  let least = leastTimes(count, usable, costs, null);
  for (let place = 2; place < Math.min(places, count); place++) least = leastTimes(count, usable, costs, least);
  const sideBySide = places > 1;
  if (!sideBySide) return largestWithin(count, usable, costs, (cost, rest) => cost + least[rest]!);
  return largestWithin(count, usable, costs, (cost, rest) => Math.max(cost, least[rest]!));
}

/** What has to be done by when, in order. */
interface Due {
  readonly dueMs: number;
}

/**
 * The batch size, one of `sizes` (ascending), to begin with at `startMs` so that most of `rivals` are done in time, and among such sizes the
 * one with which that takes least. A batch takes the first of its candidates that are in time with it; those after the first batch, all
 * `rivals` that are left, run in the largest size while any is in time. `candidates` are the rivals that fit the batch.
 */
export function mostInTime<J extends Due>(
  candidates: readonly J[],
  rivals: readonly J[],
  startMs: number,
  sizes: readonly number[],
  runMs: (size: number) => number,
): number {
  const largest = sizes.at(-1)!;
  const largestMs = runMs(largest);
  let best = sizes[0]!;
  let most = -1;
  let leastMs = Infinity;
  for (const size of sizes) {
    let endMs = startMs + runMs(size);
    const first = new Set<J>();
    for (const job of candidates) if (first.size < size && job.dueMs >= endMs) first.add(job);
    if (first.size === 0) continue;
    let count = first.size;
    let left = rivals.filter((job) => !first.has(job));
    for (;;) {
      const nextMs = endMs + largestMs;
      left = left.filter(({ dueMs }) => dueMs >= nextMs);
      if (left.length === 0) break;
      count += Math.min(left.length, largest);
      left = left.slice(largest);
      endMs = nextMs;
    }
    if (count > most || (count === most && endMs < leastMs)) [best, most, leastMs] = [size, count, endMs];
  }
  return best;
}

/** `elsewhere`: the same for one place less; null: there is one place only. */
function leastTimes(
  count: number,
  sizes: readonly number[],
  costs: readonly number[],
  elsewhere: readonly number[] | null,
): number[] {
  const least = [0];
  for (let jobs = 1; jobs <= count; jobs++) {
    let best = Infinity;
    for (let i = 0; i < sizes.length; i++) {
      const rest = Math.max(jobs - sizes[i]!, 0);
      best = Math.min(best, elsewhere === null ? costs[i]! + least[rest]! : Math.max(costs[i]!, elsewhere[rest]!));
    }
    least.push(best);
  }
  return least;
}

function largestWithin(
  count: number,
  sizes: readonly number[],
  costs: readonly number[],
  timeOf: (cost: number, rest: number) => number,
): number {
  const times = sizes.map((size, i) => timeOf(costs[i]!, Math.max(count - size, 0)));
  const acceptable = Math.min(...times) / (1 - leastSaving);
  return sizes[times.findLastIndex((time) => time <= acceptable)]!;
}
