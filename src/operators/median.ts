/** The masked median in two lowerings. Both average the two middle values, as NumPy's median does. */
import { numpy as np } from '@jax-js/jax';

export type MedianMethod = 'sort' | 'bisection';

/** Stands for "no value": above every squared distance, and finite so that 0 times it is 0. */
export const absent = 1e38;

/**
 * Median of the present values along the last axis.
 *
 * values [B,r,N] >= 0, `absent` where masked; ranks int32 [B,2]: ranks of the two middle values, from 0 -> [B,r,1].
 * With nothing present: `absent`. Ranks never exceed N/2, because absent values come last.
 */
export function maskedMedian(method: MedianMethod, values: np.Array, ranks: np.Array): np.Array {
  return method === 'sort' ? sortedMedian(values, ranks) : bisectedMedian(values, ranks);
}

/** Sorts the smaller half and picks the two ranks by weights of one half each. */
function sortedMedian(values: np.Array, ranks: np.Array): np.Array {
  const [batch, , count] = values.shape as [number, number, number];
  const half = Math.floor(count / 2) + 1;
  const smallest = np.sort(values, -1).slice([], [], [0, half]);
  const position = np.arange(half).astype(np.int32).reshape([1, 1, half]);
  const picked = np.equal(ranks.reshape([batch, 2, 1]), position).astype(np.float32);
  const weights = np.sum(picked, 1).mul(0.5).reshape([batch, half, 1]);
  return np.matmul(smallest, weights);
}

/** Bits of a float32 above its least significant ones that bisection settles; 2^-32 of the bracket. */
const bisectionSteps = 34;

/**
 * Halves the bracket [0, largest value] of each rank until it is narrower than float32 can tell, counting values at or
 * below the middle. No sort; linear in N. Resolution: largest value / 2^34, so far outliers cost digits; the bracket is
 * on the square root of the values, which halves the digits lost.
 */
function bisectedMedian(values: np.Array, ranks: np.Array): np.Array {
  const [batch, rows] = values.shape as [number, number, number];
  const wanted = ranks.astype(np.float32).reshape([batch, 1, 2]);
  const present = np.less(values.ref, absent);
  const roots = np.sqrt(values);
  const largest = np.max(np.where(present, roots.ref, 0), -1, { keepdims: true });
  const rankOf = (index: number) => wanted.ref.slice([], [], [index, index + 1]);
  const find = (rank: np.Array): np.Array => {
    let low = largest.ref.mul(0);
    let width = largest.ref;
    for (let step = 0; step < bisectionSteps; step += 1) {
      width = width.mul(0.5);
      const middle = low.ref.add(width.ref);
      const below = np.sum(np.lessEqual(roots.ref, middle).astype(np.float32), -1, { keepdims: true });
      low = np.where(np.lessEqual(below, rank.ref), low.ref.add(width.ref), low).reshape([batch, rows, 1]);
    }
    return np.square(low.add(width.mul(0.5)));
  };
  return find(rankOf(0))
    .add(find(rankOf(1)))
    .mul(0.5);
}
