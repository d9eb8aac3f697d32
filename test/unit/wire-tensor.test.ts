import { describe, expect, it } from 'vitest';
import { CoordinatorError } from '../../src/errors.js';
import type { TensorMessage } from '../../src/wire/messages.js';
import {
  bytesView,
  decodeBooleans,
  decodeFloats,
  decodeTensor,
  encodeTensor,
  floatsFromBytes,
  isGiven,
} from '../../src/wire/tensor.js';

const N = { name: 'N', max: 4 };
const d = { name: 'd', max: 3 };

function tensor(parts: Partial<TensorMessage>): TensorMessage {
  return { dtype: 'FLOAT32', shape: [], data: Buffer.alloc(0), values: [], ...parts };
}

function thrownBy(act: () => unknown): CoordinatorError {
  try {
    act();
  } catch (error) {
    if (error instanceof CoordinatorError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('decodeTensor', () => {
  it('reads aligned FLOAT32 without copying and misaligned FLOAT32 by copy', () => {
    const memory = new ArrayBuffer(32);
    for (let offset = 0; offset < 8; offset++) {
      const data = Buffer.from(memory, offset, 8);
      data.writeFloatLE(1.5, 0);
      data.writeFloatLE(-2, 4);
      const decoded = decodeTensor('t', tensor({ shape: ['2'], data })).data as Float32Array;
      expect(Array.from(decoded)).toEqual([1.5, -2]);
      expect(decoded.buffer === memory).toBe(offset % 4 === 0);
    }
  });

  it('narrows FLOAT64, beyond the range of float32 to infinities', () => {
    const data = Buffer.alloc(40);
    [0.1, 1e39, -1e39, NaN, 1e15].forEach((value, i) => data.writeDoubleLE(value, 8 * i));
    const decoded = decodeTensor('t', tensor({ dtype: 'FLOAT64', shape: ['5'], data })).data;
    expect(Array.from(decoded)).toEqual([Math.fround(0.1), Infinity, -Infinity, NaN, Math.fround(1e15)]);
  });

  it('reads FLOAT16 exactly: normal, subnormal, signed zero, infinities and NaN', () => {
    const halves = [0x3c00, 0xc000, 0x7bff, 0x0001, 0x83ff, 0x8000, 0x7c00, 0xfc00, 0x7e01, 0x3555];
    const data = Buffer.alloc(2 * halves.length);
    halves.forEach((half, i) => data.writeUInt16LE(half, 2 * i));
    const decoded = decodeTensor('t', tensor({ dtype: 'FLOAT16', shape: [String(halves.length)], data })).data;
    expect(Array.from(decoded)).toEqual([
      1,
      -2,
      65504,
      2 ** -24,
      -1023 * 2 ** -24,
      -0,
      Infinity,
      -Infinity,
      NaN,
      0.333251953125,
    ]);
  });

  it('reads INT32 and UINT8', () => {
    const data = Buffer.alloc(9);
    data.writeInt32LE(-7, 1);
    data.writeInt32LE(2147483647, 5);
    expect(decodeTensor('t', tensor({ dtype: 'INT32', shape: ['2'], data: data.subarray(1) })).data).toEqual(
      Int32Array.of(-7, 2147483647),
    );
    const bytes = decodeTensor('t', tensor({ dtype: 'UINT8', shape: ['3'], data: Buffer.of(0, 1, 255) })).data;
    expect(Array.from(bytes)).toEqual([0, 1, 255]);
  });

  it('takes values in place of data for every dtype', () => {
    for (const dtype of ['FLOAT32', 'FLOAT64', 'FLOAT16'] as const) {
      const { data } = decodeTensor('t', tensor({ dtype, shape: ['1', '2'], values: [0.5, -Infinity] }));
      expect(data).toEqual(Float32Array.of(0.5, -Infinity));
    }
    expect(decodeTensor('t', tensor({ dtype: 'INT32', shape: ['2'], values: [-1, 3] })).data).toEqual(
      Int32Array.of(-1, 3),
    );
    expect(decodeTensor('t', tensor({ dtype: 'UINT8', shape: ['2'], values: [1, 0] })).data).toEqual(
      Uint8Array.of(1, 0),
    );
  });

  it('counts a tensor without shape and data as not given', () => {
    expect(isGiven(null)).toBe(false);
    expect(isGiven(tensor({}))).toBe(false);
    expect(isGiven(tensor({ dtype: 'UINT8' }))).toBe(false);
    expect(isGiven(tensor({ shape: ['1'] }))).toBe(true);
    expect(isGiven(tensor({ values: [1] }))).toBe(true);
    expect(isGiven(tensor({ data: Buffer.of(1) }))).toBe(true);
  });

  const four = Buffer.alloc(4);
  it.each([
    [
      'an unknown dtype',
      { dtype: 9, shape: ['1'], data: four },
      'TENSOR_DTYPE',
      't: expected dtype FLOAT32, FLOAT64, FLOAT16, INT32 or UINT8, received 9',
    ],
    ['data without a shape', { data: four }, 'TENSOR_SHAPE', 't: expected shape [N,d], received []'],
    ['a wrong rank', { shape: ['1'], data: four }, 'TENSOR_SHAPE', 't: expected shape [N,d], received [1]'],
    [
      'a hostile rank',
      { shape: Array<string>(100_000).fill('1') },
      'TENSOR_SHAPE',
      't: expected shape [N,d], received 100000 dimensions',
    ],
    [
      'a zero dimension',
      { shape: ['0', '2'] },
      'TENSOR_SHAPE',
      't: expected a shape of dimensions of at least 1, received [0,2]',
    ],
    [
      'a negative dimension',
      { shape: ['2', '-3'] },
      'TENSOR_SHAPE',
      't: expected a shape of dimensions of at least 1, received [2,-3]',
    ],
    [
      'an enormous product',
      { shape: ['9223372036854775807', '9223372036854775807'] },
      'TENSOR_SHAPE',
      't: expected a shape of at most 20 elements, received [9223372036854775807,9223372036854775807]',
    ],
    [
      'a product beyond the limit',
      { shape: ['7', '3'], data: Buffer.alloc(84) },
      'TENSOR_SHAPE',
      't: expected a shape of at most 20 elements, received [7,3]',
    ],
    [
      'both data and values',
      { shape: ['1', '1'], data: four, values: [1] },
      'TENSOR_DATA',
      't: expected `data` or `values`, received both',
    ],
    [
      'neither data nor values',
      { shape: ['1', '1'] },
      'TENSOR_DATA',
      't: expected `data` or `values`, received neither',
    ],
    [
      'too few bytes',
      { shape: ['2', '1'], data: four },
      'TENSOR_DATA',
      't: expected 8 bytes for FLOAT32 [2,1], received 4',
    ],
    [
      'too many bytes',
      { dtype: 'FLOAT16', shape: ['1', '1'], data: four },
      'TENSOR_DATA',
      't: expected 2 bytes for FLOAT16 [1,1], received 4',
    ],
    [
      'too few values',
      { shape: ['2', '1'], values: [1] },
      'TENSOR_DATA',
      't: expected 2 values for shape [2,1], received 1',
    ],
    [
      'a fraction in an integer dtype',
      { dtype: 'INT32', shape: ['1', '2'], values: [1, 1.5] },
      'TENSOR_DATA',
      't.values[1]: expected a whole number from -2147483648 to 2147483647 (INT32), received 1.5',
    ],
    [
      'NaN in an integer dtype',
      { dtype: 'UINT8', shape: ['1', '1'], values: [NaN] },
      'TENSOR_DATA',
      't.values[0]: expected a whole number from 0 to 255 (UINT8), received NaN',
    ],
    [
      'an integer out of range',
      { dtype: 'UINT8', shape: ['1', '1'], values: [256] },
      'TENSOR_DATA',
      't.values[0]: expected a whole number from 0 to 255 (UINT8), received 256',
    ],
    [
      'a free dimension beyond its bucket',
      { shape: ['5', '1'], data: Buffer.alloc(20) },
      'SIZE_LIMIT',
      't: expected N of at most 4, received 5',
    ],
    [
      'a width beyond its bucket',
      { shape: ['1', '4'], data: Buffer.alloc(16) },
      'SIZE_LIMIT',
      't: expected d of at most 3, received 4',
    ],
  ] as const)('refuses %s', (_, parts, code, message) => {
    const error = thrownBy(() => decodeTensor('t', tensor(parts), { shape: [N, d], maxElements: 20 }));
    expect([error.code, error.message]).toEqual([code, message]);
    expect(error.violations[0]!.field.replace(/\.values.*/, '')).toBe('t');
  });

  it('refuses a length that another field demands otherwise', () => {
    const error = thrownBy(() => decodeTensor('t', tensor({ shape: ['3'], data: Buffer.alloc(12) }), { shape: [2] }));
    expect([error.code, error.message]).toEqual(['TENSOR_SHAPE', 't: expected shape [2], received [3]']);
  });
});

describe('fields of numbers and of booleans', () => {
  it('converts INT32 numbers and refuses UINT8', () => {
    const data = bytesView(Int32Array.of(1, -2));
    expect(decodeFloats('t', tensor({ dtype: 'INT32', shape: ['1', '2'], data }), { shape: [N, d] }).data).toEqual(
      Float32Array.of(1, -2),
    );
    const error = thrownBy(() => decodeFloats('t', tensor({ dtype: 'UINT8', shape: ['1'], values: [1] }), {}));
    expect([error.code, error.message]).toEqual([
      'TENSOR_DTYPE',
      't: expected dtype FLOAT32, FLOAT64, FLOAT16 or INT32, received UINT8',
    ]);
  });

  it('takes booleans as UINT8 alone', () => {
    const error = thrownBy(() => decodeBooleans('t', tensor({ shape: ['1'], values: [1] }), {}));
    expect([error.code, error.message]).toEqual(['TENSOR_DTYPE', 't: expected dtype UINT8, received FLOAT32']);
  });
});

describe('encodeTensor', () => {
  it("sends the array's own memory", () => {
    const backing = Float32Array.of(9, 1, 2, 9);
    const message = encodeTensor(backing.subarray(1, 3), [2, 1]);
    expect(message).toMatchObject({ dtype: 'FLOAT32', shape: ['2', '1'], values: [] });
    backing[1] = 7;
    expect(Buffer.from(message.data).readFloatLE(0)).toBe(7);
  });

  it('sends values instead where asked, with the dtype of the array', () => {
    const message = encodeTensor(Int32Array.of(3, -1), [2], true);
    expect(message).toEqual({ dtype: 'INT32', shape: ['2'], data: new Uint8Array(0), values: [3, -1] });
  });
});

describe('floatsFromBytes', () => {
  it('reads BFLOAT16 as the upper half of a float32', () => {
    const data = Buffer.alloc(7);
    [0x3f80, 0xc040, 0x7f80].forEach((half, i) => data.writeUInt16LE(half, 1 + 2 * i));
    expect(Array.from(floatsFromBytes('BFLOAT16', data.subarray(1)))).toEqual([1, -3, Infinity]);
  });
});
