/** A program's StableHLO, written in the way that suits the platform that compiles it. */
import type { Program } from '../compiler/program.js';
import { lowerToStableHlo, type StableHloOptions } from '../compiler/stablehlo.js';
import { buildProgram } from '../operators/pipeline.js';
import type { Bucket, ProgramSpec } from '../operators/signature.js';

/** Counting takes N^2 comparisons: on a CPU medians among more agents than this are found digit by digit. */
const longestRanked = 128;

/** What is lowered for a platform, and how. */
export interface PlatformProgram {
  readonly program: Program;
  readonly options: StableHloOptions;
}

/**
 * `platform` as the client names itself: `cpu`, `cuda`, `tpu`.
 *
 * Consensus by itself on XLA's CPU plugin, ms of both cores (as chosen here / selected medians and sums from y):
 * [32,128,64] 2.2 / 10.0, [1,128,64] 0.17 / 0.34, [1,1024,64] 0.7 / 2.7. (For a v5e XLA expects counting to
 * take 222 us instead of 245 at b32 n128, but a problem cut over several chips then needs five times the memory.)
 */
export function platformProgram(spec: ProgramSpec, bucket: Bucket, platform: string): PlatformProgram {
  if (platform !== 'cpu') return { program: buildProgram(spec, bucket), options: {} };
  const { agents } = bucket;
  const median = agents <= longestRanked ? 'rank' : 'digits';
  return { program: buildProgram(spec, bucket, { median, layout: 'x' }), options: { forCpu: true } };
}

/** Whether the engine hands small tensors over in one array: over several devices each is cut up by itself. */
export function travelsBundled(partitions: number): boolean {
  return partitions === 1;
}

/** The program's text, for so many devices that run it together. Throws COMPILE_FAILED where a primitive has no rule. */
export function xlaProgramText(spec: ProgramSpec, bucket: Bucket, platform: string, partitions = 1): string {
  const { program, options } = platformProgram(spec, bucket, platform);
  return lowerToStableHlo(program, { ...options, partitions, bundled: travelsBundled(partitions) });
}
