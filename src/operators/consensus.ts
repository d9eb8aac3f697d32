/**
 * Robust consensus: eq. (3) with exact (softmax) weights, an adaptive kernel width and a robust start.
 *
 * States are held in two layouts: x [B,N,w], and agents first, y [N,B*w]. Differences from one point per problem are
 * taken on y, where the points of all problems are one long run to broadcast: at [32,128,64] ONNX Runtime needs 15 us
 * for that and 100 us for the same on x, where they are many runs of w.
 */
import { numpy as np } from '@jax-js/jax';
import { absent, type MedianMethod, maskedMedian } from './median.js';

/** Below this a variance or a squared kernel width counts as zero (all agents equal). */
const tiny = 1e-30;

/** x [B,N,w] -> y [N,B*w] */
export function agentsFirst(x: np.Array): np.Array {
  const [batch, agents, width] = x.shape as [number, number, number];
  return np.transpose(x, [1, 0, 2]).reshape([agents, batch * width]);
}

/**
 * The states in the layout in which an engine takes differences fastest. `x`: x itself, for engines that compute
 * differences, squares and sums in one loop and write only the sums: 16 candidates at [32,128,64] cost XLA's CPU plugin
 * 0.4 ms of one core so, and 1.9 from y.
 */
export type StateLayout = 'x' | 'y';

/**
 * Squared distances by differences, never by expansion, which cancels.
 * states x [B,N,w] or y [N,B*w], points [B,C,w] -> [B,C,N]
 */
function squaredDistances(layout: StateLayout, states: np.Array, points: np.Array): np.Array {
  const [batch, count, width] = points.shape as [number, number, number];
  if (layout === 'x') {
    const difference = states.reshape([batch, 1, -1, width]).sub(points.reshape([batch, count, 1, width]));
    return np.sum(np.square(difference), -1);
  }
  const [agents, length] = states.shape as [number, number];
  const lines = np.transpose(points, [1, 0, 2]).reshape([count, 1, length]);
  const squares = np.square(states.sub(lines));
  return np.transpose(np.sum(squares.reshape([count, agents, batch, width]), -1), [2, 0, 1]);
}

/** 0 where active, `absent` where not: mask [B,N] -> [B,1,N]. A maximum with it masks squared distances. */
export function absence(mask: np.Array): np.Array {
  const [batch, agents] = mask.shape as [number, number];
  return np.subtract(1, mask).mul(absent).reshape([batch, 1, agents]);
}

/**
 * The candidate with the least median squared distance to the active agents; ties go to the lower index.
 *
 * states x [B,N,w] or y [N,B*w], hidden [B,1,N] as `absence` gives it, candidates [B,C,w], median plan -> centroid [B,1,w].
 * `chunk` candidates are compared at a time, so that differences from y, [chunk,N,B*w], stay in the cache.
 */
export function medoid(
  method: MedianMethod,
  layout: StateLayout,
  chunk: number,
  states: np.Array,
  hidden: np.Array,
  candidates: np.Array,
  plan: readonly np.Array[],
): np.Array {
  const count = candidates.shape[1]!;
  const parts: np.Array[] = [];
  for (let first = 0; first < count; first += chunk) {
    parts.push(squaredDistances(layout, states.ref, candidates.ref.slice([], [first, first + chunk], [])));
  }
  const all = parts.length === 1 ? parts[0]! : np.concatenate(parts, 1);
  const distances = np.maximum(all, hidden);
  const cost = maskedMedian(method, distances, plan).reshape([-1, 1, count]);
  const best = np.min(cost.ref, -1, { keepdims: true });
  const index = np.arange(count).astype(np.float32).reshape([1, 1, count]);
  const tied = np.where(np.lessEqual(cost, best), index.ref, count);
  const chosen = np.equal(index, np.min(tied, -1, { keepdims: true })).astype(np.float32);
  return np.matmul(chosen, candidates);
}

/** Mean of the active agents: x [B,N,w] (inactive rows finite), mask [B,N] -> [B,1,w]; zero where nobody is active. */
export function activeMean(x: np.Array, mask: np.Array): np.Array {
  const [batch, agents] = mask.shape as [number, number];
  const weights = mask.reshape([batch, 1, agents]);
  const count = np.maximum(np.sum(weights.ref, -1, { keepdims: true }), 1);
  return np.matmul(weights, x).div(count);
}

/** The states seen from `origin` [B,1,w]: y -> x and y. What is equal to the origin becomes exactly 0. For x that is x - origin. */
export function centred(origin: np.Array, y: np.Array): np.Array[] {
  const [batch, , width] = origin.shape as [number, number, number];
  const [agents, length] = y.shape as [number, number];
  const moved = y.sub(origin.reshape([1, length]));
  return [np.transpose(moved.ref.reshape([agents, batch, width]), [1, 0, 2]), moved];
}

/** What the iterations read and never change. */
export interface Field {
  readonly method: MedianMethod;
  /** [B,N,w], seen from the start. */
  readonly x: np.Array;
  /** The same, from which distances are taken. */
  readonly layout: StateLayout;
  readonly states: np.Array;
  /** [B,1,N] */
  readonly hidden: np.Array;
  /** [B,1,1] each, as `kernelLine` gives them. */
  readonly slope: np.Array;
  readonly offset: np.Array;
  readonly plan: readonly np.Array[];
}

/**
 * -2 sigma^2 of eq. (3) as a line in the median: slope -2 factor^2 / chi2_median where adaptive, 0 where fixed; the
 * offset keeps it below zero. constants [B,4] (see `signature.ts`) -> slope, offset [B,1,1].
 */
export function kernelLine(constants: np.Array): np.Array[] {
  const column = (index: number) => constants.ref.slice([], [index, index + 1]).reshape([-1, 1, 1]);
  const fixed = column(3);
  const slope = np.where(np.greater(fixed.ref, 0), 0, column(0).div(column(1)).mul(-2));
  return [slope, np.maximum(fixed, tiny).mul(-2)];
}

interface Distances {
  /** Squared, [B,1,N]; `absent` where inactive. */
  readonly squared: np.Array;
  /** [B,1,1] */
  readonly median: np.Array;
}

function distancesTo(centroid: np.Array, { method, layout, states, hidden, plan }: Field): Distances {
  const squared = np.maximum(squaredDistances(layout, states.ref, centroid), hidden.ref);
  return { squared, median: maskedMedian(method, squared.ref, plan) };
}

/** exp(z - max z), z = squared / denominator: softmax's numerator. Inactive agents get 0 unless nobody is active. */
function softmaxPowers(squared: np.Array, denominator: np.Array): np.Array {
  const nearest = np.min(squared.ref, -1, { keepdims: true });
  return np.exp(squared.sub(nearest).div(denominator));
}

/** One step of eq. (3): c = sum w x / sum w with w = softmax(-||x - c||^2 / 2 sigma^2). centroid [B,1,w] -> [B,1,w] */
export function consensusStep(centroid: np.Array, field: Field): np.Array {
  const { squared, median } = distancesTo(centroid, field);
  const denominator = median.mul(field.slope.ref).add(field.offset.ref);
  const powers = softmaxPowers(squared, denominator);
  const total = np.sum(powers.ref, -1, { keepdims: true });
  return np.matmul(powers, field.x.ref).div(total);
}

/**
 * What the answer says about the final centroid.
 *
 * origin, centroid, previous [B,1,w] (the latter two seen from the origin), mask [B,N], constants [B,4]
 * -> centroid [B,w], weights [B,N] (sum 1), kernel [B,N], flags [B,N], scale [B,1], effective_count [B,1], last_step [B,1].
 * All zero where nobody is active.
 */
export function consensusResult(
  origin: np.Array,
  centroid: np.Array,
  previous: np.Array,
  mask: np.Array,
  constants: np.Array,
  field: Field,
): np.Array[] {
  const [batch, agents, width] = field.x.shape as [number, number, number];
  const { squared, median } = distancesTo(centroid.ref, field);
  const denominator = median.ref.mul(field.slope).add(field.offset).reshape([batch, 1]);
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
  const step = centroid.ref.sub(previous).reshape([batch, width]);
  const lastStep = np.max(np.maximum(step.ref, step.neg()), -1, { keepdims: true });
  const place = origin.add(centroid).reshape([batch, width]);
  return [place, weights, kernel, flags, np.sqrt(np.maximum(variance, 0)), effectiveCount, lastStep];
}
