import { describe, expect, it } from 'vitest';
import { type Bucket, forbiddenUtility, type ProgramSpec, type SoftSpec } from '../../src/operators/signature.js';
import { seededNormal, seededUniform } from '../seeded-normal.js';
import { compile, cropped, emptySpec, type Executable, type Outputs, softInputs } from './program-harness.js';
import { type OracleProblem, sinkhornOracle } from './sinkhorn-oracle.js';

const seed = 20261123;
const bucket: Bucket = { batch: 1, agents: 32, tasks: 32 };
const soft: SoftSpec = {
  form: 'log',
  iterations: 50,
  bias: false,
  slack: false,
  plan: true,
  topK: 0,
  potentials: true,
};

interface Drawn extends OracleProblem {
  /** Range of the exponents, slack included. */
  readonly range: number;
}

/** Random sizes, masks, forbidden pairs, capacities (0 included), slack and ranges; balanced where there is no slack. */
function draw(uniform: () => number, normal: () => number): Drawn {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(uniform() * values.length)]!;
  const [n, m] = [1 + Math.floor(uniform() * 30), 1 + Math.floor(uniform() * 30)];
  const scale = pick([0.2, 2, 20, 200, 2000]);
  const offset = uniform() < 0.3 ? 1000 * normal() : 0;
  const forbidden = pick([0, 0, 0.3]);
  const agentMask = Array.from({ length: n }, () => (uniform() < 0.85 ? 1 : 0));
  const taskMask = Array.from({ length: m }, () => (uniform() < 0.85 ? 1 : 0));
  const utility = agentMask.map(() =>
    taskMask.map(() => (uniform() < forbidden ? -Infinity : Math.fround(offset + scale * normal()))),
  );
  const total = (mask: readonly number[]) => mask.reduce((a, b) => a + b, 0);
  const slack = pick([
    null,
    null,
    { idle: Math.fround(offset + scale * normal()), unserved: 0 },
    { idle: -Infinity, unserved: 0 },
    { idle: 0, unserved: -Infinity },
  ]);
  const even = total(agentMask) / Math.max(total(taskMask), 1);
  const mostRoom = pick([3, 1000]);
  const columnMass = taskMask.map(() => (slack === null ? even : Math.floor(uniform() * mostRoom)));
  const exponents = [...utility.flat(), ...(slack === null ? [] : [slack.idle, slack.unserved, 0])].filter(
    Number.isFinite,
  );
  const range = exponents.length === 0 ? 0 : Math.max(...exponents) - Math.min(...exponents);
  const iterations = pick([1, 2, 3, 10, 60]);
  return { utility, temperature: 1, iterations, agentMask, taskMask, rowMass: agentMask, columnMass, slack, range };
}

const programs = new Map<string, Promise<Executable>>();

function programFor(spec: ProgramSpec, key: string): Promise<Executable> {
  const known = programs.get(key) ?? compile(spec, bucket);
  programs.set(key, known);
  return known;
}

function inputsOf(problem: Drawn) {
  const { idle, unserved } = problem.slack ?? { idle: 0, unserved: 0 };
  return softInputs({ ...problem, idle, unserved });
}

/** Largest error of the plan, the idle mass and the potentials' own plan, each relative to max(1, |expected|). */
function errors(problem: Drawn, outputs: Outputs): { plan: number; potentials: number } {
  const [n, m] = [problem.agentMask.length, problem.taskMask.length];
  const answer = sinkhornOracle(problem);
  const size = { rows: n, columns: m, bucketRows: bucket.agents, bucketColumns: bucket.tasks };
  const plan = cropped(outputs, 'plan', 0, size);
  const f = outputs.get('row_potential')!;
  const g = outputs.get('column_potential')!;
  const worst = { plan: 0, potentials: 0 };
  plan.forEach((row, i) =>
    row.forEach((mass, j) => {
      const expected = answer.plan[i]![j]!;
      worst.plan = Math.max(worst.plan, Math.abs(mass - expected) / Math.max(1, expected));
      if (mass < 1e-6) return;
      const z = problem.utility[i]![j]! + f[i]! + g[j]!;
      const scale = 1 + Math.abs(problem.utility[i]![j]!) + Math.abs(f[i]!);
      worst.potentials = Math.max(worst.potentials, Math.abs(Math.log(mass) - z) / scale);
    }),
  );
  if (problem.slack !== null) {
    const idle = outputs.get('idle_mass')!;
    answer.idleMass.forEach((mass, i) => (worst.plan = Math.max(worst.plan, Math.abs(idle[i]! - mass))));
  }
  for (const [name, expected] of [
    ['row_error', answer.rowError],
    ['column_error', answer.columnError],
  ] as const) {
    const mostMass = Math.max(1, ...problem.columnMass) * n;
    worst.plan = Math.max(worst.plan, Math.abs(outputs.get(name)![0]! - expected) / mostMass);
  }
  return worst;
}

describe('the soft assignment', () => {
  it('equals a float64 Sinkhorn on random problems, potentials included', async () => {
    const [uniform, normal] = [seededUniform(seed), seededNormal(seed + 1)];
    for (let trial = 0; trial < 120; trial += 1) {
      const problem = draw(uniform, normal);
      const slack = problem.slack !== null;
      const spec = {
        ...emptySpec,
        utility: { source: 'given' },
        soft: { ...soft, slack, iterations: problem.iterations },
      } as const;
      const program = await programFor(spec, `${slack} ${problem.iterations}`);
      const { plan, potentials } = errors(problem, await program.run([inputsOf(problem)]));
      const told = `trial ${trial}, seed ${seed}, range ${problem.range}`;
      expect(plan, told).toBeLessThan(problem.range > 50 ? 1e-3 : 1e-5);
      expect(potentials, told).toBeLessThan(1e-5);
    }
  });

  it('is the same in both forms, distances in units of their spread', async () => {
    const [uniform, normal] = [seededUniform(seed), seededNormal(seed + 2)];
    for (const slack of [false, true]) {
      const spec = (form: 'log' | 'scaling'): ProgramSpec => ({
        ...emptySpec,
        utility: { source: 'distance', width: 4 },
        utilityOut: true,
        soft: { ...soft, form, slack },
      });
      for (let trial = 0; trial < 10; trial += 1) {
        const [n, m] = [2 + Math.floor(uniform() * 25), 2 + Math.floor(uniform() * 25)];
        const points = (count: number) => Array.from({ length: count }, () => [100 * normal(), 100 * normal(), 5]);
        const [agents, tasks] = [points(n), points(m)];
        const distances = agents.map((a) => tasks.map((t) => -Math.hypot(a[0]! - t[0]!, a[1]! - t[1]!)));
        const agentMask = agents.map((_, i): number => (i > 0 && uniform() < 0.2 ? 0 : 1));
        const taskMask = tasks.map((_, j): number => (j > 0 && uniform() < 0.2 ? 0 : 1));
        const spreadRows = agents.map((_, i) => (i % 2 === 0 ? 1 : 0));
        const counted = distances.flatMap((row, i) =>
          row.filter((_, j) => spreadRows[i]! * agentMask[i]! * taskMask[j]! === 1),
        );
        const mean = counted.reduce((a, b) => a + b, 0) / counted.length;
        const deviation = Math.sqrt(counted.reduce((sum, u) => sum + (u - mean) ** 2, 0) / counted.length) || 1;
        const total = agentMask.reduce((a, b) => a + b, 0) / taskMask.reduce((a, b) => a + b, 0);
        const columnMass = taskMask.map(() => (slack ? 1 : total));
        const problem = { utility: distances, temperature: 0.5, agentMask, taskMask, columnMass };
        const inputs = {
          ...softInputs({ ...problem, idle: mean }),
          agents: agents.map((a, i) => a.map((x) => x * agentMask[i]!)),
          tasks,
          spread_rows: [spreadRows],
        };
        const answer = sinkhornOracle({
          ...problem,
          temperature: 0.5 * deviation,
          iterations: soft.iterations,
          rowMass: agentMask,
          slack: slack ? { idle: mean, unserved: 0 } : null,
        });
        const size = { rows: n, columns: m, bucketRows: bucket.agents, bucketColumns: bucket.tasks };
        for (const form of ['log', 'scaling'] as const) {
          const outputs = await (await programFor(spec(form), `distance ${form} ${slack}`)).run([inputs]);
          const plan = cropped(outputs, 'plan', 0, size);
          const worst = Math.max(
            ...plan.flatMap((row, i) => row.map((mass, j) => Math.abs(mass - answer.plan[i]![j]!))),
          );
          expect(worst, `${form}, slack ${slack}, trial ${trial}, seed ${seed}`).toBeLessThan(2e-5);
          const raw = cropped(outputs, 'utility_out', 0, size);
          agentMask.forEach((bit, i) =>
            raw[i]!.forEach((u, j) => {
              if (bit === 1) expect(Math.abs(u - distances[i]![j]!)).toBeLessThan(1e-6 * (1 + Math.abs(u)));
            }),
          );
        }
      }
    }
  });

  it('measures distances of any width by differences, near points far from the origin included', async () => {
    const normal = seededNormal(seed + 3);
    for (const width of [1, 4, 64, 256]) {
      const spec: ProgramSpec = { ...emptySpec, utility: { source: 'distance', width }, utilityOut: true };
      const program = await compile(spec, bucket);
      const points = Array.from({ length: 9 }, (_, i) =>
        Array.from({ length: width }, () => Math.fround(1000 + (i < 5 ? 1 : 0.001) * normal())),
      );
      const outputs = await program.run([{ agents: points, tasks: points, agent_mask: [points.map(() => 1)] }]);
      const size = { rows: 9, columns: 9, bucketRows: bucket.agents, bucketColumns: bucket.tasks };
      cropped(outputs, 'utility_out', 0, size).forEach((row, i) =>
        row.forEach((u, j) => {
          const distance = Math.hypot(...points[i]!.map((x, c) => x - points[j]![c]!));
          expect(Math.abs(u + distance), `${i} to ${j}, width ${width}`).toBeLessThanOrEqual(1e-6 * distance);
        }),
      );
    }
  });

  it('reads a slack utility at or below the agreed value as no slack at all', async () => {
    const program = await programFor(
      { ...emptySpec, utility: { source: 'given' }, soft: { ...soft, slack: true } },
      'slack',
    );
    const problem = {
      utility: [
        [1, 0],
        [0, 1],
      ],
      temperature: 1,
      columnMass: [1, 1],
    };
    for (const idle of [forbiddenUtility, -3e38]) {
      const outputs = await program.run([softInputs({ ...problem, idle, unserved: forbiddenUtility })]);
      expect(Math.max(...outputs.get('idle_mass')!)).toBe(0);
      expect(outputs.get('row_error')![0]).toBeLessThan(1e-5);
    }
  });

  it('adds the bias to the utility of the plan, not to the utility it reports', async () => {
    const spec: ProgramSpec = {
      ...emptySpec,
      parameters: 'p',
      utility: { source: 'bilinear', agentWidth: 2, taskWidth: 2 },
      utilityOut: true,
      soft: { ...soft, form: 'log', bias: true },
    };
    const program = await compile(spec, bucket, { parameters: new Map([['bilinear', Float32Array.of(1, 0, 0, 1)]]) });
    const agents = [
      [1, 0],
      [0, 1],
      [1, 1],
    ];
    const utility = agents.map((a) => agents.map((t) => (a[0]! * t[0]! + a[1]! * t[1]!) / Math.SQRT2));
    const bias = [
      [0, -Infinity, 1],
      [0.5, 0, 0],
      [0, 0, -1],
    ];
    const inputs = { ...softInputs({ utility, temperature: 0.5 }), agents, tasks: agents, bias };
    const outputs = await program.run([inputs]);
    const mask = [1, 1, 1];
    const answer = sinkhornOracle({
      utility: utility.map((row, i) => row.map((u, j) => u + bias[i]![j]!)),
      temperature: 0.5,
      iterations: soft.iterations,
      agentMask: mask,
      taskMask: mask,
      rowMass: mask,
      columnMass: mask,
      slack: null,
    });
    const size = { rows: 3, columns: 3, bucketRows: bucket.agents, bucketColumns: bucket.tasks };
    cropped(outputs, 'plan', 0, size).forEach((row, i) =>
      row.forEach((mass, j) => expect(Math.abs(mass - answer.plan[i]![j]!)).toBeLessThan(1e-5)),
    );
    cropped(outputs, 'utility_out', 0, size).forEach((row, i) =>
      row.forEach((u, j) => expect(u).toBeCloseTo(utility[i]![j]!, 6)),
    );
  });
});
