/**
 * Random numbers addressed by name instead of drawn from a stream: the same (seed, a, b, c) is always the same number.
 * Two simulations of one seed therefore meet the same sensor noise and the same events, whatever their robots decide
 * and in whatever order they ask.
 */

/** Avalanche of 32 bits (odd multipliers and shifts; every input bit reaches every output bit). */
function mix(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x45d9f3b5);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return h ^ (h >>> 16);
}

/** Uniform in [0, 1). */
export function uniform(seed: number, a: number, b = 0, c = 0): number {
  let h = mix(seed + 0x51ed270b);
  h = mix(h + Math.imul(a + 1, 0x2545f491));
  h = mix(h ^ Math.imul(b + 1, 0x68bc21eb));
  h = mix(h + Math.imul(c + 1, 0x02e5be93));
  return (h >>> 0) / 4_294_967_296;
}

/** Uniform in [low, high). */
export function between(low: number, high: number, seed: number, a: number, b = 0, c = 0): number {
  return low + (high - low) * uniform(seed, a, b, c);
}

/** Standard normal (Box and Muller's transform of two of the uniforms above). */
export function normal(seed: number, a: number, b = 0, c = 0): number {
  const radius = Math.sqrt(-2 * Math.log(1 - uniform(seed, a, b, 2 * c)));
  return radius * Math.cos(2 * Math.PI * uniform(seed, a, b, 2 * c + 1));
}
