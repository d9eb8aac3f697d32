import type { Matrix } from '../src/problem.js';

/** Uniform numbers in (0, 1) from a 32-bit seed (mulberry32): equal seeds give equal sequences on every machine. */
export function seededUniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
}

/** Standard normal numbers (Box-Muller). */
export function seededNormal(seed: number): () => number {
  const uniform = seededUniform(seed);
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

export function normalMatrix(random: () => number, rows: number, columns: number, deviation = 1): Matrix {
  return { rows, columns, data: Float32Array.from({ length: rows * columns }, () => random() * deviation) };
}
