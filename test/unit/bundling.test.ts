import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bundled, bundlingOf, travellingShapes, unbundled } from '../../src/compiler/bundling.js';
import {
  type Axis,
  type Bucket,
  shapeIn,
  type TensorData,
  type TensorSignature,
} from '../../src/operators/signature.js';

const bucket: Bucket = { batch: 2, agents: 16, tasks: 32 };

function tensorOf(name: string, axes: readonly Axis[], dtype: TensorSignature['dtype'] = 'float32'): TensorSignature {
  return { name, axes, dtype, pad: 0 };
}

function lengthOf(tensor: TensorSignature, where: Bucket): number {
  return shapeIn(tensor, where).reduce((size, axis) => size * axis, 1);
}

const tensors = [
  tensorOf('states', ['B', 'N', 4]),
  tensorOf('large', ['B', 'N', 'M', 64]),
  tensorOf('ranks', ['B', 2], 'int32'),
  tensorOf('scale', ['B', 1]),
];

describe('tensors that travel together', () => {
  it('are the small ones, one after another without gaps; the others travel by themselves', () => {
    const bundling = bundlingOf(tensors, bucket);
    expect(bundling).toEqual({
      members: [
        { position: 0, dtype: 'float32', start: 0, length: 128 },
        { position: 2, dtype: 'int32', start: 128, length: 4 },
        { position: 3, dtype: 'float32', start: 132, length: 2 },
      ],
      words: 134,
      single: [1],
    });
    expect(travellingShapes(bundling, tensors, bucket)).toEqual([[134], [2, 16, 32, 64]]);
  });

  it('are never one alone', () => {
    const [states, large] = tensors as [TensorSignature, TensorSignature];
    expect(bundlingOf([large, states], bucket)).toEqual({ members: [], words: 0, single: [0, 1] });
    expect(travellingShapes(bundlingOf([large, states], bucket), [large, states], bucket)).toEqual([
      [2, 16, 32, 64],
      [2, 16, 4],
    ]);
    expect(bundlingOf([], bucket)).toEqual({ members: [], words: 0, single: [] });
  });

  it('are no more than what is copied on the event loop', () => {
    const many = Array.from({ length: 20 }, (_, index) => tensorOf(`t${index}`, ['B', 'N', 'M', 4]));
    const { members, words, single } = bundlingOf(many, bucket);
    expect(words).toBe(2 ** 16);
    expect(members).toHaveLength(16);
    expect(single).toEqual([16, 17, 18, 19]);
  });

  it('come back as they went, bit for bit, NaN and negative zero too', () => {
    const seed = 20261122;
    fc.assert(
      fc.property(
        fc.array(fc.record({ width: fc.integer({ min: 1, max: 9000 }), whole: fc.boolean() }), { maxLength: 12 }),
        fc.integer(),
        (sizes, start) => {
          const given = sizes.map(({ width, whole }, index) =>
            tensorOf(`t${index}`, ['B', width], whole ? 'int32' : 'float32'),
          );
          // Words of every kind: NaN with payloads, infinities, subnormal numbers.
          let word = start;
          const values = given.map((tensor): TensorData => {
            const words = Int32Array.from({ length: lengthOf(tensor, bucket) }, () => (word = (word * 69069 + 1) | 0));
            return tensor.dtype === 'int32' ? words : new Float32Array(words.buffer);
          });
          const bundling = bundlingOf(given, bucket);
          const travelled = bundled(bundling, values);
          expect(travelled.map(({ length }) => length)).toEqual(
            travellingShapes(bundling, given, bucket).map((shape) => shape.reduce((size, axis) => size * axis, 1)),
          );
          const back = unbundled(bundling, travelled);
          expect(back.map(({ constructor }) => constructor)).toEqual(values.map(({ constructor }) => constructor));
          const bits = ({ buffer, byteOffset, byteLength }: TensorData) => Buffer.from(buffer, byteOffset, byteLength);
          for (const [index, tensor] of back.entries()) expect(bits(tensor).equals(bits(values[index]!))).toBe(true);
        },
      ),
      { seed, numRuns: 50 },
    );
  });

  it('are not copied where they lie in order already', () => {
    const bundling = bundlingOf(tensors, bucket);
    const memory = new ArrayBuffer(4 * 134);
    const members = [
      new Float32Array(memory, 0, 128),
      new Int32Array(memory, 512, 4),
      new Float32Array(memory, 528, 2),
    ];
    const large = new Float32Array(lengthOf(tensors[1]!, bucket));
    const values = [members[0]!, large, members[1]!, members[2]!];
    const travelled = bundled(bundling, values);
    expect(travelled[0]!.buffer).toBe(memory);
    expect(travelled[1]).toBe(large);
    const apart = bundled(bundling, [members[0]!, large, members[1]!.slice(), members[2]!]);
    expect(apart[0]!.buffer).not.toBe(memory);
    expect(apart[0]).toEqual(travelled[0]);
  });
});
