import { describe, expect, it } from 'vitest';
import { consensusOf } from '../../src/large/consensus.js';
import { projectRows } from '../../src/large/projection.js';
import { softTop } from '../../src/large/soft.js';
import type { SparseProblem } from '../../src/assignment/sparse-problem.js';
import type { Matrix } from '../../src/problem.js';
import { goldenCases } from '../golden/cases.js';
import { randomFrom } from './assignment-problems.js';
import { sinkhornOracle } from './sinkhorn-oracle.js';

const look = (): void => undefined;

const matrix = (rows: number[][]): Matrix => ({
  rows: rows.length,
  columns: rows[0]!.length,
  data: Float32Array.from(rows.flat()),
});

/** As the executable specification's tolerances say: relative to 1 or the value, whichever is greater. */
function expectNear(found: ArrayLike<number>, expected: readonly number[], tolerance: number): void {
  expect(found.length).toBe(expected.length);
  expected.forEach((value, at) => {
    expect(Math.abs(found[at]! - value)).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(value)));
  });
}

describe('projection in rows', () => {
  const cases = goldenCases().filter((one) => one.op === 'project');
  it.each(cases.map((one, index) => [`${index} ${one.note ?? ''}`, one] as const))('meets case %s', (_, one) => {
    const states = matrix(one.states);
    const found = projectRows(
      states,
      new Uint8Array(states.rows).fill(1),
      {
        weight: matrix(one.weight),
        bias: Float32Array.from(one.bias),
        resourceMax: Float32Array.from(one.r_max),
        budget: one.budget === undefined ? null : Float32Array.from(one.budget),
      },
      look,
    );
    expectNear(found.data, one.resources.flat(), 1e-5);
  });
});

describe('consensus in passes', () => {
  const cases = goldenCases().filter((one) => one.op === 'consensus');
  it.each(cases.map((one, index) => [`${index} ${one.note ?? ''}`, one] as const))('meets case %s', (_, one) => {
    const responses = matrix(one.responses);
    const rejected = one.responses.flatMap((row, i) => (row.every(Number.isFinite) ? [] : [i]));
    const active = Uint8Array.from(one.responses, (_row, i) => (rejected.includes(i) || one.mask?.[i] === 0 ? 0 : 1));
    const found = consensusOf(
      responses,
      active,
      {
        sigma: one.sigma ?? null,
        start: one.start === 'mean' ? 'MEAN' : 'MEDOID',
        iterations: one.iterations,
        groups: null,
      },
      rejected,
      look,
    );
    expectNear(found.centroid, one.centroid, 1e-3);
    expectNear(found.weights, one.weights, 1e-3);
    expectNear(found.kernel, one.kernel, 1e-3);
    expectNear(found.scale, [one.scale], 1e-3);
    expectNear(found.effectiveCount, [one.n_eff], 1e-3);
    expect(found.outliers).toEqual(one.flags.flatMap((flag, i) => (flag === 1 ? [i] : [])));
  });

  it('answers each group as if it were alone', () => {
    const random = randomFrom(5);
    const rows = Array.from({ length: 301 }, (_, i) => [random() + (i % 3), random()]);
    const inputs = { sigma: null, start: 'MEDOID' as const, iterations: 10 };
    const groups = Uint32Array.from(rows, (_, i) => i % 3);
    const all = new Uint8Array(rows.length).fill(1);
    const together = consensusOf(matrix(rows), all, { ...inputs, groups }, [], look);
    for (let group = 0; group < 3; group++) {
      const members = rows.filter((_, i) => i % 3 === group);
      const active = new Uint8Array(members.length).fill(1);
      const alone = consensusOf(matrix(members), active, { ...inputs, groups: null }, [], look);
      expect([...together.centroid.subarray(2 * group, 2 * group + 2)]).toEqual([...alone.centroid]);
      expect(together.scale[group]).toBe(alone.scale[0]);
    }
    expect(together.groupCount).toBe(3);
  });
});

describe('the soft plan over candidates', () => {
  it.each([
    ['balanced', {}],
    ['with capacities and room', { capacities: 2 }],
    ['with idle agents', { idle: -0.2 }],
  ])(
    'is the dense plan where all pairs are candidates: %s',
    (_, { capacities, idle }: { capacities?: number; idle?: number }) => {
      const random = randomFrom(11);
      const [n, m] = [20, 16];
      const utility = Array.from({ length: n }, () => Array.from({ length: m }, () => random()));
      const problem: SparseProblem = {
        agentCount: n,
        taskCount: m,
        values: { kind: 'given', utility: Float32Array.from(utility.flat()) },
        bias: null,
        agentActive: new Uint8Array(n).fill(1),
        taskActive: new Uint8Array(m).fill(1),
        capacities: capacities === undefined ? null : new Uint32Array(m).fill(capacities),
        idleUtility: idle ?? null,
        previous: null,
        keepBonus: 0,
        locks: null,
        solver: 'AUTO',
        budgetMs: null,
        maxChange: null,
        taskPrices: null,
      };
      const exists = capacities !== undefined || idle !== undefined;
      const columnMass = new Float32Array(m).fill(capacities ?? (idle === undefined ? n / m : 1));
      const slack = { exists, idle: idle ?? -3.4028234663852886e38, unserved: 0 };
      const { answer } = softTop(
        problem,
        { temperature: 0.3, iterations: 60, topK: 4, columnMass, slack, isScaled: false },
        look,
      );
      const oracle = sinkhornOracle({
        utility,
        temperature: 0.3,
        iterations: 60,
        agentMask: new Array<number>(n).fill(1),
        taskMask: new Array<number>(m).fill(1),
        rowMass: new Array<number>(n).fill(1),
        columnMass: [...columnMass],
        slack: exists ? { idle: idle ?? -Infinity, unserved: 0 } : null,
      });
      oracle.plan.forEach((row, i) => {
        const order = row.map((mass, j) => [mass, j] as const).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
        expect([...answer.topK!.tasks.subarray(4 * i, 4 * i + 4)]).toEqual(order.slice(0, 4).map(([, j]) => j));
        expectNear(
          answer.topK!.mass.subarray(4 * i, 4 * i + 4),
          order.slice(0, 4).map(([mass]) => mass),
          1e-5,
        );
      });
      expectNear(answer.idleMass, oracle.idleMass, 1e-5);
      expect(answer.rowError).toBeCloseTo(oracle.rowError, 5);
      expect(answer.columnError).toBeCloseTo(oracle.columnError, 5);
    },
  );
});
