import { numpy as np } from '@jax-js/jax';
import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { lowerToOnnx } from '../../src/compiler/onnx.js';
import { classifyDot } from '../../src/compiler/primitives.js';
import { ProgramBuilder } from '../../src/compiler/program.js';
import { type ArrayFunction, trace } from '../../src/compiler/trace.js';
import { CoordinatorError } from '../../src/errors.js';
import { buildProgram } from '../../src/operators/pipeline.js';
import { type Bucket, type ProgramSpec, type Signature } from '../../src/operators/signature.js';
import { seededNormal } from '../seeded-normal.js';
import { compile, consensusInputs, emptySpec, softInputs } from './program-harness.js';

const bucket: Bucket = { batch: 2, agents: 16, tasks: 16 };
const soft = { form: 'log', iterations: 40, bias: false, slack: false, plan: true, topK: 0, potentials: true } as const;
const given: ProgramSpec = { ...emptySpec, utility: { source: 'given' }, soft };
const bilinear: ProgramSpec = {
  ...emptySpec,
  parameters: 'p',
  utility: { source: 'bilinear', agentWidth: 3, taskWidth: 2 },
  utilityOut: true,
};

/** Runs one traced function of [2,16,16] arrays through ONNX Runtime and through jax-js itself. */
async function bothWays(fn: ArrayFunction, shape: readonly number[]): Promise<[Float32Array, Float32Array]> {
  const tensor = (name: string, axes: readonly (number | 'B' | 'N' | 'M')[]) => ({
    name,
    axes,
    dtype: 'float32' as const,
    pad: 0,
  });
  const signature: Signature = {
    inputs: [tensor('x', ['B', 'N', 'M']), tensor('y', ['B', 'M'])],
    outputs: [tensor('z', ['B', ...shape.slice(1)])],
    parameters: [],
  };
  const builder = new ProgramBuilder(signature, bucket);
  builder.traced(['x', 'y'], ['z'], fn);
  const session = await ort.InferenceSession.create(lowerToOnnx(builder.build(), new Map()));
  const normal = seededNormal(5);
  const x = Float32Array.from({ length: 512 }, () => normal());
  const y = Float32Array.from({ length: 32 }, () => 1 + normal() ** 2);
  const results = await session.run({
    x: new ort.Tensor('float32', x, [2, 16, 16]),
    y: new ort.Tensor('float32', y, [2, 16]),
  });
  const [expected] = fn(np.array(x).reshape([2, 16, 16]), np.array(y).reshape([2, 16]));
  return [results['z']!.data as Float32Array, expected!.dataSync() as Float32Array];
}

const column = (y: np.Array) => y.reshape([2, 1, 16]);

const primitives: Record<string, { fn: ArrayFunction; shape: readonly number[] }> = {
  'add, sub, mul, div, neg, reciprocal': {
    fn: (x, y) => [
      x.ref
        .add(column(y.ref))
        .sub(x.ref.div(column(y.ref)))
        .mul(np.reciprocal(column(y)))
        .add(x.neg()),
    ],
    shape: [2, 16, 16],
  },
  'exp, log, sqrt, floor, ceil, min, max': {
    fn: (x, y) => [
      np
        .minimum(np.exp(x.ref), column(np.log(y.ref)))
        .add(np.maximum(np.floor(x.ref), np.ceil(x.mul(0.5))).mul(column(np.sqrt(y)))),
    ],
    shape: [2, 16, 16],
  },
  'compare, where, cast': {
    fn: (x, y) => [
      np
        .where(np.less(x.ref, column(y.ref)), x.ref, np.lessEqual(x.ref, 0.5).astype(np.float32))
        .add(np.where(np.notEqual(x.ref, x.ref), 1, np.equal(x, column(y)).astype(np.float32))),
    ],
    shape: [2, 16, 16],
  },
  'reduce over the last and the middle axis, reduced axes kept or not': {
    fn: (x, y) => [
      np
        .sum(x.ref, 1)
        .add(np.max(x.ref, -1))
        .add(np.min(x.ref.add(np.sum(x, 1, { keepdims: true })), 2))
        .add(np.prod(y, 1, { keepdims: true })),
    ],
    shape: [2, 16],
  },
  'reduce of a transposed array': {
    fn: (x, y) => [np.sum(np.transpose(x, [0, 2, 1]).mul(column(y)), 1)],
    shape: [2, 16],
  },
  'dot: matrices, vectors and transposes': {
    fn: (x, y) => [np.matmul(np.matmul(column(y), np.matrixTranspose(x.ref)), np.matmul(x.ref, x)).reshape([2, 16])],
    shape: [2, 16],
  },
  'transpose, reshape and flip': {
    fn: (x, y) => [
      np
        .flip(np.transpose(x, [2, 0, 1]).reshape([16, 32]), 1)
        .reshape([2, 16, 16])
        .add(np.transpose(y).reshape([2, 1, 16])),
    ],
    shape: [2, 16, 16],
  },
  'slices, concatenation, padding and broadcasting': {
    fn: (x, y) => [
      np.concatenate([x.ref.slice([], [], [3, 7]), x.slice([], [], [0, 12])], 2).add(
        np.broadcastTo(
          np.pad(column(y).slice([], [], [2, 10]), [
            [0, 0],
            [0, 0],
            [4, 4],
          ]),
          [2, 16, 16],
        ),
      ),
    ],
    shape: [2, 16, 16],
  },
  'sort, whole and in windows': {
    fn: (x, y) => [
      np
        .concatenate(
          [
            np.sort(x.ref, -1).slice([], [], [0, 3]),
            np.sort(x.ref, -1).slice([], [], [6, 9]),
            np.sort(x, -1).slice([], [], [6, 16]),
          ],
          2,
        )
        .mul(column(np.sort(y, -1))),
    ],
    shape: [2, 16, 16],
  },
};

describe('the ONNX lowering', () => {
  for (const [name, { fn, shape }] of Object.entries(primitives)) {
    it(`computes what jax-js computes: ${name}`, async () => {
      const [actual, expected] = await bothWays(fn, shape);
      expect(actual.length).toBe(expected.length);
      actual.forEach((value, i) =>
        expect(Math.abs(value - expected[i]!)).toBeLessThan(2e-5 * Math.max(1, Math.abs(expected[i]!))),
      );
    });
  }

  it('gives equal bytes for equal programs and others for another weight', () => {
    const build = (weight: number) =>
      lowerToOnnx(buildProgram(bilinear, bucket), new Map([['bilinear', new Float32Array(6).fill(weight)]]));
    expect(Buffer.compare(build(1), build(1))).toBe(0);
    expect(Buffer.compare(build(1), build(2))).not.toBe(0);
    const whole = () => Buffer.from(lowerToOnnx(buildProgram(given, bucket), new Map()));
    expect(whole().equals(whole())).toBe(true);
  });

  it('answers alike with loops and with unrolled iterations', async () => {
    const spec: ProgramSpec = {
      ...given,
      consensus: { source: 'responses', width: 4, iterations: 10, start: 'MEDOID' },
    };
    const normal = seededNormal(11);
    const rows = (n: number, m: number) => Array.from({ length: n }, () => Array.from({ length: m }, () => normal()));
    const inputs = { ...softInputs({ utility: rows(12, 9), temperature: 0.2 }), ...consensusInputs(rows(12, 3)) };
    const unrolled = await compile(spec, bucket, { unrollLimit: 1e9 });
    const looped = await compile(spec, bucket, { unrollLimit: 0 });
    expect(looped.model.length).toBeLessThan(unrolled.model.length);
    const [a, b] = [await unrolled.run([inputs]), await looped.run([inputs])];
    for (const [name, values] of a) {
      values.forEach((value, i) =>
        expect(Math.abs(value - b.get(name)![i]!), name).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(value))),
      );
    }
  });

  it('refuses a weight that is missing or has another size', () => {
    const program = buildProgram(bilinear, bucket);
    for (const [weights, received] of [
      [new Map(), 'none'],
      [new Map([['bilinear', new Float32Array(5)]]), '5'],
    ] as const) {
      const refused = expect(() => lowerToOnnx(program, weights as Map<'bilinear', Float32Array>));
      refused.toThrow(CoordinatorError);
      refused.toThrow(`bilinear: expected 6 weights, received ${received}`);
    }
  });

  it('names a primitive that it has no rule for', async () => {
    await expect(bothWays((x, y) => [np.sin(x).add(column(y))], [2, 16, 16])).rejects.toThrow(
      'no rule for the primitive sin',
    );
  });
});

describe('tracing', () => {
  it('needs no memory of the size of its arguments', () => {
    const before = process.memoryUsage();
    const graph = trace((x) => [np.exp(x)], [{ shape: [1, 200_000, 200_000], dtype: 'float32' }]);
    const after = process.memoryUsage();
    expect(graph.equations.map((equation) => equation.primitive)).toEqual(['exp']);
    expect(after.external - before.external).toBeLessThan(2 ** 26);
  });

  it('writes subtraction and division as one primitive each', () => {
    const type = { shape: [4], dtype: 'float32' } as const;
    const graph = trace((x, y) => [x.ref.sub(y.ref).div(y.add(x))], [type, type]);
    expect(graph.equations.map((equation) => equation.primitive)).toEqual(['sub', 'add', 'div']);
  });

  it('finds the batch axes of a product in the shapes', () => {
    expect(classifyDot([2, 4, 1, 8], [2, 1, 5, 8])).toMatchObject({
      batch: [0],
      left: [1],
      right: [2],
      unit: [],
      contracted: 8,
    });
    expect(classifyDot([2, 4, 1, 8], [3, 8])).toMatchObject({ batch: [], left: [0, 1], right: [2], unit: [] });
    expect(() => classifyDot([2, 4], [2, 5])).toThrow('expected equal last axes');
  });
});

describe('building a program', () => {
  it('says which result a stage lacks or has in another shape', () => {
    const signature: Signature = {
      inputs: [{ name: 'x', axes: ['B', 'N'], dtype: 'float32', pad: 0 }],
      outputs: [{ name: 'y', axes: ['B', 'N'], dtype: 'float32', pad: 0 }],
      parameters: [],
    };
    expect(() => new ProgramBuilder(signature, bucket).build()).toThrow('no stage before this one writes y');
    const wrong = new ProgramBuilder(signature, bucket);
    wrong.traced(['x'], ['y'], (x) => [np.sum(x, 1)]);
    expect(() => wrong.build()).toThrow('y: expected float32[2,16], received float32[2]');
    const growing = new ProgramBuilder(signature, bucket);
    expect(() => growing.loop(3, ['x'], [], ['y'], (x) => [np.concatenate([x.ref, x], 1)])).toThrow(
      'y: expected [2,16] from the loop body, received [2,32]',
    );
  });
});
