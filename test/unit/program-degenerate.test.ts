import { describe, expect, it } from 'vitest';
import type { Bucket, ProgramSpec, SoftSpec } from '../../src/operators/signature.js';
import { programSignature } from '../../src/operators/signature.js';
import {
  compile,
  consensusInputs,
  emptySpec,
  type Outputs,
  projectionInputs,
  type SlotInputs,
  softInputs,
} from './program-harness.js';

const bucket: Bucket = { batch: 2, agents: 16, tasks: 16 };

const soft: SoftSpec = {
  form: 'log',
  iterations: 30,
  bias: false,
  slack: false,
  plan: true,
  topK: 4,
  potentials: true,
};

const given = (more: Partial<SoftSpec>): ProgramSpec => ({
  ...emptySpec,
  utility: { source: 'given' },
  soft: { ...soft, ...more },
});

const everything = (form: 'log' | 'scaling'): ProgramSpec => ({
  parameters: 'p',
  projection: { width: 4, kinds: 3 },
  utility: { source: 'distance', width: 4 },
  utilityOut: true,
  soft: { ...soft, form },
  consensus: { source: 'agents', width: 4, iterations: 10, start: 'MEDOID' },
});

const weights = new Map([
  ['projection_weight', Float32Array.from({ length: 12 }, (_, i) => Math.sin(i))],
  ['projection_bias', new Float32Array(3)],
] as const);

function everyInput(agents: number[][], tasks: number[][], agentMask: number[], taskMask: number[]): SlotInputs {
  const utility = agents.map(() => tasks.map(() => 0));
  return {
    ...softInputs({ utility, temperature: 0.1, agentMask, taskMask }),
    ...projectionInputs(agents, [1, 2, 3], undefined),
    ...consensusInputs(agents, { mask: agentMask }),
    tasks,
    spread_rows: [agentMask.map(() => 1)],
  };
}

function expectFinite(spec: ProgramSpec, outputs: Outputs): void {
  const broken = programSignature(spec).outputs.filter(({ name }) => !outputs.get(name)!.every(Number.isFinite));
  expect(broken.map(({ name }) => name)).toEqual([]);
}

const zeros = (rows: number, columns: number) => Array.from({ length: rows }, () => Array<number>(columns).fill(0));
const ones = (length: number) => Array<number>(length).fill(1);

describe('degenerate problems have defined, finite answers', () => {
  for (const form of ['log', 'scaling'] as const) {
    it(`with no active agent everything but the utility is zero, beside a slot that nothing uses: ${form}`, async () => {
      const spec = everything(form);
      const program = await compile(spec, bucket, { parameters: weights });
      const none = Array<number>(5).fill(0);
      const outputs = await program.run([everyInput(zeros(5, 4), zeros(3, 4), none, ones(3))]);
      expectFinite(spec, outputs);
      for (const name of [
        'resources',
        'plan',
        'top_k_mass',
        'row_error',
        'column_error',
        'row_potential',
        'column_potential',
      ]) {
        expect(Math.max(...outputs.get(name)!.map(Math.abs)), name).toBe(0);
      }
      for (const name of ['centroid', 'weights', 'kernel', 'flags', 'scale', 'effective_count', 'last_step']) {
        expect(Math.max(...outputs.get(name)!.map(Math.abs)), name).toBe(0);
      }
    });

    it(`with no active task nothing is assigned and the rows' error is their mass: ${form}`, async () => {
      const spec = everything(form);
      const program = await compile(spec, bucket, { parameters: weights });
      const agents = Array.from({ length: 5 }, (_, i) => [i, 0, -i, 1]);
      const outputs = await program.run([everyInput(agents, zeros(3, 4), ones(5), [0, 0, 0])]);
      expectFinite(spec, outputs);
      expect(Math.max(...outputs.get('plan')!)).toBe(0);
      expect(outputs.get('row_error')![0]).toBe(1);
      expect(Math.max(...outputs.get('row_potential')!.map(Math.abs))).toBe(0);
    });

    it(`one agent and one task are matched, alone in the consensus: ${form}`, async () => {
      const spec = everything(form);
      const program = await compile(spec, bucket, { parameters: weights });
      const outputs = await program.run([everyInput([[3, 4, 0, 0]], [[0, 0, 0, 0]], [1], [1])]);
      expectFinite(spec, outputs);
      expect(outputs.get('utility_out')![0]).toBe(-5);
      expect(outputs.get('plan')![0]).toBeCloseTo(1, 6);
      expect(Array.from(outputs.get('centroid')!.subarray(0, 4))).toEqual([3, 4, 0, 0]);
      expect([outputs.get('weights')![0], outputs.get('scale')![0], outputs.get('effective_count')![0]]).toEqual([
        1, 0, 1,
      ]);
    });

    it(`equal agents and equal tasks share alike, without noise from rounding: ${form}`, async () => {
      const spec = everything(form);
      const program = await compile(spec, bucket, { parameters: weights });
      const agents = Array.from({ length: 7 }, () => [0.1, 1e6 + 0.3, -3.3, 0.7]);
      const tasks = Array.from({ length: 7 }, () => [0.2, -1.7, 0.9, 5.1]);
      const outputs = await program.run([everyInput(agents, tasks, ones(7), ones(7))]);
      expectFinite(spec, outputs);
      for (let j = 0; j < 7; j += 1) expect(outputs.get('plan')![j]).toBeCloseTo(1 / 7, 6);
      expect(Array.from(outputs.get('centroid')!.subarray(0, 4))).toEqual(agents[0]!.map(Math.fround));
      expect(outputs.get('scale')![0]).toBe(0);
      expect(outputs.get('kernel')![6]).toBe(1);
      expect(outputs.get('effective_count')![0]).toBeCloseTo(7, 5);
      expect(Math.max(...outputs.get('flags')!)).toBe(0);
    });
  }

  it('a far outlier, or half of the group far away, leaves the answer finite', async () => {
    const spec: ProgramSpec = {
      ...emptySpec,
      consensus: { source: 'responses', width: 4, iterations: 10, start: 'MEDOID' },
    };
    const program = await compile(spec, bucket);
    const far = Array.from({ length: 9 }, (_, i) => (i < 1 ? [1e15, -1e15, 1e15, 1e15] : [i, i / 2, 0, 1]));
    const split = Array.from({ length: 8 }, (_, i) => (i < 4 ? [1e14, 0, 0, i] : [i, i / 2, 0, 1]));
    const outputs = await program.run([consensusInputs(far), consensusInputs(split, { sigma: 1e-12 })]);
    expectFinite(spec, outputs);
    expect(outputs.get('flags')![0]).toBe(1);
    expect(Math.abs(outputs.get('centroid')![0]!)).toBeLessThan(10);
  });

  it('any finite utility and temperature keep the plan finite', async () => {
    const values = [3.4e38, -3.4e38, 1e30, -1e30, 1e10, 0, 1e-38, -Infinity];
    for (const slack of [false, true]) {
      const spec = given({ slack });
      const program = await compile(spec, bucket);
      for (const temperature of [1e-45, 1e-38, 1e-6, 1, 1e30, 3.4e38]) {
        const utility = Array.from({ length: 8 }, (_, i) => values.map((_, j) => values[(i * 3 + j) % 8]!));
        const extreme = softInputs({ utility, temperature, idle: 3e38, unserved: -3e38 });
        const mild = softInputs({ utility, temperature, idle: -Infinity, unserved: 0 });
        const outputs = await program.run([extreme, mild]);
        expectFinite(spec, outputs);
      }
    }
  });

  it('forbidden and masked pairs get exactly nothing', async () => {
    const program = await compile(given({ form: 'log' }), bucket);
    const utility = Array.from({ length: 6 }, (_, i) =>
      Array.from({ length: 5 }, (_, j) => ((i + j) % 3 === 0 ? -Infinity : i * j)),
    );
    utility[2] = Array<number>(5).fill(-Infinity);
    const taskMask = [1, 1, 0, 1, 1];
    const outputs = await program.run([
      softInputs({ utility, temperature: 0.5, agentMask: [1, 1, 1, 1, 0, 1], taskMask }),
    ]);
    expectFinite(given({ form: 'log' }), outputs);
    const plan = outputs.get('plan')!;
    for (let i = 0; i < 16; i += 1) {
      for (let j = 0; j < 16; j += 1) {
        const allowed = i < 6 && j < 5 && i !== 4 && taskMask[j] === 1 && Number.isFinite(utility[i]![j]!);
        if (allowed) expect(plan[i * 16 + j], `${i},${j}`).toBeGreaterThan(0);
        else expect(plan[i * 16 + j], `${i},${j}`).toBe(0);
      }
    }
    // The agent without an allowed task: its whole mass is missing.
    expect(outputs.get('row_error')![0]).toBeCloseTo(1, 5);
    expect([outputs.get('row_potential')![2], outputs.get('column_potential')![2]]).toEqual([0, 0]);
  });
});

describe('top-k', () => {
  it('lists the heaviest tasks of the plan first and equal ones by rising index', async () => {
    const program = await compile(given({ iterations: 20 }), bucket);
    // Columns 1, 3 and 5 are equal, and so are 0 and 4.
    const utility = [
      [0, 2, 1, 2, 0, 2],
      [1, 0, 3, 0, 1, 0],
      [2, 1, 0, 1, 2, 1],
    ];
    const outputs = await program.run([softInputs({ utility, temperature: 1 })]);
    const plan = outputs.get('plan')!;
    const indices = outputs.get('top_k_tasks')!;
    expect(indices).toBeInstanceOf(Int32Array);
    for (let i = 0; i < 3; i += 1) {
      const row = Array.from(plan.subarray(i * 16, i * 16 + 6));
      const expected = [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b).slice(0, 4);
      expect(Array.from(indices.subarray(i * 4, i * 4 + 4))).toEqual(expected);
      const mass = Array.from(outputs.get('top_k_mass')!.subarray(i * 4, i * 4 + 4));
      expect(mass).toEqual(expected.map((j) => row[j]));
    }
    expect(Array.from(indices.subarray(0, 3))).toEqual([1, 3, 5]);
  });
});
