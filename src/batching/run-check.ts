import type { TensorData } from '../operators/signature.js';

/** Of each output; a device that computes nonsense does so over the whole of it. */
const samples = 2048;

/** Whether a sample of the outputs, evenly spread and the first element included, holds NaN. No program may give one, not even in empty slots. */
export function holdsNaN(outputs: readonly TensorData[]): boolean {
  for (const output of outputs) {
    if (!(output instanceof Float32Array)) continue;
    // Odd, so that the samples do not all fall on one column.
    const step = Math.floor(output.length / samples) | 1;
    for (let i = 0; i < output.length; i += step) if (Number.isNaN(output[i]!)) return true;
  }
  return false;
}
