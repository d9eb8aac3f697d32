/** The policies that are always there. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../package-root.js';
import type { Policy } from './policy.js';
import { makePolicy, readPolicyFile } from './policy-file.js';

export const defaultPolicyName = 'distance';

/** U_ij = -||a_i[0:e] - t_j||: no weights, any widths with e <= d. */
export const distancePolicy: Policy = makePolicy({
  name: defaultPolicyName,
  version: '1',
  defaults: { forms: ['HARD'], temperature: 0.1, iterations: 50, sigma: null, start: 'MEDOID' },
  projection: null,
  utility: { kind: 'distance' },
});

export const referenceWeightsPath: string = join(packageRoot, 'policies', 'reference.safetensors');

/** `distance` and `reference`. Reads the weights of `reference` from the package, and throws where they are missing. */
export function builtInPolicies(): Policy[] {
  const reference = readPolicyFile('reference', readFileSync(referenceWeightsPath), ['HARD', 'PLAN']);
  return [distancePolicy, reference];
}
