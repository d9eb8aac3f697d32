/**
 * Consensus in groups: each group is a consensus problem of its own over its members alone, so a group's answer is
 * the answer that its members would get by themselves, and groups of all sizes share batches.
 */
import { paddedWidth } from '../batching/buckets.js';
import type { Job, JobResult, JobTensor } from '../batching/job.js';
import { specKey, type ProgramSpec } from '../operators/signature.js';
import type { ConsensusAnswer, ConsensusProblem, Matrix } from '../problem.js';
import { addConsensusInputs } from './consensus-inputs.js';
import { consensusFrom } from './consensus-answer.js';

export interface GroupPlan {
  /** One job per group with at least one active member. */
  readonly jobs: readonly Job[];
  /** Group number and member indices (active agents, ascending) of each job. */
  readonly members: readonly { readonly group: number; readonly agents: Uint32Array }[];
  /** Largest group number used, plus one. */
  readonly groupCount: number;
}

/** responses [N,r], active [N], groups [N] -> one consensus job per group. */
export function planGroups(
  responses: Matrix,
  active: Uint8Array,
  consensus: ConsensusProblem,
  groups: Uint32Array,
): GroupPlan {
  const width = paddedWidth(responses.columns);
  const { iterations, start } = consensus;
  const spec: ProgramSpec = {
    parameters: '',
    projection: null,
    utility: null,
    utilityOut: false,
    soft: null,
    consensus: { source: 'responses', width, iterations, start },
  };
  const key = specKey(spec);
  let groupCount = 0;
  const byGroup = new Map<number, number[]>();
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i]!;
    groupCount = Math.max(groupCount, group + 1);
    if (active[i] !== 1) continue;
    const members = byGroup.get(group);
    if (members === undefined) byGroup.set(group, [i]);
    else members.push(i);
  }
  const members = [...byGroup].map(([group, agents]) => ({ group, agents: Uint32Array.from(agents) }));
  const jobs = members.map(({ agents }): Job => {
    const rows = gatherRows(responses, agents);
    const all = new Uint8Array(agents.length).fill(1);
    const inputs = new Map<string, JobTensor>([
      ['agent_mask', { rows: 1, columns: agents.length, data: new Float32Array(agents.length).fill(1) }],
    ]);
    addConsensusInputs(inputs, rows, all, consensus, false, null);
    return { spec, key, parameters: new Map(), agentCount: agents.length, taskCount: 0, inputs };
  });
  return { jobs, members, groupCount };
}

/** The groups' results put back at their agents' places. Groups without active members: centroid, scale and count 0. */
export function groupedConsensus(
  plan: GroupPlan,
  results: readonly JobResult[],
  responses: Matrix,
  rejectedAgents: readonly number[],
): ConsensusAnswer {
  const { groupCount, members } = plan;
  const width = responses.columns;
  const answer = {
    centroid: new Float32Array(groupCount * width),
    weights: new Float32Array(responses.rows),
    kernel: new Float32Array(responses.rows),
    scale: new Float32Array(groupCount),
    effectiveCount: new Float32Array(groupCount),
  };
  const outliers = [...rejectedAgents];
  let lastStep = 0;
  for (const [index, { group, agents }] of members.entries()) {
    const one = consensusFrom(results[index]!, width, []);
    answer.centroid.set(one.centroid, group * width);
    answer.scale[group] = one.scale[0]!;
    answer.effectiveCount[group] = one.effectiveCount[0]!;
    for (let i = 0; i < agents.length; i++) {
      answer.weights[agents[i]!] = one.weights[i]!;
      answer.kernel[agents[i]!] = one.kernel[i]!;
    }
    for (const i of one.outliers) outliers.push(agents[i]!);
    lastStep = Math.max(lastStep, one.lastStep);
  }
  outliers.sort((a, b) => a - b);
  return { ...answer, responseWidth: width, groupCount, outliers, lastStep };
}

function gatherRows(matrix: Matrix, indices: Uint32Array): Matrix {
  const { columns } = matrix;
  const data = new Float32Array(indices.length * columns);
  for (let i = 0; i < indices.length; i++) {
    const from = indices[i]! * columns;
    data.set(matrix.data.subarray(from, from + columns), i * columns);
  }
  return { rows: indices.length, columns, data };
}
