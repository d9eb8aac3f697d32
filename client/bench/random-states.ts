/** Seeded random numbers for benchmark inputs: equal seeds give equal bytes on every machine. */

/** Uniform numbers in [0,1) from a 32-bit multiply-and-mix generator (splitmix style). */
export function uniformSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 4_294_967_296;
  };
}

/** `length` independent standard normal numbers (Box-Muller). */
export function normalArray(length: number, seed: number): Float32Array {
  const uniform = uniformSource(seed);
  const values = new Float32Array(length);
  for (let index = 0; index < length; index += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    values[index] = radius * Math.cos(angle);
    if (index + 1 < length) values[index + 1] = radius * Math.sin(angle);
  }
  return values;
}

/** `length` independent numbers uniform in [0,1). */
export function uniformArray(length: number, seed: number): Float32Array {
  const uniform = uniformSource(seed);
  return Float32Array.from({ length }, () => uniform());
}
