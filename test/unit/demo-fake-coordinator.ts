/** A stand-in for the service in tests of the demo: exact assignment by munkres, consensus by coordinate medians. */
import { munkres } from 'munkres';
import type { CoordinateAnswer, CoordinateRequest } from '../../client/request.js';

/** As a stream does: each request is answered with the last answer as its `previous`. Those of one run only. */
export function exactStream(): (request: CoordinateRequest) => Promise<CoordinateAnswer> {
  let previous: Int32Array | null = null;
  return (request) => {
    const answer = answerExactly(
      previous === null ? request : { ...request, assignment: { ...request.assignment, previous } },
    );
    previous = answer.assignment!.taskOfAgent;
    return Promise.resolve(answer);
  };
}

/** Answers the demo's kind of request (utility, capacities, idle utility, previous, locks, masks, responses). */
export function answerExactly(request: CoordinateRequest): CoordinateAnswer {
  const [n = 0, m = 0] = request.utility?.shape ?? [];
  const options = request.assignment ?? {};
  const slots: number[] = [];
  for (let j = 0; j < m; j += 1) {
    if (request.taskMask?.[j] === 0) continue;
    for (let copy = 0; copy < (options.capacities?.[j] ?? 1); copy += 1) slots.push(j);
  }
  const rows = Array.from({ length: n }, (_, i) => i).filter(
    (i) => request.agentMask?.[i] !== 0 && options.locks?.[i] !== -1,
  );
  const idle = options.idleUtility ?? 0;
  const worth = (i: number, j: number): number =>
    request.utility!.data[i * m + j]! + (options.previous?.[i] === j ? (options.keepBonus ?? 0) : 0);
  // One idle column per agent makes staying idle always possible.
  const costs = rows.map((i) => [
    ...slots.map((j) => (Number.isFinite(worth(i, j)) ? -worth(i, j) : 1e9)),
    ...rows.map(() => -idle),
  ]);
  const taskOfAgent = new Int32Array(n).fill(-1);
  let objective = 0;
  for (const [row, column] of rows.length === 0 ? [] : munkres(costs)) {
    objective -= costs[row]![column]!;
    if (column < slots.length) taskOfAgent[rows[row]!] = slots[column]!;
  }
  const changed = taskOfAgent.reduce((sum, task, i) => sum + (task === options.previous?.[i] ? 0 : 1), 0);
  return {
    requestId: request.requestId ?? '',
    resources: null,
    assignment: {
      taskOfAgent,
      unservedTasks: [],
      idleAgentIds: [],
      unservedTaskIds: [],
      plan: null,
      topKTasks: null,
      topKMass: null,
      idleMass: null,
      objective,
      totalUtility: objective,
      upperBound: objective,
      gap: 0,
      solver: 'exact',
      sinkhornForm: '',
      rowError: 0,
      columnError: 0,
      converged: true,
      iterations: 0,
      churn: changed / n,
      changeLimited: false,
      warmStart: new Uint8Array(0),
      warmStartUsed: false,
    },
    consensus: medianConsensus(request),
    rejectedAgents: [],
    execution: {
      engine: 'fake',
      device: 'none',
      bucket: 'b1',
      batchSize: 1,
      policyVersion: '1',
      executableFingerprint: '',
      stages: [],
    },
  };
}

function medianConsensus(request: CoordinateRequest): NonNullable<CoordinateAnswer['consensus']> {
  const [n = 0, r = 0] = request.responses!.shape;
  const active = Array.from({ length: n }, (_, i) => i).filter((i) => request.agentMask?.[i] !== 0);
  const at = (i: number, c: number): number => request.responses!.data[i * r + c]!;
  const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
  const centre = Array.from({ length: r }, (_, c) => median(active.map((i) => at(i, c))));
  const d2 = (i: number): number => centre.reduce((sum, value, c) => sum + (at(i, c) - value) ** 2, 0);
  // Median of chi-squared with two degrees of freedom is 1.386, its 99.9 % point 13.8.
  const scale2 = median(active.map(d2)) / 1.386;
  return {
    centroid: { data: Float32Array.from(centre), shape: [r] },
    weights: { data: new Float32Array(n), shape: [n] },
    kernel: { data: new Float32Array(n), shape: [n] },
    outliers: active.filter((i) => d2(i) > 13.8 * scale2),
    scale: [Math.sqrt(scale2)],
    effectiveCount: [active.length],
    lastStep: 0,
  };
}
