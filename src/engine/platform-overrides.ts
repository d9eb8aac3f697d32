import type { OptionOverrides } from '../pjrt/compile-options.js';

/**
 * What programs are compiled with on a platform, beside what the program itself asks for.
 *
 * XLA's CPU compiler uses vectors of 256 bits unless told otherwise, also where the host has 512; there programs for N = M = 100
 * take 0.83 to 0.99 of the CPU time so. A host without them gets the same code as before, in two halves.
 */
export function platformOverrides(platformName: string): OptionOverrides {
  return platformName === 'cpu' ? { xla_cpu_prefer_vector_width: 512 } : {};
}
