import { describe, expect, it } from 'vitest';
import { type Bucket, type ProgramSpec, type SoftSpec } from '../../src/operators/signature.js';
import type { SinkhornForm } from '../../src/problem.js';
import { convergedBelow } from '../../src/warm-iterations.js';
import { seededNormal, seededUniform } from '../seeded-normal.js';
import { compile, cropped, emptySpec, type Executable, type Outputs, softInputs } from './program-harness.js';

const seed = 20261124;
const small: Bucket = { batch: 1, agents: 16, tasks: 16 };
const forms: readonly SinkhornForm[] = ['scaling', 'log'];

function specOf(form: SinkhornForm, iterations: number, more: Partial<SoftSpec> = {}): ProgramSpec {
  const soft = { form, iterations, bias: false, slack: false, plan: true, topK: 0, potentials: false, ...more };
  return { ...emptySpec, utility: { source: 'given' }, soft };
}

const programs = new Map<string, Promise<Executable>>();

function program(spec: ProgramSpec, bucket: Bucket): Promise<Executable> {
  const key = JSON.stringify([spec, bucket]);
  const known = programs.get(key) ?? compile(spec, bucket);
  programs.set(key, known);
  return known;
}

const worstError = (outputs: Outputs) => Math.max(outputs.get('row_error')![0]!, outputs.get('column_error')![0]!);

/** Agents and tasks in a square, and the same a tick later: each agent `step` metres further in a random direction. */
function movingSwarm(count: number, sideM: number, stepM: number) {
  const uniform = seededUniform(seed);
  const place = () => [sideM * uniform(), sideM * uniform()] as const;
  const agents = Array.from({ length: count }, place);
  const tasks = Array.from({ length: count }, place);
  const moved = agents.map(([x, y]) => {
    const direction = 2 * Math.PI * uniform();
    return [x + stepM * Math.cos(direction), y + stepM * Math.sin(direction)] as const;
  });
  const utility = (from: readonly (readonly [number, number])[]) =>
    from.map(([x, y]) => tasks.map(([u, v]) => -Math.hypot(x - u, y - v)));
  return { before: utility(agents), now: utility(moved) };
}

describe('a start from the tick before', () => {
  it('takes a swarm of 300 to the marginals in a fraction of the iterations that a cold start needs', async () => {
    const bucket: Bucket = { batch: 1, agents: 512, tasks: 512 };
    const { before, now } = movingSwarm(300, 100, 1);
    const temperature = 5;
    const counts = [10, 20, 50, 100, 200, 400];
    const last = await program(specOf('log', counts.at(-1)!, { plan: false }), bucket);
    const ended = await last.run([softInputs({ utility: before, temperature })]);
    const start = [...ended.get('column_potential')!.subarray(0, 300)];
    const needed = async (inputs: ReturnType<typeof softInputs>): Promise<number> => {
      for (const count of counts) {
        const fewer = await program(specOf('log', count, { plan: false }), bucket);
        if (worstError(await fewer.run([inputs])) < convergedBelow) return count;
      }
      return Infinity;
    };
    const cold = await needed(softInputs({ utility: now, temperature }));
    const warm = await needed(softInputs({ utility: now, temperature, start }));
    expect(cold, `seed ${seed}`).toBeLessThan(Infinity);
    expect(warm, `cold ${cold}, seed ${seed}`).toBeLessThanOrEqual(cold / 4);
  });

  for (const form of forms) {
    for (const slack of [false, true]) {
      const told = `${form}${slack ? ', with slack' : ''}`;

      it(`leads to the plan of a cold start: ${told}`, async () => {
        const [uniform, normal] = [seededUniform(seed + 1), seededNormal(seed + 2)];
        const full = await program(specOf(form, 200, { slack }), small);
        const size = { rows: 12, columns: 11, bucketRows: 16, bucketColumns: 16 };
        for (let trial = 0; trial < 8; trial += 1) {
          const utility = Array.from({ length: 12 }, () => Array.from({ length: 11 }, () => Math.fround(2 * normal())));
          const problem = {
            utility,
            temperature: 1,
            ...(slack ? { columnMass: Array.from({ length: 11 }, () => 1) } : {}),
          };
          const cold = await full.run([softInputs(problem)]);
          const start = Array.from({ length: 11 }, () => Math.fround(20 * (uniform() - 0.5)));
          const warm = await full.run([softInputs({ ...problem, start })]);
          expect(worstError(warm), `trial ${trial}`).toBeLessThan(Math.max(2 * worstError(cold), 1e-5));
          const plan = cropped(cold, 'plan', 0, size);
          cropped(warm, 'plan', 0, size).forEach((row, i) =>
            row.forEach((mass, j) => expect(Math.abs(mass - plan[i]![j]!), `trial ${trial}`).toBeLessThan(1e-4)),
          );
        }
      });

      it(`from where the iterations ended needs hardly any more: ${told}`, async () => {
        const normal = seededNormal(seed + 3);
        const utility = Array.from({ length: 12 }, () => Array.from({ length: 12 }, () => Math.fround(4 * normal())));
        const problem = { utility, temperature: 1, ...(slack ? { columnMass: utility.map(() => 1), idle: -1 } : {}) };
        const full = await program(specOf(form, 1000, { slack }), small);
        const few = await program(specOf(form, 4, { slack }), small);
        const ended = await full.run([softInputs(problem)]);
        const start = [...ended.get('column_potential')!.subarray(0, 12)];
        const cold = worstError(await few.run([softInputs(problem)]));
        const warm = worstError(await few.run([softInputs({ ...problem, start })]));
        expect(cold, `seed ${seed}`).toBeGreaterThan(1e-2);
        expect(warm, `seed ${seed}`).toBeLessThan(1e-4);
      });

      it(`that is hostile gives numbers, and tells what is wrong with them: ${told}`, async () => {
        const normal = seededNormal(seed + 4);
        const utility = Array.from({ length: 9 }, () => Array.from({ length: 7 }, () => Math.fround(3 * normal())));
        const problem = {
          utility,
          temperature: 0.5,
          ...(slack ? { columnMass: Array.from({ length: 7 }, () => 1) } : {}),
        };
        const ten = await program(specOf(form, 10, { slack, potentials: true }), small);
        // The log form spends one iteration of a warm request on its arithmetic.
        const alike = await program(specOf(form, form === 'log' ? 9 : 10, { slack, potentials: true }), small);
        const cold = await alike.run([softInputs(problem)]);
        const size = { rows: 9, columns: 7, bucketRows: 16, bucketColumns: 16 };
        const fill = (value: number) => Array.from({ length: 7 }, () => value);
        const hostile: Record<string, number[]> = {
          'all huge': fill(1e30),
          'all least': fill(-3.4e38),
          'both ends': Array.from({ length: 7 }, (_, j) => (j % 2 === 0 ? 1e30 : -1e30)),
          'one alone': Array.from({ length: 7 }, (_, j) => (j === 3 ? 0 : -1e30)),
          infinite: Array.from({ length: 7 }, (_, j) => (j === 2 ? -Infinity : 0)),
          'all equal': fill(5),
        };
        for (const [name, start] of Object.entries(hostile)) {
          const outputs = await ten.run([softInputs({ ...problem, start })]);
          for (const [output, data] of outputs) {
            expect([...data].every(Number.isFinite), `${name}: ${output}`).toBe(true);
          }
          const plan = cropped(outputs, 'plan', 0, size);
          const idle = slack ? outputs.get('idle_mass')! : new Float32Array(9);
          const error = Math.max(
            ...plan.map((row, i) => Math.abs(row.reduce((sum, mass) => sum + mass, idle[i]!) - 1)),
          );
          expect(Math.abs(error - outputs.get('row_error')![0]!), name).toBeLessThan(1e-4 * Math.max(1, error));
          if (name !== 'all equal' || slack) continue;
          const expected = cropped(cold, 'plan', 0, size);
          plan.forEach((row, i) =>
            row.forEach((mass, j) => expect(Math.abs(mass - expected[i]![j]!), name).toBeLessThan(1e-5)),
          );
        }
      });
    }
  }
});
