/** A program's StableHLO, written in the way that suits the platform that compiles it. */
import { lowerToStableHlo } from '../compiler/stablehlo.js';
import { buildProgram } from '../operators/pipeline.js';
import type { Bucket, ProgramSpec } from '../operators/signature.js';

/** Counting takes N^2 comparisons: more agents than this are selected. */
const longestRanked = 256;

/**
 * `platform` as the client names itself: `cpu`, `cuda`, `tpu`. Throws COMPILE_FAILED where a primitive has no rule.
 *
 * Consensus by itself on XLA's CPU plugin, ms of both cores (ranked medians from x in fused sums / selected medians from y):
 * [32,128,64] 2.6 / 10.0, [1,128,64] 0.17 / 0.34.
 */
export function xlaProgramText(spec: ProgramSpec, bucket: Bucket, platform: string): string {
  if (platform !== 'cpu') return lowerToStableHlo(buildProgram(spec, bucket));
  const median = bucket.agents <= longestRanked ? 'rank' : 'sort';
  return lowerToStableHlo(buildProgram(spec, bucket, { median, layout: 'x' }), { forCpu: true });
}
