/**
 * An upper bound of max_i |a_i W| that costs a fraction of the product. With W W' = Q diag(lambda) Q' (lambda
 * descending), |a W|^2 = sum_k lambda_k (a.q_k)^2, so after the first q directions
 * |a W|^2 <= sum_{k<q} lambda_k (a.q_k)^2 + lambda_q (|a|^2 - sum_{k<q} (a.q_k)^2): most rows are proven small by
 * their norm or a few directions, and only the others are looked at further.
 */
import type { Matrix } from '../problem.js';
import { rowSquares } from '../row-squares.js';

export interface BilinearBound {
  /**
   * [N,d] -> an upper bound of the largest |a_i W| over active rows. Stops refining a row once it is proven to be at
   * most `enough`; the result is at most `enough` iff every row was proven.
   */
  largestImageNorm(states: Matrix, active: Uint8Array, enough: number): number;
}

/** Covers rounding in the decomposition and in the float32 products. */
const margin = 1.001;
/**
 * The Jacobi sweeps cost d^3 on the event loop: 14 ms at 64, 60 at 128, 630 at 256. Wider weights use the trace as their only
 * eigenvalue bound, so their plans mostly run in the log domain.
 */
const widestDecomposed = 64;

const bounds = new WeakMap<Matrix, BilinearBound>();

/** The bound for a policy's weight [d,e]; decomposed at the first call, which warming up makes, and kept with the weight. */
export function bilinearBound(weight: Matrix): BilinearBound {
  let bound = bounds.get(weight);
  if (bound === undefined) {
    bound = createBound(weight);
    bounds.set(weight, bound);
  }
  return bound;
}

function createBound(weight: Matrix): BilinearBound {
  const d = weight.rows;
  const { values, vectors } = d <= widestDecomposed ? eigenDescending(gram(weight), d) : traceOnly(weight);
  const directions = Float32Array.from(vectors);
  return {
    largestImageNorm(states, active, enough) {
      const { rows, columns, data } = states;
      const squares = states.rowSquares ?? rowSquares(states);
      const enoughSquared = (enough / margin) ** 2;
      let largest = 0;
      for (let i = 0; i < rows; i++) {
        if (active[i] !== 1) continue;
        const start = i * columns;
        let rest = squares[i]!;
        let known = 0;
        let square = rest * values[0]!;
        for (let k = 0; k * columns < directions.length && square > enoughSquared; k++) {
          let along = 0;
          for (let c = 0, q = k * columns; c < columns; c++, q++) along += data[start + c]! * directions[q]!;
          const energy = along * along;
          known += energy * values[k]!;
          rest = Math.max(rest - energy, 0);
          square = known + rest * (values[k + 1] ?? 0);
        }
        if (square > largest) largest = square;
      }
      return Math.sqrt(largest) * margin;
    },
  };
}

/** [d,e] -> W W', [d,d]. */
function gram(weight: Matrix): Float64Array {
  const { rows: d, columns: e, data } = weight;
  const result = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = i; j < d; j++) {
      let sum = 0;
      for (let c = 0; c < e; c++) sum += data[i * e + c]! * data[j * e + c]!;
      result[i * d + j] = sum;
      result[j * d + i] = sum;
    }
  }
  return result;
}

function traceOnly(weight: Matrix): { values: number[]; vectors: number[] } {
  let trace = 0;
  for (const value of weight.data) trace += value * value;
  return { values: [trace], vectors: [] };
}

/** Cyclic Jacobi: symmetric [d,d] -> eigenvalues descending and their vectors as rows. Overwrites `a`. */
function eigenDescending(a: Float64Array, d: number): { values: number[]; vectors: number[] } {
  const v = new Float64Array(d * d);
  for (let i = 0; i < d; i++) v[i * d + i] = 1;
  for (let sweep = 0; sweep < 30; sweep++) {
    let off = 0;
    let total = 0;
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        const square = a[i * d + j]! ** 2;
        total += square;
        if (i !== j) off += square;
      }
    }
    if (off <= 1e-20 * total) break;
    for (let p = 0; p < d; p++) {
      for (let q = p + 1; q < d; q++) rotate(a, v, d, p, q);
    }
  }
  const order = Array.from({ length: d }, (_, i) => i).sort((i, j) => a[j * d + j]! - a[i * d + i]!);
  return {
    values: order.map((i) => Math.max(a[i * d + i]!, 0)),
    vectors: order.flatMap((i) => Array.from({ length: d }, (_, r) => v[r * d + i]!)),
  };
}

/** One Jacobi rotation that zeroes a[p,q]; `v` collects the product of rotations. */
function rotate(a: Float64Array, v: Float64Array, d: number, p: number, q: number): void {
  const apq = a[p * d + q]!;
  if (apq === 0) return;
  const theta = (a[q * d + q]! - a[p * d + p]!) / (2 * apq);
  const t = Math.sign(theta || 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let k = 0; k < d; k++) {
    const kp = a[k * d + p]!;
    const kq = a[k * d + q]!;
    a[k * d + p] = c * kp - s * kq;
    a[k * d + q] = s * kp + c * kq;
  }
  for (let k = 0; k < d; k++) {
    const pk = a[p * d + k]!;
    const qk = a[q * d + k]!;
    a[p * d + k] = c * pk - s * qk;
    a[q * d + k] = s * pk + c * qk;
    const vp = v[k * d + p]!;
    const vq = v[k * d + q]!;
    v[k * d + p] = c * vp - s * vq;
    v[k * d + q] = s * vp + c * vq;
  }
}
