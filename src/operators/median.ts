/** The masked median in two lowerings. Both average the two middle values, as NumPy's median does. */
import { numpy as np } from '@jax-js/jax';

/**
 * - sort: a window of the sorted values, which ONNX Runtime selects without sorting (2.2 us for a row of 128, one core).
 * - bisection: compares and counts, no sort; for engines whose sorts are slow.
 *
 * All of consensus on ONNX Runtime 1.30, one core, w = 64, 10 iterations, medoid start (sort / bisection, ms):
 * 1 x 16 0.17 / 2.6, 1 x 128 0.29 / 2.8, 32 x 128 4.5 / 9.4, 1 x 1024 1.3 / 4.3, 1 x 5120 6.2 / 11.0. So `sort` is its default in every bucket.
 */
export type MedianMethod = 'sort' | 'bisection';

/** Stands for "no value": above every squared distance, and finite so that 0 times it is 0. */
export const absent = 1e38;

/** Below every squared distance. */
const low = -1;
const unlimited = 3e38;

/**
 * What the median needs to know about the masks, computed once for many medians.
 * mask [B,1,N] 0 or 1, ranks int32 [B,2]: ranks of the two middle present values, from 0.
 */
export function medianPlan(method: MedianMethod, mask: np.Array, ranks: np.Array): np.Array[] {
  return method === 'sort' ? sortPlan(mask, ranks) : [ranks.astype(np.float32).reshape([-1, 1, 2])];
}

/**
 * Median of the present values along the last axis; below 0 or `absent` where there is none.
 * values [B,r,N] >= 0, `absent` where masked; plan as `medianPlan` gives it -> [B,r,1].
 */
export function maskedMedian(method: MedianMethod, values: np.Array, plan: readonly np.Array[]): np.Array {
  return method === 'sort' ? middleOfSorted(values, plan) : bisectedMedian(values, plan);
}

/**
 * Half of the masked values (rounded down) count as lower than all others and half as higher, which puts the middle of
 * the present values in the middle of the whole row: a window that does not depend on how many are present.
 *
 * -> limit [B,1,N]: -1 for the low half of the masked, else no limit; weights [B,1,2] of the window's two values.
 */
function sortPlan(mask: np.Array, ranks: np.Array): np.Array[] {
  const masked = np.subtract(1, mask);
  const half = np.sum(masked.ref, -1, { keepdims: true }).mul(0.5);
  const isLow = np.lessEqual(runningCount(masked.ref), half);
  const limit = np.where(isLow, masked.mul(low - unlimited).add(unlimited), unlimited);
  const [first, second] = [ranks.ref.slice([], [0, 1]), ranks.slice([], [1, 2])];
  // With an odd count of present values both ranks are the window's first value.
  const more = np.where(np.equal(first, second), 0.5, 0);
  const weights = np.concatenate([more.ref.add(0.5), np.subtract(0.5, more)], 1);
  return [limit, weights.reshape([-1, 1, 2])];
}

/** Running sum along N, itself included, by two levels of triangular products: [B,1,N] of 0 and 1 -> [B,1,N]. */
function runningCount(bits: np.Array): np.Array {
  const [batch, , length] = bits.shape as [number, number, number];
  const inner = 2 ** Math.floor(Math.log2(Math.sqrt(length)));
  const outer = length / inner;
  const within = np.matmul(bits.reshape([batch, outer, inner]), upperTriangle(inner, 0));
  const totals = within.ref.slice([], [], [inner - 1, inner]).reshape([batch, 1, outer]);
  const before = np.matmul(totals, upperTriangle(outer, 1)).reshape([batch, outer, 1]);
  return within.add(before).reshape([batch, 1, length]);
}

/** 1 where column - row >= offset. */
function upperTriangle(size: number, offset: number): np.Array {
  const ones = Float32Array.from({ length: size * size }, (_, i) =>
    (i % size) - Math.floor(i / size) >= offset ? 1 : 0,
  );
  return np.array(ones).reshape([size, size]);
}

function middleOfSorted(values: np.Array, plan: readonly np.Array[]): np.Array {
  const [limit, weights] = plan as readonly [np.Array, np.Array];
  const count = values.shape[2]!;
  if (count % 2 !== 0) throw new Error(`expected an even number of agents in the bucket, received ${count}`);
  const sorted = np.sort(np.minimum(values, limit.ref), -1);
  const middle = sorted.slice([], [], [count / 2 - 1, count / 2 + 1]);
  return np.sum(middle.mul(weights.ref), -1, { keepdims: true });
}

/** The bracket shrinks to 2^-34 of the largest value. */
const bisectionSteps = 34;

/**
 * Halves the bracket [0, largest value] of each rank, counting the values at or below its middle. The bracket is on the
 * square roots of the values: a far outlier costs half as many digits.
 */
function bisectedMedian(values: np.Array, plan: readonly np.Array[]): np.Array {
  const [ranks] = plan as readonly [np.Array];
  const present = np.less(values.ref, absent);
  const roots = np.sqrt(values);
  const largest = np.max(np.where(present, roots.ref, 0), -1, { keepdims: true });
  const find = (rank: np.Array): np.Array => {
    let lower = largest.ref.mul(0);
    let width = largest.ref;
    for (let step = 0; step < bisectionSteps; step += 1) {
      width = width.mul(0.5);
      const middle = lower.ref.add(width.ref);
      const below = np.sum(np.lessEqual(roots.ref, middle.ref).astype(np.float32), -1, { keepdims: true });
      lower = np.where(np.lessEqual(below, rank.ref), middle, lower);
    }
    return np.square(lower.add(width.mul(0.5)));
  };
  const of = (index: number) => find(ranks.ref.slice([], [], [index, index + 1]));
  return of(0).add(of(1)).mul(0.5);
}
