import { describe, expect, it } from 'vitest';
import { readSafetensors, SafetensorsError, writeSafetensors } from '../../src/policies/safetensors.js';

/** A file with any header and data. */
function file(header: unknown, data: Uint8Array = new Uint8Array(0), claimedLength?: bigint): Uint8Array {
  const text =
    header instanceof Uint8Array ? header : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(claimedLength ?? BigInt(text.length));
  return Buffer.concat([prefix, text, data]);
}

const f32 = (shape: number[], begin: number, end: number) => ({ dtype: 'F32', shape, data_offsets: [begin, end] });

describe('safetensors', () => {
  it('reads what it writes', () => {
    const tensors = new Map([
      ['a.weight', { shape: [2, 2], data: Float32Array.of(1, -2, 0.5, 1e30) }],
      ['b', { shape: [3], data: Float32Array.of(7, 8, 9) }],
    ]);
    const metadata = new Map([['version', '4 é']]);
    const written = writeSafetensors(tensors, metadata);
    expect(readSafetensors(written)).toEqual({ tensors, metadata });
    expect((written.length - 28) % 8).toBe(0);
  });

  it('reads tensors at any byte offset of memory', () => {
    const written = writeSafetensors(new Map([['a', { shape: [2], data: Float32Array.of(1, 2) }]]));
    for (let offset = 0; offset < 4; offset++) {
      const memory = new Uint8Array(written.length + offset);
      memory.set(written, offset);
      expect(readSafetensors(memory.subarray(offset)).tensors.get('a')!.data).toEqual(Float32Array.of(1, 2));
    }
  });

  it('reads F64, F16 and BF16 as float32', () => {
    const data = Buffer.alloc(12);
    data.writeDoubleLE(0.1, 0);
    data.writeUInt16LE(0x3c00, 8);
    data.writeUInt16LE(0xc040, 10);
    const header = {
      d: { dtype: 'F64', shape: [], data_offsets: [0, 8] },
      h: { dtype: 'F16', shape: [1], data_offsets: [8, 10] },
      b: { dtype: 'BF16', shape: [1, 1], data_offsets: [10, 12] },
    };
    const { tensors } = readSafetensors(file(header, data));
    expect([...tensors.values()].map((tensor) => tensor.data[0])).toEqual([Math.fround(0.1), 1, -3]);
  });

  const eight = new Uint8Array(8);
  it.each([
    ['too short a file', Buffer.from('{}'), '2 bytes are no safetensors file'],
    ['a header beyond the file', file('{}', eight, 11n), 'the header says 11 bytes, the file has 10 after it'],
    [
      'a header of 2^63 bytes',
      file('{}', eight, 2n ** 63n),
      'the header says 9223372036854775808 bytes, the file has 10 after it',
    ],
    ['a header that is not JSON', file('{"a":'), 'the header is not JSON'],
    ['a header that is not UTF-8', file(Buffer.of(0x22, 0xff, 0x22)), 'the header is not JSON'],
    ['a header that is a list', file([]), 'the header is not a JSON object'],
    ['metadata that is not text', file({ __metadata__: { version: 3 } }), 'metadata "version" is not a string'],
    ['metadata that is no object', file({ __metadata__: 'x' }), 'the metadata is not a JSON object'],
    ['a tensor that is no object', file({ a: 3 }), 'tensor "a" is not described by a JSON object'],
    [
      'another dtype',
      file({ a: { dtype: 'I64', shape: [1], data_offsets: [0, 8] } }, eight),
      'tensor "a" has dtype "I64"; F32, F64, F16 and BF16 are read',
    ],
    [
      'a dtype of the prototype',
      file({ a: { dtype: 'toString', shape: [1], data_offsets: [0, 8] } }, eight),
      'tensor "a" has dtype "toString"; F32, F64, F16 and BF16 are read',
    ],
    ['a negative dimension', file({ a: f32([-1, -2], 0, 8) }, eight), 'tensor "a" has no valid shape'],
    ['offsets that go back', file({ a: f32([2], 8, 0) }, eight), 'tensor "a" has no valid data_offsets'],
    ['a fractional offset', file({ a: f32([2], 0.5, 8.5) }, eight), 'tensor "a" has no valid data_offsets'],
    ['a length that does not match', file({ a: f32([3], 0, 8) }, eight), 'tensor "a" has 8 bytes where [3] takes 12'],
    ['offsets beyond the file', file({ a: f32([3], 0, 12) }, eight), 'tensor "a" ends at 12 of 8 data bytes'],
    [
      'a truncated file',
      file({ a: f32([1000000000], 0, 4000000000) }, eight),
      'tensor "a" ends at 4000000000 of 8 data bytes',
    ],
    [
      'overlapping tensors',
      file({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, eight),
      'tensor "b" overlaps the one before it',
    ],
    ['a gap', file({ a: f32([1], 4, 8) }, eight), '4 bytes before tensor "a" belong to none'],
    ['a tail', file({ a: f32([1], 0, 4) }, eight), '4 bytes at the end belong to no tensor'],
    ['NaN', file({ a: f32([2], 0, 8) }, new Uint8Array(Float32Array.of(1, NaN).buffer)), 'tensor "a" holds NaN at 1'],
    [
      'a number beyond float32',
      file({ a: { dtype: 'F64', shape: [1], data_offsets: [0, 8] } }, new Uint8Array(Float64Array.of(1e300).buffer)),
      'tensor "a" holds Infinity at 0',
    ],
  ] as [string, Uint8Array, string][])('refuses %s', (_, bytes, message) => {
    expect(() => readSafetensors(bytes)).toThrow(new SafetensorsError(message));
  });
});
