/** The domain's answer as a CoordinateResponse message. */
import type { Answer, AssignmentAnswer, ConsensusAnswer, Problem } from '../problem.js';
import type { AssignmentResultMessage, ConsensusResultMessage, CoordinateResponseMessage, Sent } from './messages.js';
import { encodeTickState, type TickState } from '../warm-start.js';
import { convergedBelow } from '../warm-iterations.js';
import { sentTensor, numbersOf } from './tensor.js';

const noBytes: Uint8Array = new Uint8Array(0);

/**
 * Tensors keep the answer's memory, so the answer must not change until the message is serialised.
 * `idle_agent_ids` names active agents without a task: masked agents are as if absent, and rejected ones are listed in
 * `rejected_agents`. Where no plan was computed `sinkhorn_form` is empty and `converged` false; where nothing was made
 * hard `task_of_agent` and `solver` are empty.
 */
export function encodeAnswer(answer: Answer, problem: Problem): Sent<CoordinateResponseMessage> {
  const { resources, assignment, consensus, execution } = answer;
  const values = problem.outputValues;
  return {
    requestId: answer.requestId,
    resources: resources === null ? null : sentTensor(resources.data, [resources.rows, resources.columns], values),
    assignment: assignment === null ? null : encodeAssignment(assignment, answer.tick, problem),
    consensus: consensus === null ? null : encodeConsensus(consensus, values),
    rejectedAgents: answer.rejectedAgents,
    execution,
    error: null,
  };
}

function encodeAssignment(
  { hard, soft, churn, warmStartUsed }: AssignmentAnswer,
  tick: TickState | null,
  problem: Problem,
): Sent<AssignmentResultMessage> {
  const values = problem.outputValues;
  const plan = soft?.plan ?? null;
  const topK = soft?.topK ?? null;
  const topKShape = topK === null ? [] : [problem.agentCount, topK.count];
  return {
    taskOfAgent: hard === null ? [] : numbersOf(hard.taskOfAgent),
    unservedTasks: hard?.unservedTasks ?? [],
    idleAgentIds: hard === null ? [] : idleIds(hard.taskOfAgent, problem),
    unservedTaskIds: hard === null ? [] : idsOf(hard.unservedTasks, problem.taskIds),
    plan: plan === null ? null : sentTensor(plan.data, [plan.rows, plan.columns], values),
    topKTasks: topK === null ? null : sentTensor(topK.tasks, topKShape, values),
    topKMass: topK === null ? null : sentTensor(topK.mass, topKShape, values),
    idleMass: soft === null ? null : sentTensor(soft.idleMass, [soft.idleMass.length], values),
    objective: hard?.objective ?? 0,
    totalUtility: hard?.totalUtility ?? 0,
    upperBound: hard?.upperBound ?? 0,
    gap: hard?.gap ?? 0,
    solver: hard?.solver ?? '',
    sinkhornForm: soft?.form ?? '',
    rowError: soft?.rowError ?? 0,
    columnError: soft?.columnError ?? 0,
    converged: soft !== null && soft.rowError < convergedBelow && soft.columnError < convergedBelow,
    iterations: soft?.iterations ?? 0,
    churn,
    changeLimited: hard?.changeLimited ?? false,
    warmStart: tick === null ? noBytes : encodeTickState(tick),
    warmStartUsed,
  };
}

function encodeConsensus(consensus: ConsensusAnswer, values: boolean): Sent<ConsensusResultMessage> {
  const { centroid, groupCount, responseWidth, weights, kernel } = consensus;
  const shape = groupCount === null ? [responseWidth] : [groupCount, responseWidth];
  return {
    centroid: sentTensor(centroid, shape, values),
    weights: sentTensor(weights, [weights.length], values),
    kernel: sentTensor(kernel, [kernel.length], values),
    outliers: consensus.outliers,
    scale: numbersOf(consensus.scale),
    effectiveCount: numbersOf(consensus.effectiveCount),
    lastStep: consensus.lastStep,
  };
}

function idleIds(taskOfAgent: Int32Array, { agentIds, agentActive }: Problem): string[] {
  const idle: string[] = [];
  if (agentIds === null) return idle;
  for (let i = 0; i < taskOfAgent.length; i++) {
    if (taskOfAgent[i] === -1 && agentActive[i] === 1) idle.push(agentIds[i]!);
  }
  return idle;
}

function idsOf(indices: readonly number[], ids: readonly string[] | null): string[] {
  return ids === null ? [] : indices.map((index) => ids[index]!);
}
