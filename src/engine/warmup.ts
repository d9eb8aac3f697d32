/** The warm set: the programs that are loaded before the server says SERVING (and again after an engine restart). */
import type { Policy } from '../policies/policy.js';
import type { Bucket, ProgramSpec } from '../operators/signature.js';
import { hasTaskAxis } from '../operators/signature.js';
import type { Parameters, ProgramRequest } from './engine.js';

/** N = M of the warm buckets. */
export const warmSizes = [16, 32, 64, 128] as const;

export interface WarmPlanner {
  /** The programs of a request that names the policy and leaves everything else at its default. */
  readonly defaultSpecs: (policy: Policy) => readonly ProgramSpec[];
  /** The weights that a spec binds; empty where it binds none. */
  readonly parametersOf: (policy: Policy, spec: ProgramSpec) => Parameters;
  /** The largest batch of a bucket. */
  readonly largestBatch: (agents: number, tasks: number) => number;
}

/**
 * For each policy and default program the square buckets up to 128, at batch 1 and at the largest batch. The smallest
 * come last: until they are there, the larger ones serve in their place.
 */
export function warmRequests(policies: readonly Policy[], planner: WarmPlanner): ProgramRequest[] {
  const requests: ProgramRequest[] = [];
  for (const size of [...warmSizes].reverse()) {
    for (const policy of policies) {
      for (const spec of planner.defaultSpecs(policy)) {
        const tasks = hasTaskAxis(spec) ? size : 0;
        for (const batch of new Set([planner.largestBatch(size, tasks), 1])) {
          const bucket: Bucket = { batch, agents: size, tasks };
          requests.push({ spec, bucket, parameters: planner.parametersOf(policy, spec) });
        }
      }
    }
  }
  return requests;
}
