/**
 * Where policies/reference.safetensors comes from: the weights of the built-in `reference` policy, seeded, so that
 * anyone can make the file again. d = e = 64, k = 8; W_a [64,64] and W_c [64,8] standard normal / sqrt(64), b_c 0,
 * R_max 1: for unit-normal states the utilities are then about unit normal. To write the file after a build:
 * `node -e "import('./dist/src/policies/reference-weights.js').then((m) => fs.writeFileSync('policies/reference.safetensors', m.referenceWeightsFile()))"`
 */
import { policyTensors } from './policy-file.js';
import { writeSafetensors } from './safetensors.js';

const width = 64;
const kinds = 8;
const seed = 20261121;

/** The bytes of policies/reference.safetensors. */
export function referenceWeightsFile(): Uint8Array {
  const normal = normals(seed);
  const scaled = (count: number) => Float32Array.from({ length: count }, () => normal() / Math.sqrt(width));
  return writeSafetensors(
    new Map([
      [policyTensors.bilinear, { shape: [width, width], data: scaled(width * width) }],
      [policyTensors.projectionWeight, { shape: [width, kinds], data: scaled(width * kinds) }],
      [policyTensors.projectionBias, { shape: [kinds], data: new Float32Array(kinds) }],
      [policyTensors.projectionResourceMax, { shape: [kinds], data: new Float32Array(kinds).fill(1) }],
    ]),
    new Map([
      ['version', '1'],
      ['temperature', '1'],
      ['iterations', '10'],
      ['start', 'MEDOID'],
    ]),
  );
}

/** Standard normal numbers by Box and Muller's transform of a 32-bit mixing generator (Weyl sequence, murmur finaliser). */
function normals(start: number): () => number {
  let state = start;
  const uniform = () => {
    state = (state + 0x9e3779b9) | 0;
    let bits = state;
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    bits ^= bits >>> 16;
    // In (0, 1), so that its logarithm is finite.
    return ((bits >>> 0) + 0.5) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}
