/** The StableHLO lowering, rule family by rule family; past 400 lines because the expected texts stand in full. */
import { numpy as np } from '@jax-js/jax';
import { describe, expect, it } from 'vitest';
import { sizeLadder } from '../../src/batching/buckets.js';
import { lowerToStableHlo, type StableHloOptions } from '../../src/compiler/stablehlo.js';
import { denseText, elementText, tensorType } from '../../src/compiler/stablehlo-types.js';
import { type Program, ProgramBuilder } from '../../src/compiler/program.js';
import type { ArrayFunction } from '../../src/compiler/trace.js';
import { CoordinatorError } from '../../src/errors.js';
import { buildProgram, type PipelineOptions } from '../../src/operators/pipeline.js';
import {
  type Axis,
  type Bucket,
  type ProgramSpec,
  programSignature,
  type Signature,
  type SoftSpec,
  type TensorDType,
} from '../../src/operators/signature.js';
import { defaultSpecs } from '../../src/planning/spec.js';
import { builtInPolicies } from '../../src/policies/built-in.js';

const bucket: Bucket = { batch: 2, agents: 4, tasks: 3 };

function tensor(name: string, axes: readonly Axis[], dtype: TensorDType = 'float32') {
  return { name, axes, dtype, pad: 0 };
}

/** x [B,N,M] and y [B,M] to z. */
function signatureTo(axes: readonly Axis[], dtype: TensorDType = 'float32'): Signature {
  return {
    inputs: [tensor('x', ['B', 'N', 'M']), tensor('y', ['B', 'M'])],
    outputs: [tensor('z', axes, dtype)],
    parameters: [],
  };
}

function programOf(signature: Signature, build: (builder: ProgramBuilder) => void, where: Bucket = bucket): Program {
  const builder = new ProgramBuilder(signature, where);
  build(builder);
  return builder.build();
}

/** The lines between the head of `main` and its end. */
function mainOf(program: Program, options: StableHloOptions = {}): string {
  const lines = lowerToStableHlo(program, options).split('\n');
  return lines
    .slice(2, -3)
    .map((line) => line.slice(4))
    .join('\n');
}

function lowered(fn: ArrayFunction, axes: readonly Axis[], dtype?: TensorDType): string {
  return mainOf(programOf(signatureTo(axes, dtype), (builder) => builder.traced(['x', 'y'], ['z'], fn)));
}

const column = (y: np.Array) => y.reshape([2, 1, 3]);

describe('the text of one rule', () => {
  it('writes elementwise operations on operands broadcast to the result', () => {
    expect(lowered((x, y) => [x.mul(column(y)).add(0.5)], ['B', 'N', 'M'])).toMatchInlineSnapshot(`
      "%v0 = stablehlo.broadcast_in_dim %y, dims = [0, 2] : (tensor<2x3xf32>) -> tensor<2x4x3xf32>
      %v1 = stablehlo.multiply %x, %v0 : tensor<2x4x3xf32>
      %v2 = stablehlo.constant dense<0.5> : tensor<f32>
      %v3 = stablehlo.broadcast_in_dim %v2, dims = [] : (tensor<f32>) -> tensor<2x4x3xf32>
      %v4 = stablehlo.add %v1, %v3 : tensor<2x4x3xf32>
      return %v4 : tensor<2x4x3xf32>"
    `);
  });

  it('writes operations of one operand below a transposition', () => {
    expect(lowered((x) => [np.exp(np.transpose(x, [0, 2, 1]))], ['B', 'M', 'N'])).toMatchInlineSnapshot(`
      "%v0 = stablehlo.exponential %x : tensor<2x4x3xf32>
      %v1 = stablehlo.transpose %v0, dims = [0, 2, 1] : (tensor<2x4x3xf32>) -> tensor<2x3x4xf32>
      return %v1 : tensor<2x3x4xf32>"
    `);
  });

  it('writes comparisons, selections and conversions', () => {
    expect(lowered((x, y) => [np.where(np.less(x.ref, column(y)), x, -Infinity)], ['B', 'N', 'M']))
      .toMatchInlineSnapshot(`
      "%v0 = stablehlo.broadcast_in_dim %y, dims = [0, 2] : (tensor<2x3xf32>) -> tensor<2x4x3xf32>
      %v1 = stablehlo.compare LT, %x, %v0, FLOAT : (tensor<2x4x3xf32>, tensor<2x4x3xf32>) -> tensor<2x4x3xi1>
      %v2 = stablehlo.constant dense<0xFF800000> : tensor<f32>
      %v3 = stablehlo.broadcast_in_dim %v2, dims = [] : (tensor<f32>) -> tensor<2x4x3xf32>
      %v4 = stablehlo.select %v1, %x, %v3 : tensor<2x4x3xi1>, tensor<2x4x3xf32>
      return %v4 : tensor<2x4x3xf32>"
    `);
    expect(lowered((x) => [np.notEqual(x.ref, x).astype(np.int32)], ['B', 'N', 'M'], 'int32')).toMatchInlineSnapshot(`
      "%v0 = stablehlo.compare NE, %x, %x, FLOAT : (tensor<2x4x3xf32>, tensor<2x4x3xf32>) -> tensor<2x4x3xi1>
      %v1 = stablehlo.convert %v0 : (tensor<2x4x3xi1>) -> tensor<2x4x3xi32>
      return %v1 : tensor<2x4x3xi32>"
    `);
  });

  it('reduces from the value that changes nothing', () => {
    expect(lowered((x) => [np.max(x.ref, 1).add(np.sum(x, 1))], ['B', 'M'])).toMatchInlineSnapshot(`
      "%v0 = stablehlo.constant dense<0xFF800000> : tensor<f32>
      %v1 = stablehlo.reduce(%x init: %v0) applies stablehlo.maximum across dimensions = [1] : (tensor<2x4x3xf32>, tensor<f32>) -> tensor<2x3xf32>
      %v2 = stablehlo.constant dense<0.0> : tensor<f32>
      %v3 = stablehlo.reduce(%x init: %v2) applies stablehlo.add across dimensions = [1] : (tensor<2x4x3xf32>, tensor<f32>) -> tensor<2x3xf32>
      %v4 = stablehlo.add %v1, %v3 : tensor<2x3xf32>
      return %v4 : tensor<2x3xf32>"
    `);
  });

  it('cuts long axes into whole parts only, where it cuts them at all', () => {
    for (const length of [33, 40, 64, 100, 128, 200, 256, 500, 509, 512, 768, 1000, 1024, 5120]) {
      const where = { batch: 2, agents: 4, tasks: length };
      const program = programOf(
        signatureTo(['B', 'N']),
        (builder) => builder.traced(['x', 'y'], ['z'], (x) => [np.sum(x, -1)]),
        where,
      );
      const text = mainOf(program, { forCpu: true });
      const shapes = [...text.matchAll(/tensor<([0-9x.]+)xf32>/g)].map(([, shape]) => shape!);
      expect(
        shapes.filter((shape) => /[.]|x0|^0/.test(shape)),
        `${length}`,
      ).toEqual([]);
      for (const [, from, to] of text.matchAll(/reshape %\w+ : \(tensor<([0-9x]+)xf32>\) -> tensor<([0-9x]+)xf32>/g)) {
        const [before, after] = [from!, to!].map((shape) =>
          shape.split('x').reduce((size, axis) => size * Number(axis), 1),
        );
        expect(after, `${length}: ${from} to ${to}`).toBe(before);
      }
    }
  });

  it('reduces what is longer than 256 in pieces of 256, whichever axes go', () => {
    const cut = (axis: number | number[]): string[] => {
      const program = programOf(
        signatureTo(axis === 1 ? ['B', 'M'] : axis === -1 ? ['B', 'N'] : ['B']),
        (builder) => builder.traced(['x'], ['z'], (x) => [np.sum(x, axis)]),
        { batch: 2, agents: 512, tasks: 768 },
      );
      return [...mainOf(program, { forCpu: true }).matchAll(/reshape %\w+ : \(\S+\) -> tensor<([0-9x]+)xf32>/g)].map(
        ([, shape]) => shape!,
      );
    };
    expect(cut(-1)).toEqual(['2x512x3x256', '2x512x3x16x16']);
    expect(cut(1)).toEqual(['2x2x256x768', '2x2x16x16x768']);
    expect(cut([1, 2])).toEqual(['2x2x256x3x256', '2x2x256x3x16x16', '2x2x16x16x3x16']);
  });

  it('multiplies matrices by the numbers of their axes', () => {
    expect(lowered((x) => [np.matmul(x.ref, np.matrixTranspose(x))], ['B', 'N', 'N'])).toMatchInlineSnapshot(`
      "%v0 = stablehlo.dot_general %x, %x, batching_dims = [0] x [0], contracting_dims = [2] x [2], precision = [HIGHEST, HIGHEST] : (tensor<2x4x3xf32>, tensor<2x4x3xf32>) -> tensor<2x4x4xf32>
      return %v0 : tensor<2x4x4xf32>"
    `);
  });

  it('exchanges the sides of a product where the vector comes first', () => {
    expect(lowered((x, y) => [np.matmul(column(y), np.matrixTranspose(x)).reshape([2, 4])], ['B', 'N']))
      .toMatchInlineSnapshot(`
      "%v0 = stablehlo.dot_general %x, %y, batching_dims = [0] x [0], contracting_dims = [2] x [1], precision = [HIGHEST, HIGHEST] : (tensor<2x4x3xf32>, tensor<2x3xf32>) -> tensor<2x4xf32>
      return %v0 : tensor<2x4xf32>"
    `);
  });

  it('multiplies where the summed axis has length 1', () => {
    expect(lowered((x, y) => [np.matmul(np.sum(x, 2).reshape([2, 4, 1]), column(y))], ['B', 'N', 'M']))
      .toMatchInlineSnapshot(`
      "%v0 = stablehlo.constant dense<0.0> : tensor<f32>
      %v1 = stablehlo.reduce(%x init: %v0) applies stablehlo.add across dimensions = [2] : (tensor<2x4x3xf32>, tensor<f32>) -> tensor<2x4xf32>
      %v2 = stablehlo.reshape %v1 : (tensor<2x4xf32>) -> tensor<2x4x1xf32>
      %v3 = stablehlo.reshape %y : (tensor<2x3xf32>) -> tensor<2x3x1xf32>
      %v4 = stablehlo.dot_general %v2, %v3, batching_dims = [0] x [0], contracting_dims = [2] x [2], precision = [HIGHEST, HIGHEST] : (tensor<2x4x1xf32>, tensor<2x3x1xf32>) -> tensor<2x4x3xf32>
      return %v4 : tensor<2x4x3xf32>"
    `);
  });

  it('moves elements only where a shape asks for it', () => {
    expect(lowered((x) => [np.transpose(x).reshape([2, 12])], ['B', 12])).toMatchInlineSnapshot(`
      "%v0 = stablehlo.transpose %x, dims = [2, 1, 0] : (tensor<2x4x3xf32>) -> tensor<3x4x2xf32>
      %v1 = stablehlo.reshape %v0 : (tensor<3x4x2xf32>) -> tensor<2x12xf32>
      return %v1 : tensor<2x12xf32>"
    `);
    expect(lowered((_x, y) => [np.broadcastTo(column(y), [2, 4, 3])], ['B', 'N', 'M'])).toMatchInlineSnapshot(`
      "%v0 = stablehlo.broadcast_in_dim %y, dims = [0, 2] : (tensor<2x3xf32>) -> tensor<2x4x3xf32>
      return %v0 : tensor<2x4x3xf32>"
    `);
  });

  it('slices, pads, flips and joins whole arrays', () => {
    expect(
      lowered(
        (x, y) => [
          np.concatenate(
            [
              np.flip(x, 2).slice([], [1, 3], []),
              np.pad(column(y), [
                [0, 0],
                [0, 1],
                [0, 0],
              ]),
            ],
            1,
          ),
        ],
        ['B', 'N', 'M'],
      ),
    ).toMatchInlineSnapshot(`
      "%v0 = stablehlo.reverse %x, dims = [2] : tensor<2x4x3xf32>
      %v1 = stablehlo.slice %v0 [0:2, 1:3, 0:3] : (tensor<2x4x3xf32>) -> tensor<2x2x3xf32>
      %v2 = stablehlo.reshape %y : (tensor<2x3xf32>) -> tensor<2x1x3xf32>
      %v3 = stablehlo.constant dense<0.0> : tensor<f32>
      %v4 = stablehlo.pad %v2, %v3, low = [0, 0, 0], high = [0, 1, 0], interior = [0, 0, 0] : (tensor<2x1x3xf32>, tensor<f32>) -> tensor<2x2x3xf32>
      %v5 = stablehlo.concatenate %v1, %v4, dim = 1 : (tensor<2x2x3xf32>, tensor<2x2x3xf32>) -> tensor<2x4x3xf32>
      return %v5 : tensor<2x4x3xf32>"
    `);
  });

  it('sorts rows upwards', () => {
    expect(lowered((x) => [np.sort(x, -1)], ['B', 'N', 'M'])).toMatchInlineSnapshot(`
      "%v0 = stablehlo.reshape %x : (tensor<2x4x3xf32>) -> tensor<8x3xf32>
      %v4 = "stablehlo.sort"(%v0) <{dimension = 1 : i64, is_stable = false}> ({
      ^bb0(%v1: tensor<f32>, %v2: tensor<f32>):
        %v3 = stablehlo.compare LT, %v1, %v2, TOTALORDER : (tensor<f32>, tensor<f32>) -> tensor<i1>
        stablehlo.return %v3 : tensor<i1>
      }) : (tensor<8x3xf32>) -> tensor<8x3xf32>
      %v5 = stablehlo.reshape %v4 : (tensor<8x3xf32>) -> tensor<2x4x3xf32>
      return %v5 : tensor<2x4x3xf32>"
    `);
    expect(lowered((x) => [np.argsort(x, -1)], ['B', 'N', 'M'], 'int32')).toMatchInlineSnapshot(`
      "%v0 = stablehlo.reshape %x : (tensor<2x4x3xf32>) -> tensor<8x3xf32>
      %v1 = stablehlo.iota dim = 1 : tensor<8x3xi32>
      %v7:2 = "stablehlo.sort"(%v0, %v1) <{dimension = 1 : i64, is_stable = true}> ({
      ^bb0(%v2: tensor<f32>, %v3: tensor<f32>, %v4: tensor<i32>, %v5: tensor<i32>):
        %v6 = stablehlo.compare LT, %v2, %v3, TOTALORDER : (tensor<f32>, tensor<f32>) -> tensor<i1>
        stablehlo.return %v6 : tensor<i1>
      }) : (tensor<8x3xf32>, tensor<8x3xi32>) -> (tensor<8x3xf32>, tensor<8x3xi32>)
      %v9 = stablehlo.reshape %v7#1 : (tensor<8x3xi32>) -> tensor<2x4x3xi32>
      return %v9 : tensor<2x4x3xi32>"
    `);
  });

  it('selects a window of sorted rows instead of sorting them, unless the rest is read too', () => {
    expect(lowered((x) => [np.sort(x, -1).slice([], [], [1, 2])], ['B', 'N', 1])).toMatchInlineSnapshot(`
      "%v0 = stablehlo.reshape %x : (tensor<2x4x3xf32>) -> tensor<8x3xf32>
      %v6 = stablehlo.negate %v0 : tensor<8x3xf32>
      %v7:2 = chlo.top_k(%v6, k = 2) : tensor<8x3xf32> -> (tensor<8x2xf32>, tensor<8x2xi32>)
      %v8 = stablehlo.negate %v7#0 : tensor<8x2xf32>
      %v9 = stablehlo.slice %v8 [0:8, 1:2] : (tensor<8x2xf32>) -> tensor<8x1xf32>
      %v10 = stablehlo.reshape %v9 : (tensor<8x1xf32>) -> tensor<2x4xf32>
      %v11 = stablehlo.reshape %v10 : (tensor<2x4xf32>) -> tensor<2x4x1xf32>
      return %v11 : tensor<2x4x1xf32>"
    `);
    const both = lowered(
      (x) => {
        const sorted = np.sort(x, -1);
        return [sorted.ref.slice([], [], [1, 2]).add(sorted)];
      },
      ['B', 'N', 'M'],
    );
    expect(both).toContain('stablehlo.sort');
    expect(both).not.toContain('chlo.top_k');
  });

  it('writes arrays that a function captured by their bytes', () => {
    const captured = Float32Array.of(1, -2, 0.5);
    expect(lowered((_x, y) => [y.add(np.array(captured))], ['B', 'M'])).toMatchInlineSnapshot(`
      "%v0 = stablehlo.constant dense<"0x0000803F000000C00000003F"> : tensor<3xf32>
      %v1 = stablehlo.broadcast_in_dim %v0, dims = [1] : (tensor<3xf32>) -> tensor<2x3xf32>
      %v2 = stablehlo.add %y, %v1 : tensor<2x3xf32>
      return %v2 : tensor<2x3xf32>"
    `);
  });
});

describe('the text of a stage', () => {
  const loop = (iterations: number) =>
    programOf(signatureTo(['B', 'M']), (builder) =>
      builder.loop(iterations, ['y'], ['x'], ['z'], (y, x) => [y.add(np.sum(x, 1))]),
    );

  it('writes a long loop as a while over a counter, and nothing that is not needed', () => {
    expect(mainOf(loop(1000))).toMatchInlineSnapshot(`
      "%v0 = stablehlo.constant dense<0> : tensor<i32>
      %v11:3 = stablehlo.while(%v1 = %v0, %v2 = %y, %v3 = %x) : tensor<i32>, tensor<2x3xf32>, tensor<2x4x3xf32>
      cond {
        %v4 = stablehlo.constant dense<1000> : tensor<i32>
        %v5 = stablehlo.compare LT, %v1, %v4, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
        stablehlo.return %v5 : tensor<i1>
      } do {
        %v6 = stablehlo.constant dense<0.0> : tensor<f32>
        %v7 = stablehlo.reduce(%v3 init: %v6) applies stablehlo.add across dimensions = [1] : (tensor<2x4x3xf32>, tensor<f32>) -> tensor<2x3xf32>
        %v8 = stablehlo.add %v2, %v7 : tensor<2x3xf32>
        %v9 = stablehlo.constant dense<1> : tensor<i32>
        %v10 = stablehlo.add %v1, %v9 : tensor<i32>
        stablehlo.return %v10, %v8, %v3 : tensor<i32>, tensor<2x3xf32>, tensor<2x4x3xf32>
      }
      return %v11#1 : tensor<2x3xf32>"
    `);
  });

  it('repeats the body of a short loop', () => {
    expect(mainOf(loop(2))).toMatchInlineSnapshot(`
      "%v0 = stablehlo.constant dense<0.0> : tensor<f32>
      %v1 = stablehlo.reduce(%x init: %v0) applies stablehlo.add across dimensions = [1] : (tensor<2x4x3xf32>, tensor<f32>) -> tensor<2x3xf32>
      %v2 = stablehlo.add %y, %v1 : tensor<2x3xf32>
      %v3 = stablehlo.add %v2, %v1 : tensor<2x3xf32>
      return %v3 : tensor<2x3xf32>"
    `);
    expect(mainOf(loop(2), { unrollLimit: 0 })).toContain('stablehlo.while');
    expect(mainOf(loop(1), { unrollLimit: 0 })).not.toContain('stablehlo.while');
  });

  it('takes the heaviest of each row by the operation whose ties go to the lower index', () => {
    const signature: Signature = {
      inputs: [tensor('x', ['B', 'N', 'M'])],
      outputs: [tensor('places', ['B', 'N', 2], 'int32'), tensor('values', ['B', 'N', 2])],
      parameters: [],
    };
    expect(mainOf(programOf(signature, (builder) => builder.topK('x', 2, 'values', 'places')))).toMatchInlineSnapshot(`
      "%v0 = stablehlo.reshape %x : (tensor<2x4x3xf32>) -> tensor<8x3xf32>
      %v1:2 = chlo.top_k(%v0, k = 2) : tensor<8x3xf32> -> (tensor<8x2xf32>, tensor<8x2xi32>)
      %v2 = stablehlo.reshape %v1#0 : (tensor<8x2xf32>) -> tensor<2x4x2xf32>
      %v3 = stablehlo.reshape %v1#1 : (tensor<8x2xi32>) -> tensor<2x4x2xi32>
      return %v3, %v2 : tensor<2x4x2xi32>, tensor<2x4x2xf32>"
    `);
  });
});

describe('a module', () => {
  it('takes small inputs out of one array of words and returns small results in one, where it is told to', () => {
    const signature: Signature = {
      inputs: [tensor('x', ['B', 'N', 'M']), tensor('ranks', ['B', 2], 'int32'), tensor('large', ['B', 'N', 9000])],
      outputs: [tensor('sum', ['B', 'N', 'M']), tensor('twice', ['B', 2], 'int32'), tensor('copy', ['B', 'N', 9000])],
      parameters: [],
    };
    const program = programOf(signature, (builder) => {
      builder.traced(['x'], ['sum'], (x) => [x.add(1)]);
      builder.traced(['ranks'], ['twice'], (ranks) => [ranks.add(ranks.ref)]);
      builder.traced(['large'], ['copy'], (large) => [large]);
    });
    expect(lowerToStableHlo(program, { bundled: true })).toMatchInlineSnapshot(`
      "module @program {
        func.func public @main(%bundle: tensor<28xi32>, %large: tensor<2x4x9000xf32>) -> (tensor<28xi32>, tensor<2x4x9000xf32>) {
          %v0 = stablehlo.slice %bundle [0:24] : (tensor<28xi32>) -> tensor<24xi32>
          %v1 = stablehlo.bitcast_convert %v0 : (tensor<24xi32>) -> tensor<24xf32>
          %v2 = stablehlo.reshape %v1 : (tensor<24xf32>) -> tensor<2x4x3xf32>
          %v3 = stablehlo.slice %bundle [24:28] : (tensor<28xi32>) -> tensor<4xi32>
          %v4 = stablehlo.reshape %v3 : (tensor<4xi32>) -> tensor<2x2xi32>
          %v5 = stablehlo.constant dense<1.0> : tensor<f32>
          %v6 = stablehlo.broadcast_in_dim %v5, dims = [] : (tensor<f32>) -> tensor<2x4x3xf32>
          %v7 = stablehlo.add %v2, %v6 : tensor<2x4x3xf32>
          %v8 = stablehlo.add %v4, %v4 : tensor<2x2xi32>
          %v9 = stablehlo.reshape %v7 : (tensor<2x4x3xf32>) -> tensor<24xf32>
          %v10 = stablehlo.bitcast_convert %v9 : (tensor<24xf32>) -> tensor<24xi32>
          %v11 = stablehlo.reshape %v8 : (tensor<2x2xi32>) -> tensor<4xi32>
          %v12 = stablehlo.concatenate %v10, %v11, dim = 0 : (tensor<24xi32>, tensor<4xi32>) -> tensor<28xi32>
          return %v12, %large : tensor<28xi32>, tensor<2x4x9000xf32>
        }
      }
      "
    `);
    expect(() => lowerToStableHlo(program, { bundled: true, partitions: 2 })).toThrow('bundled');
  });

  it('takes inputs and then weights and returns outputs, in the order of the signature and with all their axes', () => {
    const spec: ProgramSpec = {
      parameters: 'p',
      projection: { width: 5, kinds: 2 },
      utility: null,
      utilityOut: false,
      soft: null,
      consensus: null,
    };
    const text = lowerToStableHlo(buildProgram(spec, { batch: 1, agents: 16, tasks: 0 }));
    expect(text.split('\n').slice(0, 2)).toEqual([
      'module @program {',
      '  func.func public @main(%agents: tensor<1x16x5xf32>, %agent_mask: tensor<1x16xf32>, %resource_max: tensor<1x2xf32>, ' +
        '%budget: tensor<1x2xf32>, %projection_weight: tensor<5x2xf32>, %projection_bias: tensor<2xf32>) -> (tensor<1x16x2xf32>) {',
    ]);
    expect(text.split('\n').slice(-4)).toEqual([
      expect.stringMatching(/^ {4}return %v\d+ : tensor<1x16x2xf32>$/),
      '  }',
      '}',
      '',
    ]);
  });

  it('names a primitive that it has no rule for', () => {
    const refused = expect(() => lowered((x) => [np.sin(x)], ['B', 'N', 'M']));
    refused.toThrow(CoordinatorError);
    refused.toThrow('the StableHLO lowering has no rule for the primitive sin');
  });
});

describe('numbers', () => {
  it('are decimals that read back as the same float32, or its bits', () => {
    expect([0, -0, 1, 0.1, -1e-30, 1e21, 3.4e38, 2 ** -149].map((value) => elementText(value, 'float32'))).toEqual([
      '0.0',
      '-0.0',
      '1.0',
      '0.10000000149011612',
      '-1.0000000031710769e-30',
      '1.0000000200408773e+21',
      '3.3999999521443642e+38',
      '1.401298464324817e-45',
    ]);
    expect([Infinity, -Infinity, NaN].map((value) => elementText(value, 'float32'))).toEqual([
      '0x7F800000',
      '0xFF800000',
      '0x7FC00000',
    ]);
    expect([elementText(-3, 'int32'), elementText(1, 'bool'), elementText(0, 'bool')]).toEqual(['-3', 'true', 'false']);
  });

  it('of arrays are one element where all are equal, bytes where not, lists for booleans', () => {
    const float = { shape: [2], dtype: 'float32' } as const;
    expect(denseText(Float32Array.of(2, 2), float)).toBe('dense<2.0>');
    expect(denseText(Float32Array.of(0, -0), float)).toBe('dense<"0x0000000000000080">');
    expect(denseText(Int32Array.of(1, -1), { shape: [2], dtype: 'int32' })).toBe('dense<"0x01000000FFFFFFFF">');
    const bits = { shape: [2, 2], dtype: 'bool' } as const;
    expect(denseText(Uint8Array.of(1, 0, 0, 1), bits)).toBe('dense<[[true, false], [false, true]]>');
    expect([tensorType(bits), tensorType({ shape: [], dtype: 'int32' })]).toEqual(['tensor<2x2xi1>', 'tensor<i32>']);
  });
});

/** The default programs of both policies, and every kind of program beside them. */
function everySpec(): Record<string, ProgramSpec> {
  const specs: Record<string, ProgramSpec> = {};
  for (const policy of builtInPolicies()) {
    defaultSpecs(policy).forEach((spec, index) => (specs[`${policy.name} ${index}`] = spec));
  }
  const [base] = defaultSpecs(builtInPolicies()[1]!) as [ProgramSpec];
  const soft: SoftSpec = { ...base.soft!, iterations: 50, potentials: true };
  for (const form of ['scaling', 'log'] as const) {
    for (const slack of [false, true]) {
      for (const bias of [false, true]) {
        const name = `${form}${slack ? ', slack' : ''}${bias ? ', bias' : ''}, top-k`;
        specs[name] = { ...base, soft: { ...soft, form, slack, bias, plan: false, topK: 8 }, consensus: null };
      }
    }
  }
  specs['given'] = { ...base, utility: { source: 'given' }, utilityOut: false, soft: { ...soft, form: 'log' } };
  specs['distance'] = { ...base, utility: { source: 'distance', width: 64 }, soft: { ...soft, form: 'log', topK: 3 } };
  for (const start of ['MEAN', 'MEDOID'] as const) {
    const consensus = { source: 'responses', width: 16, iterations: 10, start } as const;
    specs[`group, ${start}`] = {
      parameters: '',
      projection: null,
      utility: null,
      utilityOut: false,
      soft: null,
      consensus,
    };
  }
  return specs;
}

const buckets: Bucket[] = [
  { batch: 1, agents: 16, tasks: 32 },
  { batch: 32, agents: 128, tasks: 128 },
  { batch: 1, agents: sizeLadder.at(-1)!, tasks: sizeLadder.at(-1)! },
];

const waysOfWriting: (PipelineOptions & StableHloOptions)[] = [
  {},
  { median: 'rank', layout: 'x', forCpu: true },
  { median: 'digits', layout: 'x', forCpu: true },
];

describe('every program', () => {
  for (const [name, spec] of Object.entries(everySpec())) {
    it(`has rules for all it does, multiplies in full precision and is the same text again: ${name}`, () => {
      for (const options of waysOfWriting) {
        for (const { batch, agents, tasks } of buckets) {
          const where = { batch, agents, tasks: spec.utility === null ? 0 : tasks };
          const text = lowerToStableHlo(buildProgram(spec, where, options), options);
          const products = text.split('\n').filter((line) => line.includes('stablehlo.dot'));
          expect(products.length).toBeGreaterThan(0);
          expect(products.filter((line) => !line.includes('precision = [HIGHEST, HIGHEST]'))).toEqual([]);
          expect(lowerToStableHlo(buildProgram(spec, where, options), options) === text).toBe(true);
          const signature = programSignature(spec);
          for (const tensor of [...signature.inputs, ...signature.parameters])
            expect(text).toContain(`%${tensor.name}: `);
          expectDefinedBeforeRead(text);
        }
      }
    });
  }

  it('with many iterations has a while', () => {
    const [base] = defaultSpecs(builtInPolicies()[1]!) as [ProgramSpec];
    const long = { ...base, consensus: null, soft: { ...base.soft!, iterations: 200 } };
    const text = lowerToStableHlo(buildProgram(long, buckets[1]!));
    expect(text.match(/stablehlo\.while/g)).toHaveLength(1);
    expect(text).toContain('dense<199> : tensor<i32>');
  });
});

/** Each value is written once and before it is read; a region reads its own values alone. */
function expectDefinedBeforeRead(text: string): void {
  const problems: string[] = [];
  const everything = new Set<string>();
  let scopes: Set<string>[] = [];
  const define = (name: string): void => {
    if (everything.has(name)) problems.push(`${name} is written twice`);
    everything.add(name);
    scopes.at(-1)!.add(name);
  };
  let loopNames: string[] = [];
  for (const line of text.split('\n')) {
    const main = /@main\((.*?)\) ->/.exec(line);
    const whileHead = /^ *(%v\d+)(?::\d+)? = stablehlo\.while\((.*?)\) :/.exec(line);
    const sortHead = /^ *\^bb0\((.*?)\):/.exec(line);
    const plain = /^ *(%v\d+)(?::\d+)? = (.*)$/.exec(line);
    const read = (operands: string): void => {
      for (const [name] of operands.matchAll(/%\w+/g)) {
        if (!scopes.at(-1)!.has(name)) problems.push(`${name} is read where nothing writes it: ${line}`);
      }
    };
    if (main !== null) {
      scopes = [new Set()];
      for (const [name] of main[1]!.matchAll(/%\w+/g)) define(name);
    } else if (whileHead !== null) {
      const bound = whileHead[2]!.split(', ').map((pair) => pair.split(' = ') as [string, string]);
      read(bound.map(([, start]) => start).join(' '));
      define(whileHead[1]!);
      loopNames = bound.map(([name]) => name);
      loopNames.forEach((name) => everything.add(name));
    } else if (line.trim() === 'cond {') {
      scopes.push(new Set(loopNames));
    } else if (line.trim() === '} do {') {
      scopes[scopes.length - 1] = new Set(loopNames);
    } else if (sortHead !== null) {
      scopes.push(new Set());
      for (const [name] of sortHead[1]!.matchAll(/%\w+/g)) define(name);
    } else if (/^ *\}/.test(line) && scopes.length > 1) {
      scopes.pop();
    } else if (plain !== null) {
      read(plain[2]!);
      define(plain[1]!);
    } else if (/^ *(stablehlo\.)?return /.test(line)) {
      read(line);
    }
  }
  expect(problems).toEqual([]);
}
