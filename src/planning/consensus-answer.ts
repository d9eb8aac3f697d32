/** A job's consensus outputs as the domain's answer. */
import type { JobResult } from '../batching/job.js';
import type { ConsensusAnswer } from '../problem.js';
import { outputOf } from './outputs.js';

/** Ungrouped consensus of width r; `rejectedAgents` are flagged beside the program's own flags. */
export function consensusFrom(result: JobResult, width: number, rejectedAgents: readonly number[]): ConsensusAnswer {
  const flags = outputOf(result, 'flags');
  const outliers = [...rejectedAgents];
  for (let i = 0; i < flags.length; i++) if (flags[i]! > 0) outliers.push(i);
  if (rejectedAgents.length > 0) outliers.sort((a, b) => a - b);
  return {
    centroid: outputOf(result, 'centroid').subarray(0, width),
    responseWidth: width,
    groupCount: null,
    weights: outputOf(result, 'weights'),
    kernel: outputOf(result, 'kernel'),
    outliers,
    scale: outputOf(result, 'scale'),
    effectiveCount: outputOf(result, 'effective_count'),
    lastStep: outputOf(result, 'last_step')[0]!,
  };
}
