/** Element types as both sides name them. */
import { elementTypes } from './abi.js';

export type ElementType = keyof typeof elementTypes;
export type HostArray =
  | Uint8Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>;

/** Booleans are a byte each, 0 or 1. */
const arrays = {
  pred: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
} as const;

const names = new Map<number, ElementType>();
for (const name of Object.keys(elementTypes) as ElementType[]) names.set(elementTypes[name], name);

/** Throws where the number is a type that no operator of ours has. */
export function elementTypeOf(number: number): ElementType {
  const name = names.get(number);
  if (name === undefined)
    throw new RangeError(
      `element type: expected one of ${[...names.values()].join(', ')}, received PJRT type ${number}`,
    );
  return name;
}

/** The type that an array has unless said otherwise; `Uint8Array` is uint8, not pred. */
export function elementTypeOfArray(array: HostArray): ElementType {
  if (array instanceof Float32Array) return 'float32';
  if (array instanceof Int32Array) return 'int32';
  if (array instanceof Uint8Array) return 'uint8';
  if (array instanceof Int8Array) return 'int8';
  if (array instanceof Uint32Array) return 'uint32';
  if (array instanceof BigInt64Array) return 'int64';
  return 'float64';
}

export function elementBytes(type: ElementType): number {
  return arrays[type].BYTES_PER_ELEMENT;
}

export function elementCount(dims: readonly number[]): number {
  let count = 1;
  for (const dim of dims) count *= dim;
  return count;
}

/** A fresh array of `count` elements. */
export function newHostArray(type: ElementType, count: number): HostArray {
  return new arrays[type](count);
}
