/** Robust consensus: eq. (3) with exact (softmax) weights, an adaptive kernel width and a robust start. */
import { numpy as np } from '@jax-js/jax';
import { absent, type MedianMethod, maskedMedian } from './median.js';

/** Below this a variance or a kernel width counts as zero (all agents equal). */
const tiny = 1e-30;

/** Squared distances to one point: by differences, never by expansion, which cancels. */
function squaredNorm(differences: np.Array): np.Array {
  return np.sum(np.square(differences), -1);
}

/**
 * The candidate with the least median squared distance to the active agents; ties go to the lower index.
 *
 * x [B,N,w] (inactive rows zero), present bool [B,1,N], candidates [B,C,w], ranks int32 [B,2] -> centroid [B,1,w].
 * `chunk` candidates are compared at a time, so that the differences [B,chunk,N,w] stay in the cache.
 */
export function medoid(
  method: MedianMethod,
  chunk: number,
  x: np.Array,
  present: np.Array,
  candidates: np.Array,
  ranks: np.Array,
): np.Array {
  const [batch, count, width] = candidates.shape as [number, number, number];
  const agents = x.shape[1]!;
  const states = x.reshape([batch, 1, agents, width]);
  const parts: np.Array[] = [];
  for (let first = 0; first < count; first += chunk) {
    const some = candidates.ref.slice([], [first, first + chunk], []).reshape([batch, chunk, 1, width]);
    parts.push(squaredNorm(states.ref.sub(some)));
  }
  const distances = np.where(present, parts.length === 1 ? parts[0]! : np.concatenate(parts, 1), absent);
  const cost = maskedMedian(method, distances, ranks).reshape([batch, 1, count]);
  const best = np.min(cost.ref, -1, { keepdims: true });
  const index = np.arange(count).astype(np.float32).reshape([1, 1, count]);
  const tied = np.where(np.lessEqual(cost, best), index.ref, count);
  const chosen = np.equal(index, np.min(tied, -1, { keepdims: true })).astype(np.float32);
  return np.matmul(chosen, candidates);
}

/** Mean of the active agents: x [B,N,w] (inactive rows zero), mask [B,1,N] -> [B,1,w]; zero where nobody is active. */
export function activeMean(x: np.Array, mask: np.Array): np.Array {
  const count = np.maximum(np.sum(mask.ref, -1, { keepdims: true }), 1);
  return np.matmul(mask, x).div(count);
}

/**
 * -2 sigma^2 of eq. (3), [B,1,1]: -2 (factor^2 median / chi2_median) where adaptive, -2 sigma^2 where fixed; never above -2e-30.
 * slope, offset [B,1,1] come from `kernelLine`.
 */
function kernelDenominator(median: np.Array, slope: np.Array, offset: np.Array): np.Array {
  return np.minimum(median.mul(slope).add(offset), -2 * tiny);
}

/** The kernel's width as a line in the median: constants [B,4] (see `signature.ts`) -> slope, offset [B,1,1]. */
export function kernelLine(constants: np.Array): np.Array[] {
  const column = (index: number) => constants.ref.slice([], [index, index + 1]).reshape([-1, 1, 1]);
  const fixed = column(3);
  const adaptive = column(0).div(column(1)).mul(-2);
  const slope = np.where(np.greater(fixed.ref, 0), 0, adaptive);
  return [slope, fixed.mul(-2)];
}

interface Distances {
  /** [B,N,w] */
  readonly differences: np.Array;
  /** [B,1,N], `absent` where inactive */
  readonly squared: np.Array;
  /** [B,1,1] */
  readonly median: np.Array;
}

function distancesTo(
  method: MedianMethod,
  centroid: np.Array,
  x: np.Array,
  present: np.Array,
  ranks: np.Array,
): Distances {
  const [batch, agents] = x.shape as [number, number];
  const differences = x.sub(centroid);
  const all = squaredNorm(differences.ref).reshape([batch, 1, agents]);
  const squared = np.where(present, all, absent);
  return { differences, squared, median: maskedMedian(method, squared.ref, ranks) };
}

/** exp(z - max z), z = squared / denominator: softmax's numerator. Inactive agents get 0 unless nobody is active. */
function softmaxPowers(squared: np.Array, denominator: np.Array): np.Array {
  const nearest = np.min(squared.ref, -1, { keepdims: true });
  return np.exp(squared.sub(nearest).div(denominator));
}

/**
 * One step of eq. (3): centroid [B,1,w] -> [new centroid [B,1,w], step [B,1,w]].
 * Written as c + sum w (x - c) / sum w, which is exact where all agents are equal and keeps digits far from the origin.
 */
export function consensusStep(
  method: MedianMethod,
  centroid: np.Array,
  x: np.Array,
  present: np.Array,
  ranks: np.Array,
  slope: np.Array,
  offset: np.Array,
): np.Array[] {
  const { differences, squared, median } = distancesTo(method, centroid.ref, x, present, ranks);
  const powers = softmaxPowers(squared, kernelDenominator(median, slope, offset));
  const total = np.sum(powers.ref, -1, { keepdims: true });
  const step = np.matmul(powers, differences).div(total);
  return [centroid.add(step.ref), step];
}

/**
 * What the answer says about the final centroid.
 *
 * centroid, step [B,1,w], x [B,N,w], present bool [B,1,N], mask [B,N], ranks, constants [B,4], slope, offset
 * -> centroid [B,w], weights [B,N] (sum 1), kernel [B,N], flags [B,N], scale [B,1], effective_count [B,1], last_step [B,1].
 * All zero where nobody is active.
 */
export function consensusResult(
  method: MedianMethod,
  centroid: np.Array,
  step: np.Array,
  x: np.Array,
  present: np.Array,
  mask: np.Array,
  ranks: np.Array,
  constants: np.Array,
  slope: np.Array,
  offset: np.Array,
): np.Array[] {
  const [batch, agents, width] = x.shape as [number, number, number];
  const { squared, median } = distancesTo(method, centroid.ref, x, present, ranks);
  const denominator = kernelDenominator(median.ref, slope, offset).reshape([batch, 1]);
  const d2 = squared.reshape([batch, agents]);
  const powers = softmaxPowers(d2.ref, denominator.ref).mul(mask.ref);
  // 0 over 1 where nobody is active; at least 1 otherwise, because the nearest agent's power is 1.
  const weights = powers.ref.div(np.maximum(np.sum(powers, -1, { keepdims: true }), 1));
  const kernel = np.exp(d2.ref.div(denominator)).mul(mask.ref);

  const anybody = np.max(mask.ref, -1, { keepdims: true });
  const chi2Median = constants.ref.slice([], [1, 2]);
  const chi2Limit = constants.slice([], [2, 3]);
  const variance = median.reshape([batch, 1]).div(chi2Median).mul(anybody.ref);
  const limit = np.maximum(variance.ref, tiny).mul(chi2Limit);
  const flags = np.where(np.greater(d2, limit), mask, 0);
  const power = np.sum(np.square(weights.ref), -1, { keepdims: true });
  const effectiveCount = anybody.div(np.maximum(power, tiny));
  const lastStep = np.max(np.maximum(step.ref, step.neg()), -1);
  return [centroid.reshape([batch, width]), weights, kernel, flags, np.sqrt(variance), effectiveCount, lastStep];
}
