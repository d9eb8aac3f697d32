import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Bucket, type ProgramSpec, type SoftSpec } from '../../src/operators/signature.js';
import { packageRoot } from '../../src/package-root.js';
import type { SinkhornForm } from '../../src/problem.js';
import {
  compile,
  consensusInputs,
  cropped,
  emptySpec,
  projectionInputs,
  type SlotInputs,
  softInputs,
} from './program-harness.js';
import type { Parameters } from '../../src/engine/engine.js';

type Cell = number | string;
type Case = Readonly<Record<string, unknown>> & { readonly op: string; readonly note?: string };

const cases = JSON.parse(readFileSync(join(packageRoot, 'test/golden/cases.json'), 'utf8')) as Case[];

function vector(value: unknown): number[] {
  return (value as Cell[]).map(Number);
}

function matrix(value: unknown): number[][] {
  return (value as Cell[][]).map(vector);
}

function optional(value: unknown): number[] | undefined {
  return value === undefined ? undefined : vector(value);
}

/** Largest difference in units of the tolerance's own scale, max(1, |expected|). */
function expectClose(
  actual: readonly number[][],
  expected: readonly number[][],
  tolerance: number,
  what: string,
): void {
  expect(actual.length, what).toBe(expected.length);
  let worst = 0;
  expected.forEach((row, i) =>
    row.forEach((value, j) => {
      const difference = Math.abs(actual[i]![j]! - value) / Math.max(1, Math.abs(value));
      worst = Number.isNaN(difference) ? Infinity : Math.max(worst, difference);
    }),
  );
  expect(worst, `${what}: worst difference`).toBeLessThanOrEqual(tolerance);
}

function padded(length: number): number {
  return Math.max(16, 2 ** Math.ceil(Math.log2(length)));
}

/** The case's own bucket, and a larger one in which it sits in the last of three slots. */
function buckets(n: number, m: number): { bucket: Bucket; slot: number }[] {
  return [
    { bucket: { batch: 1, agents: padded(n), tasks: m === 0 ? 0 : padded(m) }, slot: 0 },
    { bucket: { batch: 3, agents: 2 * padded(n), tasks: m === 0 ? 0 : 4 * padded(m) }, slot: 2 },
  ];
}

const name = (golden: Case, index: number) => `${index}: ${golden.op} ${golden.note ?? ''}`;
const select = (...ops: string[]) =>
  cases
    .map((golden, index) => ({ golden, title: name(golden, index) }))
    .filter(({ golden }) => ops.includes(golden.op));

describe('projection', () => {
  for (const { golden, title } of select('project')) {
    it(`equals the reference in both buckets: ${title}`, async () => {
      const states = matrix(golden['states']);
      const weight = matrix(golden['weight']);
      const [n, width, kinds] = [states.length, weight.length, weight[0]!.length];
      const spec: ProgramSpec = { ...emptySpec, parameters: 'p', projection: { width, kinds } };
      const parameters = new Map([
        ['projection_weight', Float32Array.from(weight.flat())],
        ['projection_bias', Float32Array.from(vector(golden['bias']))],
      ] as const);
      for (const { bucket, slot } of buckets(n, 0)) {
        const program = await compile(spec, bucket, { parameters });
        const inputs = projectionInputs(states, vector(golden['r_max']), optional(golden['budget']));
        const outputs = await program.run(Array.from({ length: slot + 1 }, () => inputs));
        const size = { rows: n, columns: kinds, bucketRows: bucket.agents, bucketColumns: kinds };
        expectClose(cropped(outputs, 'resources', slot, size), matrix(golden['resources']), 1e-5, 'resources');
      }
    });
  }
});

const plainSoft: SoftSpec = {
  form: 'log',
  iterations: 1,
  bias: false,
  slack: false,
  plan: true,
  topK: 0,
  potentials: false,
};

/** Marginals and slack of a golden assignment case. */
function goldenSoft(golden: Case) {
  const utility = matrix(golden['utility']);
  const [agentMask, taskMask] = [optional(golden['agent_mask']), optional(golden['task_mask'])];
  const capacities = optional(golden['capacities']);
  let idle = golden['idle'] as number | undefined;
  let unserved: number | undefined;
  let columnMass = optional(golden['col']);
  if (golden.op === 'soft_assignment' && (capacities !== undefined || idle !== undefined)) {
    columnMass = capacities ?? utility[0]!.map(() => 1);
    const room = columnMass.reduce((sum, mass, j) => sum + mass * (taskMask?.[j] ?? 1), 0);
    const need = agentMask?.reduce((a, b) => a + b, 0) ?? utility.length;
    if (idle === undefined && room > need) idle = -Infinity;
    else if (idle === undefined && room < need) [idle, unserved] = [0, -Infinity];
  }
  const temperature = golden['tau'] as number;
  const inputs = softInputs({ utility, temperature, agentMask, taskMask, columnMass, idle, unserved });
  const finite = utility.flat().filter(Number.isFinite);
  const range = (Math.max(...finite) - Math.min(...finite)) / temperature;
  return { inputs, range, slack: idle !== undefined, n: utility.length, m: utility[0]!.length };
}

const nothingMore = { parameters: new Map() as Parameters, extra: {} };

/** The same utility as a product with unit vectors: given utilities may hold forbidden pairs, so they never take the scaling form. */
function asBilinear(
  spec: ProgramSpec,
  inputs: SlotInputs,
): { spec: ProgramSpec; parameters: Parameters; extra: SlotInputs } {
  const utility = inputs['utility']!;
  const width = utility[0]!.length;
  const unit = (i: number) => Array.from({ length: width }, (_, j) => (i === j ? 1 : 0));
  const units = Array.from({ length: width }, (_, i) => unit(i));
  return {
    spec: { ...spec, parameters: 'p', utility: { source: 'bilinear', agentWidth: width, taskWidth: width } },
    parameters: new Map([['bilinear', Float32Array.from(units.flat())]]),
    extra: { agents: utility.map((row) => row.map((value) => value * Math.sqrt(width))), tasks: units },
  };
}

describe('assignment', () => {
  for (const { golden, title } of select('sinkhorn', 'soft_assignment')) {
    it(`equals the reference in every form that is safe, in both buckets: ${title}`, async () => {
      const { inputs, range, slack, n, m } = goldenSoft(golden);
      const everyPairAllowed = (inputs['utility'] ?? []).flat().every(Number.isFinite);
      const forms: SinkhornForm[] = range < 40 && everyPairAllowed ? ['log', 'scaling'] : ['log'];
      const tolerance = range > 50 ? 1e-3 : 1e-5;
      for (const form of forms) {
        const iterations = golden['iterations'] as number;
        const soft = { ...plainSoft, form, iterations, slack };
        const given: ProgramSpec = { ...emptySpec, utility: { source: 'given' }, soft };
        const { spec, parameters, extra } =
          form === 'log' ? { spec: given, ...nothingMore } : asBilinear(given, inputs);
        for (const { bucket, slot } of buckets(n, m)) {
          const program = await compile(spec, bucket, { parameters });
          const outputs = await program.run(Array.from({ length: slot + 1 }, () => ({ ...inputs, ...extra })));
          const size = { rows: n, columns: m, bucketRows: bucket.agents, bucketColumns: bucket.tasks };
          const plan = outputs.get('plan')!;
          expectClose(cropped(outputs, 'plan', slot, size), matrix(golden['plan']), tolerance, `${form} plan`);
          const total = (data: ArrayLike<number>) => Array.from(data).reduce((a, b) => a + b, 0);
          const share = (slot + 1) * total(matrix(golden['plan']).flat());
          expect(Math.abs(total(plan) - share), 'mass outside the problem').toBeLessThan(1e-3 * Math.max(1, share));
          if (slack) {
            const row = { rows: 1, columns: n, bucketRows: 1, bucketColumns: bucket.agents };
            expectClose(
              cropped(outputs, 'idle_mass', slot, row),
              [vector(golden['idle_mass'])],
              tolerance,
              'idle_mass',
            );
          }
          if (golden['row_error_max'] !== undefined) {
            const one = { rows: 1, columns: 1, bucketRows: 1, bucketColumns: 1 };
            const expected = [[golden['row_error_max'] as number]];
            expectClose(cropped(outputs, 'row_error', slot, one), expected, Math.max(tolerance, 2e-5), 'row_error');
            const column = [[golden['col_error_max'] as number]];
            expectClose(cropped(outputs, 'column_error', slot, one), column, Math.max(tolerance, 2e-5), 'column_error');
          }
        }
      }
    });
  }
});

describe('consensus', () => {
  for (const { golden, title } of select('consensus')) {
    it(`equals the reference with both medians, in both buckets: ${title}`, async () => {
      const responses = matrix(golden['responses']);
      const [n, trueWidth] = [responses.length, responses[0]!.length];
      const sigma = golden['sigma'] as number | undefined;
      const inputs = consensusInputs(responses, { mask: optional(golden['mask']), sigma });
      const width = [4, 16, 64].find((w) => w >= trueWidth)!;
      const start = golden['start'] === 'mean' ? 'MEAN' : 'MEDOID';
      const ways = [
        ['sort', 'y'],
        ['rank', 'x'],
      ] as const;
      const spec: ProgramSpec = {
        ...emptySpec,
        consensus: { source: 'responses', width, iterations: golden['iterations'] as number, start },
      };
      for (const [median, layout] of ways) {
        for (const { bucket, slot } of buckets(n, 0)) {
          const program = await compile(spec, bucket, { median, layout });
          const outputs = await program.run(Array.from({ length: slot + 1 }, () => inputs));
          const row = { rows: 1, columns: n, bucketRows: 1, bucketColumns: bucket.agents };
          const one = { rows: 1, columns: 1, bucketRows: 1, bucketColumns: 1 };
          const centre = { rows: 1, columns: trueWidth, bucketRows: 1, bucketColumns: width };
          const check = (output: string, size: typeof row, expected: number[]) =>
            expectClose(cropped(outputs, output, slot, size), [expected], 1e-3, `${median} ${output}`);
          check('centroid', centre, vector(golden['centroid']));
          check('weights', row, vector(golden['weights']));
          check('kernel', row, vector(golden['kernel']));
          check('scale', one, [golden['scale'] as number]);
          check('effective_count', one, [golden['n_eff'] as number]);
          // Rejected agents are flagged by the host; the program sees them as absent.
          const present = inputs['agent_mask']![0]!;
          const flags = vector(golden['flags']).map((flag, i) => (present[i] === 1 ? flag : 0));
          expect(cropped(outputs, 'flags', slot, row)[0], `${median} flags`).toEqual(flags);
        }
      }
    });
  }
});
