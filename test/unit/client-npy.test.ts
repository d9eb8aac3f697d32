import { describe, expect, it } from 'vitest';
import { encodeNpy, parseNpy } from '../../client/npy.js';

/** A .npy file as NumPy lays it out. */
function npy(dict: string, data: Uint8Array, version = 1): Uint8Array {
  const text = new TextEncoder().encode(`${dict}\n`);
  const length = version === 1 ? [text.length & 255, text.length >> 8] : [text.length & 255, text.length >> 8, 0, 0];
  return Uint8Array.from([0x93, ...new TextEncoder().encode('NUMPY'), version, 0, ...length, ...text, ...data]);
}

function header(descr: string, shape: string, fortran = 'False'): string {
  return `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }`;
}

function bytes(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

describe('reading .npy', () => {
  it('reads every dtype of the API, and in any version', () => {
    const cases: [string, ArrayBufferView, Float32Array | Float64Array | Int32Array | Uint8Array][] = [
      ['<f4', new Float32Array([1.5, -2, Infinity]), new Float32Array([1.5, -2, Infinity])],
      ['<f8', new Float64Array([1.5, 1e300, -0.1]), new Float64Array([1.5, 1e300, -0.1])],
      ['<f2', new Uint16Array([0x3c00, 0xc000, 0x7bff]), new Float32Array([1, -2, 65504])],
      ['<i4', new Int32Array([1, -2, 3]), new Int32Array([1, -2, 3])],
      ['<i8', new BigInt64Array([1n, -2n, 3n]), new Int32Array([1, -2, 3])],
      ['|u1', new Uint8Array([1, 2, 255]), new Uint8Array([1, 2, 255])],
      ['|b1', new Uint8Array([1, 0, 1]), new Uint8Array([1, 0, 1])],
    ];
    for (const version of [1, 2, 3]) {
      for (const [descr, stored, expected] of cases) {
        const read = parseNpy(npy(header(descr, '(3,)'), bytes(stored), version));
        expect(read).toEqual({ data: expected, shape: [3] });
      }
    }
  });

  it('turns column-major arrays of any rank into row-major ones', () => {
    const columnMajor = new Int32Array([0, 3, 1, 4, 2, 5]);
    expect(parseNpy(npy(header('<i4', '(2, 3)', 'True'), bytes(columnMajor)))).toEqual({
      data: new Int32Array([0, 1, 2, 3, 4, 5]),
      shape: [2, 3],
    });
    // [2,2,2]: element (i,j,k) stored at i + 2j + 4k holds 100i + 10j + k.
    const cube = Int32Array.from({ length: 8 }, (_, at) => 100 * (at & 1) + 10 * ((at >> 1) & 1) + (at >> 2));
    expect([...parseNpy(npy(header('<i4', '(2, 2, 2)', 'True'), bytes(cube))).data]).toEqual([
      0, 1, 10, 11, 100, 101, 110, 111,
    ]);
  });

  it('reads a file that does not start at an aligned address', () => {
    const file = npy(header('<f4', '(2, 1)'), bytes(new Float32Array([3, 4])));
    const memory = new Uint8Array(file.length + 1);
    memory.set(file, 1);
    expect([...parseNpy(memory.subarray(1)).data]).toEqual([3, 4]);
  });

  it('refuses with one line what it cannot read', () => {
    const one = bytes(new Float32Array([1]));
    const refusals: [Uint8Array, RegExp][] = [
      [new TextEncoder().encode('PK this is a zip'), /not a \.npy file/],
      [new Uint8Array(3), /not a \.npy file/],
      [npy(header('>f4', '(1,)'), one), /expected dtype <f4.*received >f4/],
      [npy(header('<c8', '(1,)'), one), /received <c8/],
      [npy("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }", one), /structured/],
      [npy(header('<f4', '(2,)'), one), /expected 8 bytes.*received 4/],
      [npy(header('<f4', '(1,)'), one, 9), /version 1 to 3, received 9/],
      [npy(header('<i8', '(1,)'), bytes(new BigInt64Array([1n << 40n]))), /fit in 32 bits/],
      [npy(header('<f4', '(1,)'), one).subarray(0, 20), /cut off/],
    ];
    for (const [file, message] of refusals) expect(() => parseNpy(file)).toThrow(message);
  });
});

describe('writing .npy', () => {
  it('is read back unchanged, with data at a multiple of 64 bytes', () => {
    for (const shape of [[6], [2, 3], [1, 2, 3]]) {
      const tensor = { data: new Float32Array([1, -2, 0.5, 3e38, NaN, -Infinity]), shape };
      const file = encodeNpy(tensor);
      expect(parseNpy(file)).toEqual(tensor);
      expect((file.length - 24) % 64).toBe(0);
    }
  });
});
