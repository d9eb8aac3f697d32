/** Seeded random states: equal seeds give equal bytes on every machine. */
import { normal, uniform } from '../demo/random.js';

/** `length` independent standard normal numbers. */
export function normalArray(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, index) => normal(seed, index));
}

/** `length` independent numbers uniform in [0,1). */
export function uniformArray(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, index) => uniform(seed, index));
}

/** Uniform numbers in [0,1), one after another. */
export function uniformSource(seed: number): () => number {
  let drawn = 0;
  return () => uniform(seed, drawn++);
}
