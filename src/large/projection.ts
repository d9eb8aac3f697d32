/** Adaptive projection of any number of agents, row by row in double precision. */
import type { Matrix } from '../problem.js';

/** Weights [d,k], bias [k], and what the request says. */
export interface ProjectionInputs {
  readonly weight: Matrix;
  readonly bias: Float32Array;
  readonly resourceMax: Float32Array;
  readonly budget: Float32Array | null;
}

const layerNormEpsilon = 1e-5;
const smallest = 1e-30;

/**
 * R = softmax((LayerNorm(S) W + b) / sqrt(d)) * r_max, inactive agents zero; where a column's sum exceeds its budget it is
 * scaled down to it, in a second pass. states [N,d], active [N] -> [N,k]. `look` is called now and then, and may throw.
 */
export function projectRows(
  states: Matrix,
  active: Uint8Array,
  { weight, bias, resourceMax, budget }: ProjectionInputs,
  look: () => void,
): Matrix {
  const { rows, columns: width, data } = states;
  const kinds = weight.columns;
  const resources = new Float32Array(rows * kinds);
  const logits = new Float64Array(kinds);
  const totals = new Float64Array(kinds);
  for (let i = 0; i < rows; i++) {
    if ((i & 1023) === 0) look();
    if (active[i] !== 1) continue;
    const from = i * width;
    let mean = 0;
    for (let c = 0; c < width; c++) mean += data[from + c]! - data[from]!;
    mean = data[from]! + mean / width;
    let variance = 0;
    for (let c = 0; c < width; c++) variance += (data[from + c]! - mean) ** 2;
    const unit = 1 / Math.sqrt(variance / width + layerNormEpsilon);
    logits.fill(0);
    for (let c = 0; c < width; c++) {
      const value = data[from + c]! - mean;
      for (let k = 0; k < kinds; k++) logits[k] = logits[k]! + value * weight.data[c * kinds + k]!;
    }
    let top = -Infinity;
    for (let k = 0; k < kinds; k++) {
      logits[k] = (logits[k]! * unit + bias[k]!) / Math.sqrt(width);
      top = Math.max(top, logits[k]!);
    }
    let sum = 0;
    for (let k = 0; k < kinds; k++) {
      logits[k] = Math.exp(logits[k]! - top);
      sum += logits[k]!;
    }
    for (let k = 0; k < kinds; k++) {
      const amount = (logits[k]! / sum) * resourceMax[k]!;
      totals[k] = totals[k]! + amount;
      resources[i * kinds + k] = amount;
    }
  }
  if (budget !== null) scaleDown(resources, kinds, totals, budget, look);
  return { rows, columns: kinds, data: resources };
}

function scaleDown(
  resources: Float32Array,
  kinds: number,
  totals: Float64Array,
  budget: Float32Array,
  look: () => void,
): void {
  const scale = totals.map((total, k) => Math.min(1, budget[k]! / Math.max(total, smallest)));
  if (scale.every((share) => share === 1)) return;
  look();
  for (let at = 0; at < resources.length; at++) resources[at] = resources[at]! * scale[at % kinds]!;
}
