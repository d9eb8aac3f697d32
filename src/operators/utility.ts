/** Where U comes from when the caller does not give it, and the unit in which the soft plan reads it. */
import { numpy as np } from '@jax-js/jax';

/** Coordinates beyond this are read as this: squares and products of two stay finite. */
const largestCoordinate = 1e15;

/** Finite ends of float32. */
const largest = 3.4e38;
const smallest = -largest;

/** Least divisor. */
const tiny = 1e-37;

/** A standard deviation this small beside the mean is rounding noise: the utilities are all equal. */
const relativeNoise = 1e-6;

/**
 * Eq. (2): U = E W T' / sqrt(d). agents [B,N,d], tasks [B,M,e], weight [d,e] -> [B,N,M]
 */
export function bilinearUtility(agents: np.Array, tasks: np.Array, weight: np.Array): np.Array {
  const width = agents.shape[2]!;
  const projected = np.matmul(agents, weight).mul(1 / Math.sqrt(width));
  return np.matmul(projected, np.matrixTranspose(np.clip(tasks, -largestCoordinate, largestCoordinate)));
}

/** tasks [B,M,w] -> [B,w,M] with coordinates bounded, as `squaredDistanceColumns` takes them. */
export function taskColumns(tasks: np.Array): np.Array {
  return np.matrixTranspose(np.clip(tasks, -largestCoordinate, largestCoordinate));
}

/**
 * sum over the first `count` coordinates of (a_ic - t_jc)^2, by differences (expansion cancels for near points) and
 * coordinate by coordinate, so that nothing larger than [B,N,M] exists.
 * agents [B,N,w], columns [B,w,M] -> [B,N,M]
 */
export function squaredDistanceColumns(agents: np.Array, columns: np.Array, count: number): np.Array {
  let sum: np.Array | null = null;
  for (let c = 0; c < count; c += 1) {
    const difference = agents.ref.slice([], [], [c, c + 1]).sub(columns.ref.slice([], [c, c + 1], []));
    const square = np.square(difference);
    sum = sum === null ? square : sum.add(square);
  }
  if (sum === null) throw new Error('a distance needs at least one coordinate');
  return sum;
}

/** U + bias [B,N,M]; sums beyond float32's range are its end above, and forbidden (-Infinity) below. */
export function biasedUtility(utility: np.Array, bias: np.Array): np.Array {
  return np.minimum(utility.add(bias), largest);
}

/** U_ij = -||a_i - t_j|| from the squares. */
export function distanceUtility(squares: np.Array): np.Array {
  return np.sqrt(squares).neg();
}

/**
 * Population standard deviation of the utilities over allowed pairs of active agents and tasks, 1 where it is 0.
 *
 * utility [B,N,M] (bias included; -Infinity = forbidden where `forbids`), rows [B,1,N] and columns [B,M,1] 0 or 1 -> [B,1,1]
 */
export function spread(utility: np.Array, rows: np.Array, columns: np.Array, forbids: boolean): np.Array {
  let values = utility;
  let count: np.Array;
  let allowed: np.Array | null = null;
  let unit: np.Array | null = null;
  if (forbids) {
    const open = np.greater(columns.ref.reshape([columns.shape[0]!, 1, columns.shape[1]!]), 0).astype(np.float32);
    allowed = np.greater(utility.ref, smallest).astype(np.float32).mul(open);
    const finite = np.maximum(utility, smallest).mul(allowed.ref);
    count = np.matmul(np.matmul(rows.ref, allowed.ref), columns.ref);
    // A bias may be of any size, and its square must be finite.
    unit = np.maximum(np.max(np.maximum(finite.ref, finite.ref.neg()), [1, 2], { keepdims: true }), tiny);
    values = finite.div(unit.ref);
  } else {
    count = np.sum(rows.ref, -1, { keepdims: true }).mul(np.sum(columns.ref, 1, { keepdims: true }));
  }
  // Divided before summing, so that the sums of squares stay finite.
  const shares = rows.div(np.maximum(count, 1));
  const mean = np.matmul(np.matmul(shares.ref, values.ref), columns.ref);
  const squares = np.square(values.sub(mean.ref));
  const counted = allowed === null ? squares : squares.mul(allowed);
  const deviation = np.sqrt(np.matmul(np.matmul(shares, counted), columns));
  const noise = np.maximum(mean.ref, mean.neg()).mul(relativeNoise);
  const wide = np.greater(deviation.ref, noise);
  return np.where(wide, unit === null ? deviation : deviation.mul(unit), 1);
}
