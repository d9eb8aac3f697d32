/** NumPy's .npy files: read versions 1 to 3 in either order, write version 1. Little-endian only, as all of the API. */
import { floatsFromBytes } from '../src/wire/tensor.js';
import type { TensorInput } from './request.js';

/** The file is not one we can read; the message says what was expected and found. */
export class NpyError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'NpyError';
  }
}

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
const readable = '<f4, <f8, <f2, <i4, <i8, |u1 or |b1';

interface Kind {
  readonly bytes: number;
  read(view: DataView, at: number): number;
  make(count: number): TensorInput['data'];
}

const kinds: Readonly<Record<string, Kind>> = {
  '<f4': { bytes: 4, read: (view, at) => view.getFloat32(at, true), make: (count) => new Float32Array(count) },
  '<f8': { bytes: 8, read: (view, at) => view.getFloat64(at, true), make: (count) => new Float64Array(count) },
  '<f2': { bytes: 2, read: readHalf, make: (count) => new Float32Array(count) },
  '<i4': { bytes: 4, read: (view, at) => view.getInt32(at, true), make: (count) => new Int32Array(count) },
  '<i8': { bytes: 8, read: readLong, make: (count) => new Int32Array(count) },
  '|u1': { bytes: 1, read: (view, at) => view.getUint8(at), make: (count) => new Uint8Array(count) },
  '|b1': { bytes: 1, read: (view, at) => view.getUint8(at), make: (count) => new Uint8Array(count) },
};

function readHalf(view: DataView, at: number): number {
  return floatsFromBytes('FLOAT16', new Uint8Array(view.buffer, view.byteOffset + at, 2))[0]!;
}

/** NumPy's default integer; the API's is int32. */
function readLong(view: DataView, at: number): number {
  const value = Number(view.getBigInt64(at, true));
  if (value !== Math.trunc(value) || value < -2_147_483_648 || value > 2_147_483_647) {
    throw new NpyError(`expected whole numbers that fit in 32 bits, received ${value}`);
  }
  return value;
}

/**
 * Reads a whole file into row-major order: floats of 16 and 32 bits as float32, of 64 as float64, integers as int32,
 * bytes and booleans as uint8.
 *
 * @throws NpyError
 */
export function parseNpy(bytes: Uint8Array): TensorInput {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { text, dataAt } = header(bytes, view);
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(text)?.[1];
  const kind = descr === undefined ? undefined : kinds[descr];
  if (kind === undefined) {
    throw new NpyError(`expected dtype ${readable}, received ${descr ?? 'a structured one'}`);
  }
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(text)?.[1];
  const shapeText = /'shape'\s*:\s*\(([\d,\sL]*)\)/.exec(text)?.[1];
  if (fortran === undefined || shapeText === undefined) throw new NpyError('the header lacks fortran_order or shape');
  const shape = shapeText
    .split(',')
    .map((part) => part.trim().replace('L', ''))
    .filter((part) => part !== '')
    .map(Number);
  const count = shape.reduce((product, length) => product * length, 1);
  if (count * kind.bytes !== bytes.length - dataAt) {
    throw new NpyError(
      `expected ${count * kind.bytes} bytes for shape (${shape.join(', ')}) of ${descr ?? ''}, received ${bytes.length - dataAt}`,
    );
  }
  const data = kind.make(count);
  const place = fortran === 'True' ? fromColumnMajor(shape) : null;
  for (let i = 0; i < count; i += 1) data[place === null ? i : place(i)] = kind.read(view, dataAt + i * kind.bytes);
  return { data, shape };
}

function header(bytes: Uint8Array, view: DataView): { readonly text: string; readonly dataAt: number } {
  if (bytes.length < 10 || magic.some((byte, i) => bytes[i] !== byte)) throw new NpyError('not a .npy file');
  const version = bytes[6]!;
  if (version < 1 || version > 3) throw new NpyError(`expected .npy version 1 to 3, received ${version}`);
  const lengthBytes = version === 1 ? 2 : 4;
  const textAt = 8 + lengthBytes;
  if (bytes.length < textAt) throw new NpyError('the header is cut off');
  const dataAt = textAt + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (dataAt > bytes.length) throw new NpyError('the header is cut off');
  return { text: new TextDecoder('latin1').decode(bytes.subarray(textAt, dataAt)), dataAt };
}

/** Row-major place of the i-th number of a column-major array. */
function fromColumnMajor(shape: readonly number[]): (i: number) => number {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, length) => product * length, 1));
  return (i) => {
    let rest = i;
    let place = 0;
    for (let axis = 0; axis < shape.length; axis += 1) {
      place += (rest % shape[axis]!) * strides[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    return place;
  };
}

/** A version 1 file that NumPy loads, its data 64-byte aligned. */
export function encodeNpy(tensor: {
  readonly data: Float32Array | Int32Array;
  readonly shape: readonly number[];
}): Uint8Array {
  const { data, shape } = tensor;
  const descr = data instanceof Float32Array ? '<f4' : '<i4';
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const headerLength = Math.ceil((10 + dict.length + 1) / 64) * 64 - 10;
  const file = new Uint8Array(10 + headerLength + data.byteLength);
  file.set(magic);
  file.set([1, 0, headerLength & 255, headerLength >> 8], 6);
  file.set(new TextEncoder().encode(`${dict.padEnd(headerLength - 1)}\n`), 10);
  const view = new DataView(file.buffer, 10 + headerLength);
  for (let i = 0; i < data.length; i += 1) {
    if (data instanceof Float32Array) view.setFloat32(4 * i, data[i]!, true);
    else view.setInt32(4 * i, data[i]!, true);
  }
  return file;
}
