/** A program's StableHLO, written in the way that suits the platform that compiles it. */
import type { Program } from '../compiler/program.js';
import { lowerToStableHlo, type StableHloOptions } from '../compiler/stablehlo.js';
import { buildProgram } from '../operators/pipeline.js';
import type { Bucket, ProgramSpec } from '../operators/signature.js';

/** Counting takes N^2 comparisons: more agents than this are selected. */
const longestRanked = 256;

/** What is lowered for a platform, and how. */
export interface PlatformProgram {
  readonly program: Program;
  readonly options: StableHloOptions;
}

/**
 * `platform` as the client names itself: `cpu`, `cuda`, `tpu`.
 *
 * Consensus by itself on XLA's CPU plugin, ms of both cores (ranked medians from x in fused sums / selected medians from y):
 * [32,128,64] 2.6 / 10.0, [1,128,64] 0.17 / 0.34.
 */
export function platformProgram(spec: ProgramSpec, bucket: Bucket, platform: string): PlatformProgram {
  if (platform !== 'cpu') return { program: buildProgram(spec, bucket), options: {} };
  const median = bucket.agents <= longestRanked ? 'rank' : 'sort';
  return { program: buildProgram(spec, bucket, { median, layout: 'x' }), options: { forCpu: true } };
}

/** The program's text. Throws COMPILE_FAILED where a primitive has no rule. */
export function xlaProgramText(spec: ProgramSpec, bucket: Bucket, platform: string): string {
  const { program, options } = platformProgram(spec, bucket, platform);
  return lowerToStableHlo(program, options);
}
