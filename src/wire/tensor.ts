/**
 * Tensor messages to typed arrays and back. This is the only file that knows about byte offsets, alignment and byte
 * order: `data` on the wire is little-endian and row-major, and a bytes field is 4-byte aligned one time in four.
 */
import { CoordinatorError } from '../errors.js';
import { type DTypeName, enumNames, type SentTensor, type TensorMessage } from './messages.js';

if (new Uint8Array(new Uint32Array([1]).buffer)[0] !== 1) {
  throw new Error('tensor-consensus needs a little-endian machine');
}

export type FloatDType = 'FLOAT32' | 'FLOAT64' | 'FLOAT16' | 'BFLOAT16';

export interface DecodedTensor {
  readonly shape: readonly number[];
  /** FLOAT32, FLOAT64 and FLOAT16 as Float32Array, INT32 as Int32Array, UINT8 as Uint8Array. Never written to: it may be a view of the message. */
  readonly data: Float32Array | Int32Array | Uint8Array;
}

export interface FloatTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A length that is demanded (a number), or one that is free up to the largest that the service takes. */
export type Dimension = number | { readonly name: string; readonly max: number };

export interface TensorExpectation {
  /** Absent: any shape. */
  readonly shape?: readonly Dimension[];
  /** Most elements that a tensor may have. Absent: no limit but its own bytes. */
  readonly maxElements?: number;
}

const bytesOf: Readonly<Record<DTypeName, number>> = { FLOAT32: 4, FLOAT64: 8, FLOAT16: 2, INT32: 4, UINT8: 1 };

/** No field of this API has more axes; checked before a hostile shape is walked. */
const largestRank = 8;

/** Whether the field counts as given: an empty message does not. */
export function isGiven(message: TensorMessage | null | undefined): message is TensorMessage {
  return message != null && (message.shape.length > 0 || message.data.length > 0 || message.values.length > 0);
}

/**
 * Checks and reads one tensor; `field` is its path in proto names. The data is a view of the message where dtype and
 * alignment allow it, else a copy. FLOAT64 beyond float32's range becomes infinite; nothing else is said about values.
 *
 * @throws CoordinatorError TENSOR_DTYPE, TENSOR_SHAPE, TENSOR_DATA; SIZE_LIMIT where a well-formed tensor has a free
 *   dimension beyond its maximum. No memory is taken before the length of the data is known to match.
 */
export function decodeTensor(
  field: string,
  message: TensorMessage,
  expectation: TensorExpectation = {},
): DecodedTensor {
  const { shape, count, dtype } = measure(field, message, expectation);
  if (message.values.length > 0) return { shape, data: fromValues(field, message.values, dtype) };
  switch (dtype) {
    case 'INT32':
      return { shape, data: aligned(Int32Array, message.data, count) };
    case 'UINT8':
      return { shape, data: aligned(Uint8Array, message.data, count) };
    case 'FLOAT32':
    case 'FLOAT64':
    case 'FLOAT16':
      return { shape, data: floatsFromBytes(dtype, message.data) };
  }
}

/** A tensor of numbers as float32; INT32 is converted, UINT8 (boolean) is refused with TENSOR_DTYPE. Throws as `decodeTensor` does. */
export function decodeFloats(field: string, message: TensorMessage, expectation: TensorExpectation): FloatTensor {
  if (message.dtype === 'UINT8') {
    throw CoordinatorError.field('TENSOR_DTYPE', field, 'dtype FLOAT32, FLOAT64, FLOAT16 or INT32', 'UINT8');
  }
  const { shape, data } = decodeTensor(field, message, expectation);
  return { shape, data: data instanceof Float32Array ? data : new Float32Array(data) };
}

/** A tensor of booleans, any non-zero byte being true; every dtype but UINT8 is refused with TENSOR_DTYPE. Throws as `decodeTensor` does. */
export function decodeBooleans(field: string, message: TensorMessage, expectation: TensorExpectation): Uint8Array {
  if (message.dtype !== 'UINT8') {
    throw CoordinatorError.field('TENSOR_DTYPE', field, 'dtype UINT8', String(message.dtype));
  }
  return decodeTensor(field, message, expectation).data as Uint8Array;
}

/**
 * A message whose `data` is the array's own memory (not copied: the array must not change until it is sent), or whose
 * `values` are its numbers. The dtype is that of the array.
 */
export function encodeTensor(
  data: Float32Array | Int32Array | Uint8Array,
  shape: readonly number[],
  outputValues = false,
): TensorMessage {
  return {
    dtype: data instanceof Float32Array ? 'FLOAT32' : data instanceof Int32Array ? 'INT32' : 'UINT8',
    shape: shape.map(String),
    data: outputValues ? noBytes : bytesView(data),
    values: outputValues ? numbersOf(data) : [],
  };
}

/** The same message as the encoder of answers takes it. */
export function sentTensor(
  data: Float32Array | Int32Array | Uint8Array,
  shape: readonly number[],
  outputValues: boolean,
): SentTensor {
  return {
    dtype: data instanceof Float32Array ? float32 : data instanceof Int32Array ? int32 : uint8,
    shape,
    data: outputValues ? noBytes : bytesView(data),
    values: outputValues ? numbersOf(data) : [],
  };
}

const [float32, int32, uint8] = (['FLOAT32', 'INT32', 'UINT8'] as const).map((name) =>
  enumNames.DType.indexOf(name),
) as [number, number, number];
const noBytes: Uint8Array = new Uint8Array(0);

/** The elements as a plain array, as the loader demands repeated fields. (Array.from walks an iterator: many times slower.) */
export function numbersOf(data: Float32Array | Int32Array | Uint8Array): number[] {
  const numbers = new Array<number>(data.length);
  for (let i = 0; i < data.length; i++) numbers[i] = data[i]!;
  return numbers;
}

/** The memory of a typed array, as little-endian bytes; not copied. */
export function bytesView(data: Float32Array | Int32Array | Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

/** Little-endian floats as float32: a view where FLOAT32 is aligned, else a copy. The length must be a multiple of the element's. */
export function floatsFromBytes(dtype: FloatDType, bytes: Uint8Array): Float32Array {
  switch (dtype) {
    case 'FLOAT32':
      return aligned(Float32Array, bytes, bytes.length / 4);
    case 'FLOAT64':
      return new Float32Array(aligned(Float64Array, bytes, bytes.length / 8));
    case 'FLOAT16':
      return halvesToFloats(aligned(Uint16Array, bytes, bytes.length / 2));
    case 'BFLOAT16': {
      const floats = new Float32Array(bytes.length / 2);
      const halves = new Uint16Array(floats.buffer);
      const source = aligned(Uint16Array, bytes, floats.length);
      // The upper half of a float32.
      for (let i = 0; i < source.length; i++) halves[2 * i + 1] = source[i]!;
      return floats;
    }
  }
}

interface ArrayConstructor<T> {
  new (buffer: ArrayBufferLike, byteOffset?: number, length?: number): T;
  readonly BYTES_PER_ELEMENT: number;
}

/** A view of `count` elements at the start of `bytes`, or a copy where the memory is not aligned for one. */
function aligned<T>(constructor: ArrayConstructor<T>, bytes: Uint8Array, count: number): T {
  if (bytes.byteOffset % constructor.BYTES_PER_ELEMENT === 0) {
    return new constructor(bytes.buffer, bytes.byteOffset, count);
  }
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return new constructor(copy.buffer, 0, count);
}

/** IEEE 754 binary16: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits. */
function halvesToFloats(halves: Uint16Array): Float32Array {
  const floats = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    let value: number;
    if (exponent === 0) value = fraction * 2 ** -24;
    else if (exponent === 31) value = fraction === 0 ? Infinity : NaN;
    else value = (1 + fraction / 1024) * halfPowers[exponent]!;
    floats[i] = half & 0x8000 ? -value : value;
  }
  return floats;
}

const halfPowers = Float64Array.from({ length: 32 }, (_, exponent) => 2 ** (exponent - 15));

interface Measured {
  readonly shape: number[];
  readonly count: number;
  readonly dtype: DTypeName;
}

/** Everything that can be checked without touching the data. */
function measure(field: string, message: TensorMessage, { shape: expected, maxElements }: TensorExpectation): Measured {
  const { dtype, data, values } = message;
  if (typeof dtype === 'number') {
    throw CoordinatorError.field(
      'TENSOR_DTYPE',
      field,
      'dtype FLOAT32, FLOAT64, FLOAT16, INT32 or UINT8',
      String(dtype),
    );
  }
  const rank = message.shape.length;
  if (rank === 0 || rank > largestRank || (expected !== undefined && rank !== expected.length)) {
    const wanted = expected === undefined ? `1 to ${largestRank} dimensions` : `shape ${describe(expected)}`;
    throw CoordinatorError.field('TENSOR_SHAPE', field, wanted, shapeText(message.shape));
  }
  const shape: number[] = [];
  let count = 1;
  for (const text of message.shape) {
    const length = Number(text);
    if (!(Number.isInteger(length) && length >= 1)) {
      throw CoordinatorError.field(
        'TENSOR_SHAPE',
        field,
        'a shape of dimensions of at least 1',
        shapeText(message.shape),
      );
    }
    shape.push(length);
    // May be inexact or infinite beyond 2^53, which every comparison below still tells apart from a real length.
    count *= length;
  }
  if (maxElements !== undefined && count > maxElements) {
    throw CoordinatorError.field(
      'TENSOR_SHAPE',
      field,
      `a shape of at most ${maxElements} elements`,
      shapeText(message.shape),
    );
  }
  if (data.length > 0 && values.length > 0) {
    throw CoordinatorError.field('TENSOR_DATA', field, '`data` or `values`', 'both');
  }
  if (values.length > 0) {
    if (values.length !== count) {
      throw CoordinatorError.field(
        'TENSOR_DATA',
        field,
        `${count} values for shape ${shapeText(message.shape)}`,
        String(values.length),
      );
    }
  } else if (data.length !== count * bytesOf[dtype]) {
    if (data.length === 0) throw CoordinatorError.field('TENSOR_DATA', field, '`data` or `values`', 'neither');
    throw CoordinatorError.field(
      'TENSOR_DATA',
      field,
      `${count * bytesOf[dtype]} bytes for ${dtype} ${shapeText(message.shape)}`,
      String(data.length),
    );
  }
  if (expected !== undefined) checkDimensions(field, shape, expected);
  return { shape, count, dtype };
}

function checkDimensions(field: string, shape: readonly number[], expected: readonly Dimension[]): void {
  for (let i = 0; i < shape.length; i++) {
    const dimension = expected[i]!;
    if (typeof dimension === 'number' && shape[i] !== dimension) {
      throw CoordinatorError.field('TENSOR_SHAPE', field, `shape ${describe(expected)}`, shapeText(shape));
    }
  }
  for (let i = 0; i < shape.length; i++) {
    const dimension = expected[i]!;
    if (typeof dimension !== 'number' && shape[i]! > dimension.max) {
      const limit = `${dimension.name} of at most ${dimension.max}`;
      throw CoordinatorError.field('SIZE_LIMIT', field, limit, String(shape[i]));
    }
  }
}

function describe(expected: readonly Dimension[]): string {
  return `[${expected.map((dimension) => (typeof dimension === 'number' ? dimension : dimension.name)).join(',')}]`;
}

function shapeText(shape: readonly (string | number)[]): string {
  return shape.length > largestRank ? `${shape.length} dimensions` : `[${shape.join(',')}]`;
}

function fromValues(
  field: string,
  values: readonly number[],
  dtype: DTypeName,
): Float32Array | Int32Array | Uint8Array {
  if (dtype !== 'INT32' && dtype !== 'UINT8') return new Float32Array(values);
  const low = dtype === 'INT32' ? -2147483648 : 0;
  const high = dtype === 'INT32' ? 2147483647 : 255;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!(Number.isInteger(value) && value >= low && value <= high)) {
      const wanted = `a whole number from ${low} to ${high} (${dtype})`;
      throw CoordinatorError.field('TENSOR_DATA', `${field}.values[${i}]`, wanted, String(value));
    }
  }
  return dtype === 'INT32' ? new Int32Array(values) : new Uint8Array(values);
}
