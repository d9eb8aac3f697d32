import type { TensorData } from '../operators/signature.js';

/** Outputs up to this length are looked at whole: 20 us. Of longer ones a sample; a device that computes nonsense does so over the whole of them. */
const wholeLength = 2 ** 15;
const samples = 2048;

/**
 * Whether the outputs, or an evenly spread sample of the large ones, hold NaN. No program may give one, not even in empty slots. What
 * the sample of a plan or a utility could miss shows in the errors, weights and counts beside it, which are looked at whole.
 */
export function holdsNaN(outputs: readonly TensorData[]): boolean {
  for (const output of outputs) {
    if (!(output instanceof Float32Array)) continue;
    // Odd, so that the samples do not all fall on one column.
    const step = output.length <= wholeLength ? 1 : Math.floor(output.length / samples) | 1;
    for (let i = 0; i < output.length; i += step) if (Number.isNaN(output[i]!)) return true;
  }
  return false;
}
