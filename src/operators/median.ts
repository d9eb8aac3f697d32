/** The masked median in two lowerings. Both average the two middle values, as NumPy's median does. */
import { lax, numpy as np } from '@jax-js/jax';

/**
 * - sort: a window of the sorted values, which ONNX Runtime selects without sorting (2.2 us for a row of 128, one core).
 * - rank: compares each value with all others and counts, for engines that do both in one loop: 1 us for a row of 128 and
 *   17 for one of 1024 on XLA's CPU plugin, whose selection takes 4 us for a row of 128.
 * - digits: compares each value with the next digits that the median's bits may have; for the same engines, where rows are
 *   longer. Not for ONNX, which does not read floats as their bits. Takes twice as long to compile.
 *
 * All of consensus on XLA's CPU plugin, ms of two cores (sort / rank / digits): 32 x 128 5.4 / 2.2 / 2.0, 16 x 256 - / 3.0 / 1.6,
 * 1 x 1024 2.0 / 1.4 / 0.7, 1 x 5120 14 / 36 / 2.8.
 *
 * All of consensus on ONNX Runtime 1.30, one core, w = 64, 10 iterations, medoid start (sort / rank, ms): 1 x 16 0.17 / 0.21,
 * 1 x 128 0.29 / 0.78, 32 x 128 4.5 / 20: it writes every comparison to memory. So `sort` is its default in every bucket.
 */
export type MedianMethod = 'sort' | 'rank' | 'digits';

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
  return method === 'sort' ? sortPlan(mask, ranks) : [ranks.reshape([-1, 1, 2])];
}

/**
 * Median of the present values along the last axis; at most 0 or `absent` where there is none.
 * values [B,r,N] >= 0, `absent` where masked; plan as `medianPlan` gives it -> [B,r,1].
 */
export function maskedMedian(method: MedianMethod, values: np.Array, plan: readonly np.Array[]): np.Array {
  if (method === 'sort') return middleOfSorted(values, plan);
  return method === 'rank' ? rankedMedian(values, plan) : spelledMedian(values, plan);
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

/**
 * A value has at least as many others below it as its rank says only if it is larger than the value of that rank; so that
 * is the largest with at most `rank` others below it. Ties need no order.
 */
function rankedMedian(values: np.Array, plan: readonly np.Array[]): np.Array {
  const [ranks] = plan as readonly [np.Array];
  const [batch, rows, count] = values.shape as [number, number, number];
  const others = values.ref.reshape([batch, rows, 1, count]);
  const below = np.sum(np.less(others, values.ref.reshape([batch, rows, count, 1])).astype(np.int32), -1);
  const of = (index: number) => {
    const rank = ranks.ref.slice([], [], [index, index + 1]);
    return np.max(np.where(np.lessEqual(below.ref, rank), values.ref, low), -1, { keepdims: true });
  };
  return of(0).add(of(1)).mul(0.5);
}

/** Bits found at a time: 8 rounds of 15 comparisons with each value. */
const digitBits = 4;
const digits = 2 ** digitBits;

/**
 * The bits of a float32 that is not negative rise with it. The largest integer with at most `rank` bit patterns below it
 * is the pattern of the value of that rank; it is found digit by digit, from the highest. The second rank's value is the first's
 * where more than that many are not above it, else the least above it.
 */
function spelledMedian(values: np.Array, plan: readonly np.Array[]): np.Array {
  const [ranks] = plan as readonly [np.Array];
  const [batch, rows, count] = values.shape as [number, number, number];
  const patterns = lax.bitcastConvertType(values, np.int32);
  const rank = (index: number) => ranks.ref.slice([], [], [index, index + 1]);
  const lower = rank(0);
  let found = np.zeros([batch, rows, 1], { dtype: np.int32 });
  for (let shift = 32 - digitBits; shift >= 0; shift -= digitBits) {
    // The sign bit is 0, so the highest digit has half as many values.
    const tried = shift + digitBits === 32 ? digits / 2 - 1 : digits - 1;
    const steps = np.array(Int32Array.from({ length: tried }, (_, i) => (i + 1) * 2 ** shift)).reshape([1, 1, tried]);
    const limits = found.ref.add(steps);
    const isBelow = np.less(patterns.ref.reshape([batch, rows, 1, count]), limits.reshape([batch, rows, tried, 1]));
    const below = np.sum(isBelow.astype(np.int32), -1);
    const digit = np.sum(np.lessEqual(below, lower.ref).astype(np.int32), -1, { keepdims: true });
    found = found.add(digit.mul(integer(2 ** shift)));
  }
  const isAbove = np.greater(patterns.ref, found.ref);
  const above = np.min(np.where(isAbove.ref, patterns, integer(2 ** 31 - 1)), -1, { keepdims: true });
  const upTo = integer(count).sub(np.sum(isAbove.astype(np.int32), -1, { keepdims: true }));
  const second = np.where(np.greater(upTo, rank(1)), found.ref, above);
  lower.dispose();
  const value = (pattern: np.Array) => lax.bitcastConvertType(pattern, np.float32);
  return value(found).add(value(second)).mul(0.5);
}

/** A number beside an integer array would be traced as a float. */
function integer(value: number): np.Array {
  return np.array(Int32Array.of(value)).reshape([1, 1, 1]);
}
