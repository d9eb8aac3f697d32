/** Inputs for a program of the XLA tests. */
import type { LoadedProgram } from '../../src/engine/engine.js';
import { shapeIn, type TensorData } from '../../src/operators/signature.js';
import { seededNormal } from '../seeded-normal.js';

/** What the signature's comments ask of a consensus: how many agents take part (or one more), and its constants. */
export interface ConsensusInputs {
  readonly count: number;
  readonly constants: readonly [number, number, number, number];
}

/** Of width 8 or so. */
const usual: ConsensusInputs = { count: 15, constants: [6.7, 7.3, 26.1, 0] };

/** Random numbers where any will do, and what the signature's comments ask for elsewhere. */
export function randomInputs(
  { signature, bucket }: LoadedProgram,
  seed: number,
  { count, constants }: ConsensusInputs = usual,
): TensorData[] {
  const random = seededNormal(seed);
  return signature.inputs.map((input) => {
    const length = shapeIn(input, bucket).reduce((product, axis) => product * axis, 1);
    if (input.dtype === 'int32') return Int32Array.from({ length }, (_, i) => count + (i % 2));
    if (/mask|mass/.test(input.name)) return new Float32Array(length).fill(1);
    if (input.name === 'temperature') return new Float32Array(length).fill(0.5);
    if (input.name === 'consensus_constants') return Float32Array.from({ length }, (_, i) => constants[i % 4]!);
    return Float32Array.from({ length }, random);
  });
}
