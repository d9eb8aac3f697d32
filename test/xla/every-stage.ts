/** A small program that has every stage, and weights for it. */
import type { Bucket, ProgramSpec } from '../../src/operators/signature.js';
import { seededNormal } from '../seeded-normal.js';

export const everyStage: ProgramSpec = {
  parameters: 'weights',
  projection: { width: 8, kinds: 3 },
  utility: { source: 'bilinear', agentWidth: 8, taskWidth: 8 },
  utilityOut: true,
  soft: { form: 'log', iterations: 20, bias: false, slack: false, plan: true, topK: 5, potentials: true },
  consensus: { source: 'agents', width: 8, iterations: 10, start: 'MEDOID' },
};
export const everyStageBucket: Bucket = { batch: 2, agents: 32, tasks: 32 };
export const everyStageWeights = new Map([
  ['projection_weight', Float32Array.from({ length: 24 }, seededNormal(1))],
  ['projection_bias', Float32Array.from({ length: 3 }, seededNormal(2))],
  ['bilinear', Float32Array.from({ length: 64 }, seededNormal(3))],
] as const);
