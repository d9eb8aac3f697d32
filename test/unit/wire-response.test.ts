import { describe, expect, it } from 'vitest';
import type { Answer, Problem } from '../../src/problem.js';
import { answerBytes } from '../../src/wire/answer-size.js';
import { encodeAnswer } from '../../src/wire/response.js';
import { decodeTensor } from '../../src/wire/tensor.js';
import { decode, floats } from '../request-fixtures.js';
import { responseBytes, responseFromBytes } from '../wire-codec.js';

const execution: Answer['execution'] = {
  engine: 'onnx',
  device: 'cpu',
  bucket: 'b1 n16 m16',
  batchSize: 1,
  policyVersion: '1',
  executableFingerprint: 'ab12',
  stages: [
    { stage: 'decode', microseconds: 12.5 },
    { stage: 'queue', microseconds: 3 },
  ],
};

const hard = {
  taskOfAgent: Int32Array.of(1, -1, -1, -1),
  unservedTasks: [0],
  objective: 2,
  totalUtility: 1.5,
  upperBound: 2.5,
  gap: 0.25,
  solver: 'greedy',
  changeLimited: false,
  taskPrices: null,
};

const soft = {
  form: 'log' as const,
  iterations: 50,
  rowError: 0.00025,
  columnError: 0.0005,
  plan: { rows: 4, columns: 2, data: Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7) },
  topK: { count: 1, tasks: Int32Array.of(1, 0, 0, 1), mass: Float32Array.of(0.5, 1, 0, 0.25) },
  idleMass: Float32Array.of(0, 0, 0, 0.5),
};

const full: Answer = {
  requestId: 'tick 7',
  resources: { rows: 4, columns: 1, data: Float32Array.of(1, 2, 0, 4) },
  assignment: { hard, soft, churn: 0.5, warmStartUsed: false },
  consensus: {
    centroid: Float32Array.of(1, 2, 3, 4),
    responseWidth: 2,
    groupCount: 2,
    weights: Float32Array.of(1, 0, 0, 0),
    kernel: Float32Array.of(1, 0.5, 0, 0),
    outliers: [2],
    scale: Float32Array.of(0.5, 2),
    effectiveCount: Float32Array.of(1, 4),
    lastStep: 0.125,
  },
  rejectedAgents: [2],
  tick: null,
  execution,
};

/** Agent 2 is rejected, agent 3 masked. */
function problemOf(outputValues: boolean, ids = true): Problem {
  return decode({
    agents: floats([4, 2], [0, 0, 0, 0, NaN, 0, 0, 0]),
    tasks: floats([2, 2]),
    agentMask: { dtype: 'UINT8', shape: [4], values: [1, 1, 1, 0] },
    agentIds: ids ? ['a', 'b', 'c', 'd'] : [],
    taskIds: ids ? ['x', 'y'] : [],
    outputValues,
  });
}

function sent(answer: Answer, problem: Problem) {
  return responseFromBytes(responseBytes(encodeAnswer(answer, problem)));
}

describe('encodeAnswer', () => {
  it('carries every field of the answer over the wire', () => {
    const message = sent(full, problemOf(false));
    const { plan, topKTasks, topKMass, idleMass, ...assignment } = message.assignment!;
    expect(assignment).toEqual({
      taskOfAgent: [1, -1, -1, -1],
      unservedTasks: [0],
      idleAgentIds: ['b'],
      unservedTaskIds: ['x'],
      objective: 2,
      totalUtility: 1.5,
      upperBound: 2.5,
      gap: 0.25,
      solver: 'greedy',
      changeLimited: false,
      sinkhornForm: 'log',
      rowError: Math.fround(0.00025),
      columnError: Math.fround(0.0005),
      converged: true,
      iterations: 50,
      churn: 0.5,
      warmStartUsed: false,
      warmStart: Buffer.alloc(0),
    });
    const tensors = [message.resources, plan, topKTasks, topKMass, idleMass].map((tensor) =>
      decodeTensor('t', tensor!),
    );
    expect(tensors).toEqual([
      { shape: [4, 1], data: full.resources!.data },
      { shape: [4, 2], data: soft.plan.data },
      { shape: [4, 1], data: soft.topK.tasks },
      { shape: [4, 1], data: soft.topK.mass },
      { shape: [4], data: soft.idleMass },
    ]);
    const { centroid, weights, kernel, ...consensus } = message.consensus!;
    expect([centroid, weights, kernel].map((tensor) => decodeTensor('t', tensor!))).toEqual([
      { shape: [2, 2], data: full.consensus!.centroid },
      { shape: [4], data: full.consensus!.weights },
      { shape: [4], data: full.consensus!.kernel },
    ]);
    expect(consensus).toEqual({ outliers: [2], scale: [0.5, 2], effectiveCount: [1, 4], lastStep: 0.125 });
    expect(message).toMatchObject({ requestId: 'tick 7', rejectedAgents: [2], execution, error: null });
  });

  it('sends every tensor as values where asked', () => {
    const message = sent(full, problemOf(true));
    const { plan, topKTasks, topKMass, idleMass } = message.assignment!;
    const { centroid, weights, kernel } = message.consensus!;
    for (const tensor of [message.resources, plan, topKTasks, topKMass, idleMass, centroid, weights, kernel]) {
      expect(tensor!.data.length).toBe(0);
      expect(tensor!.values.length).toBeGreaterThan(0);
    }
    expect(topKTasks).toMatchObject({ dtype: 'INT32', shape: ['4', '1'], values: [1, 0, 0, 1] });
  });

  it('names no ids where the request gave none', () => {
    const { assignment } = sent(full, problemOf(false, false));
    expect(assignment).toMatchObject({ idleAgentIds: [], unservedTaskIds: [], unservedTasks: [0] });
  });

  it('leaves out what did not run', () => {
    const message = sent(
      { ...full, resources: null, assignment: { hard, soft: null, churn: 0, warmStartUsed: false }, consensus: null },
      problemOf(false),
    );
    expect(message).toMatchObject({ resources: null, consensus: null });
    expect(message.assignment).toMatchObject({
      plan: null,
      topKTasks: null,
      topKMass: null,
      idleMass: null,
      sinkhornForm: '',
      converged: false,
      solver: 'greedy',
      changeLimited: false,
    });
    const plan = sent(
      { ...full, assignment: { hard: null, soft, churn: 0, warmStartUsed: false } },
      problemOf(false),
    ).assignment;
    expect(plan).toMatchObject({ taskOfAgent: [], idleAgentIds: [], solver: '', sinkhornForm: 'log' });
  });

  it('calls a plan converged only where both errors are below 0.001', () => {
    const convergedWith = (rowError: number, columnError: number) =>
      encodeAnswer(
        { ...full, assignment: { hard, soft: { ...soft, rowError, columnError }, churn: 0, warmStartUsed: false } },
        problemOf(false),
      ).assignment!.converged;
    expect(convergedWith(0.0009, 0.0009)).toBe(true);
    expect(convergedWith(0.001, 0)).toBe(false);
    expect(convergedWith(0, 0.001)).toBe(false);
  });

  it('gives the centroid of a lone group without an axis for groups', () => {
    const consensus = { ...full.consensus!, groupCount: null, centroid: Float32Array.of(1, 2) };
    expect(sent({ ...full, consensus }, problemOf(false)).consensus!.centroid!.shape).toEqual(['2']);
  });
});

describe('answerBytes', () => {
  it.each([false, true])('bounds the serialised answer and is near it (output_values %s)', (outputValues) => {
    const agents = 300;
    const tasks = 200;
    const ids = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}-é-${i}`);
    const problem = decode({
      policy: 'bilinear',
      agents: floats([agents, 3]),
      tasks: floats([tasks, 2]),
      agentIds: ids('agent', agents),
      taskIds: ids('task', tasks),
      assignment: { forms: ['HARD', 'TOP_K', 'PLAN'], topK: 5 },
      consensus: { groups: Array.from({ length: agents }, (_, i) => i % 40) },
      outputValues,
    });
    const all = (count: number) => Array.from({ length: count }, (_, i) => i);
    const answer: Answer = {
      requestId: '',
      resources: { rows: agents, columns: 2, data: new Float32Array(agents * 2) },
      assignment: {
        hard: { ...hard, taskOfAgent: new Int32Array(agents).fill(-1), unservedTasks: all(tasks) },
        soft: {
          ...soft,
          plan: { rows: agents, columns: tasks, data: new Float32Array(agents * tasks) },
          topK: { count: 5, tasks: new Int32Array(agents * 5), mass: new Float32Array(agents * 5) },
          idleMass: new Float32Array(agents),
        },
        churn: 0,
        warmStartUsed: false,
      },
      consensus: {
        ...full.consensus!,
        centroid: new Float32Array(40 * 3),
        responseWidth: 3,
        groupCount: 40,
        weights: new Float32Array(agents),
        kernel: new Float32Array(agents),
        outliers: all(agents),
        scale: new Float32Array(40),
        effectiveCount: new Float32Array(40),
      },
      rejectedAgents: [],
      tick: null,
      execution,
    };
    const actual = responseBytes(encodeAnswer(answer, problem)).length;
    expect(answerBytes(problem)).toBeGreaterThanOrEqual(actual);
    expect(answerBytes(problem)).toBeLessThan(1.1 * actual);
  });
});
