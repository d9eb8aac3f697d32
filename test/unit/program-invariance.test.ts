import { describe, expect, it } from 'vitest';
import { seededNormal, seededUniform } from '../seeded-normal.js';
import type { Axis, Bucket, ProgramSpec } from '../../src/operators/signature.js';
import {
  compile,
  consensusInputs,
  cropped,
  emptySpec,
  type Outputs,
  projectionInputs,
  type SlotInputs,
  softInputs,
} from './program-harness.js';
import { programSignature, shapeIn } from '../../src/operators/signature.js';

interface Random {
  readonly uniform: () => number;
  readonly normal: () => number;
}

function generator(seed: number): Random {
  return { uniform: seededUniform(seed), normal: seededNormal(seed) };
}

function matrix(random: Random, rows: number, columns: number): number[][] {
  return Array.from({ length: rows }, () => Array.from({ length: columns }, () => Math.fround(random.normal())));
}

interface Family {
  readonly name: string;
  readonly spec: ProgramSpec;
  readonly parameters?: ReadonlyMap<'projection_weight' | 'projection_bias' | 'bilinear', Float32Array>;
  problem(random: Random, n: number, m: number): SlotInputs;
}

const soft = { form: 'log', iterations: 12, bias: false, slack: false, plan: true, topK: 3, potentials: true } as const;

/** Odd widths and kinds, so that rows do not start on aligned addresses. */
function reference(width: number, kinds: number): Family {
  const random = generator(7);
  const numbers = (length: number) => Float32Array.from({ length }, () => random.normal() / Math.sqrt(width));
  return {
    name: `reference, d = ${width}, k = ${kinds}`,
    spec: {
      parameters: 'p',
      projection: { width, kinds },
      utility: { source: 'bilinear', agentWidth: width, taskWidth: width },
      utilityOut: true,
      soft: { ...soft, form: 'scaling' },
      consensus: { source: 'responses', width: 16, iterations: 10, start: 'MEDOID' },
    },
    parameters: new Map([
      ['projection_weight', numbers(width * kinds)],
      ['projection_bias', numbers(kinds)],
      ['bilinear', numbers(width * width)],
    ]),
    problem(r, n, m) {
      const agents = matrix(r, n, width);
      const utility = matrix(r, n, m);
      const taskMask = Array.from({ length: m }, () => (r.uniform() < 0.9 ? 1 : 0));
      return {
        ...softInputs({ utility, temperature: 1, taskMask }),
        ...projectionInputs(
          agents,
          Array.from({ length: kinds }, () => 1 + r.uniform()),
          Array.from({ length: kinds }, () => n / 10),
        ),
        ...consensusInputs(matrix(r, n, 7)),
        agents,
        tasks: matrix(r, m, width),
      };
    },
  };
}

function distance(form: 'log' | 'scaling', bias: boolean, slack: boolean): Family {
  return {
    name: `distance, ${form}${bias ? ', bias' : ''}${slack ? ', slack' : ''}`,
    spec: {
      ...emptySpec,
      utility: { source: 'distance', width: 4 },
      utilityOut: true,
      soft: { ...soft, form, bias, slack },
      consensus: { source: 'agents', width: 4, iterations: 10, start: 'MEAN' },
    },
    problem(r, n, m) {
      const agents = matrix(r, n, 4);
      const agentMask = Array.from({ length: n }, () => (r.uniform() < 0.8 ? 1 : 0));
      const utility = matrix(r, n, m).map((row) => row.map((value) => (r.uniform() < 0.1 ? -Infinity : 0.1 * value)));
      return {
        ...softInputs({ utility, temperature: form === 'log' ? 0.1 : 0.5, agentMask, idle: -1.5, unserved: -0.5 }),
        ...consensusInputs(agents, { mask: agentMask }),
        bias: utility,
        tasks: matrix(r, m, 4),
        spread_rows: [agentMask.map(() => 1)],
      };
    },
  };
}

const families = [
  reference(64, 8),
  reference(5, 3),
  distance('log', false, false),
  distance('log', true, true),
  distance('scaling', true, false),
  distance('scaling', false, true),
];

/** Bits of one slot of every output. */
function slotBits(family: Family, bucket: Bucket, outputs: Outputs, slot: number): Map<string, Int32Array> {
  return new Map(
    programSignature(family.spec).outputs.map((output) => {
      const size = shapeIn(output, bucket)
        .slice(1)
        .reduce((a, b) => a * b, 1);
      const bits = new Int32Array(outputs.get(output.name)!.buffer, outputs.get(output.name)!.byteOffset);
      return [output.name, bits.slice(slot * size, (slot + 1) * size)];
    }),
  );
}

function sameBits(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((bits, i) => bits === b[i]);
}

describe('one executable', () => {
  for (const family of families) {
    for (const threads of [1, 2]) {
      it(`gives a problem the same bits in every slot and beside any neighbours: ${family.name}, ${threads} threads`, async () => {
        const seed = 20261121;
        const random = generator(seed);
        for (const bucket of [
          { batch: 7, agents: 16, tasks: 16 },
          { batch: 5, agents: 128, tasks: 64 },
        ]) {
          const program = await compile(family.spec, bucket, { parameters: family.parameters ?? new Map(), threads });
          const fitting = () =>
            family.problem(
              random,
              1 + Math.floor(random.uniform() * bucket.agents),
              1 + Math.floor(random.uniform() * bucket.tasks),
            );
          const problem = family.problem(random, bucket.agents - 3, bucket.tasks - 5);
          const alone = slotBits(family, bucket, await program.run([problem]), 0);
          for (let slot = 0; slot < bucket.batch; slot += 1) {
            const slots = Array.from({ length: bucket.batch }, (_, i) => (i === slot ? problem : fitting()));
            const bits = slotBits(family, bucket, await program.run(slots), slot);
            const different = [...alone].filter(([name, expected]) => !sameBits(bits.get(name)!, expected));
            expect(
              different.map(([name]) => name),
              `slot ${slot} of ${bucket.agents} x ${bucket.tasks}, seed ${seed}`,
            ).toEqual([]);
          }
        }
      });
    }
  }
});

describe('different executables', () => {
  for (const family of families) {
    it(`agree to 1e-6 whatever the bucket and the batch: ${family.name}`, async () => {
      const problem = family.problem(generator(20261124), 14, 11);
      const signature = programSignature(family.spec);
      const crops: number[][][] = [];
      for (const bucket of [
        { batch: 1, agents: 16, tasks: 16 },
        { batch: 3, agents: 32, tasks: 64 },
        { batch: 2, agents: 128, tasks: 16 },
      ]) {
        const program = await compile(family.spec, bucket, { parameters: family.parameters ?? new Map() });
        const outputs = await program.run([problem]);
        crops.push(
          signature.outputs.map(({ name, axes }) => {
            const [rows, columns] = axes.length === 3 ? [axes[1]!, axes[2]!] : [1 as const, axes[1]!];
            const own = (axis: Axis) => (axis === 'N' ? 14 : axis === 'M' ? 11 : Number(axis));
            const padded = (axis: Axis) => (axis === 'N' ? bucket.agents : axis === 'M' ? bucket.tasks : Number(axis));
            const size = {
              rows: own(rows),
              columns: own(columns),
              bucketRows: padded(rows),
              bucketColumns: padded(columns),
            };
            return cropped(outputs, name, 0, size).flat();
          }),
        );
      }
      signature.outputs.forEach(({ name }, index) => {
        const [first, ...others] = crops.map((crop) => crop[index]!) as [number[], ...number[][]];
        const worst = Math.max(
          ...others.flatMap((other) =>
            first.map((value, i) => Math.abs(other[i]! - value) / Math.max(1, Math.abs(value))),
          ),
        );
        expect(worst, name).toBeLessThanOrEqual(1e-6);
      });
    });
  }
});
