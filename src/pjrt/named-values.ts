/** Lists of named values: options of a client or topology on the way in, attributes and costs on the way out. */
import { namedValueTypes, structs } from './abi.js';
import { addressOf, readBytes, readInt64s, readText } from './native-memory.js';

/** Integers go as 64-bit ones. */
export type NamedValue = string | bigint | number | boolean | readonly number[];

const stride = structs.NamedValue.newestSize;
const {
  name: nameAt,
  nameSize: nameSizeAt,
  type: typeAt,
  value: valueAt,
  valueSize: valueSizeAt,
} = structs.NamedValue.offsets;

export interface NamedValueList {
  readonly memory: ArrayBuffer | null;
  readonly count: number;
  /** Memory that the list points to. Keep it with the list. */
  readonly kept: readonly unknown[];
}

/** `bigint` and whole numbers become int64, other numbers float32. */
export function encodeNamedValues(values: Readonly<Record<string, NamedValue>>): NamedValueList {
  const entries = Object.entries(values);
  if (entries.length === 0) return { memory: null, count: 0, kept: [] };
  const memory = new ArrayBuffer(entries.length * stride);
  const view = new DataView(memory);
  const kept: unknown[] = [];
  const keep = (bytes: ArrayBufferView): bigint => {
    kept.push(bytes);
    return addressOf(bytes);
  };
  const encoder = new TextEncoder();
  entries.forEach(([name, value], index) => {
    const at = index * stride;
    const nameBytes = encoder.encode(name);
    view.setBigUint64(at, BigInt(stride), true);
    view.setBigUint64(at + nameAt, keep(nameBytes), true);
    view.setBigUint64(at + nameSizeAt, BigInt(nameBytes.length), true);
    let valueSize = 1;
    let type: number;
    if (typeof value === 'string') {
      const text = encoder.encode(value);
      type = namedValueTypes.string;
      valueSize = text.length;
      view.setBigUint64(at + valueAt, keep(text), true);
    } else if (typeof value === 'boolean') {
      type = namedValueTypes.bool;
      view.setUint8(at + valueAt, value ? 1 : 0);
    } else if (typeof value === 'object') {
      type = namedValueTypes.int64List;
      valueSize = value.length;
      view.setBigUint64(at + valueAt, keep(BigInt64Array.from(value, BigInt)), true);
    } else if (typeof value === 'bigint' || Number.isSafeInteger(value)) {
      type = namedValueTypes.int64;
      view.setBigInt64(at + valueAt, BigInt(value), true);
    } else {
      type = namedValueTypes.float32;
      view.setFloat32(at + valueAt, value, true);
    }
    view.setInt32(at + typeAt, type, true);
    view.setBigUint64(at + valueSizeAt, BigInt(valueSize), true);
  });
  return { memory, count: entries.length, kept };
}

/** Copies a plugin's list. Integers come back as numbers. */
export function readNamedValues(address: bigint, count: number): Map<string, NamedValue> {
  const view = new DataView(readBytes(address, count * stride).buffer);
  const found = new Map<string, NamedValue>();
  for (let index = 0; index < count; index++) {
    const at = index * stride;
    const name = readText(view.getBigUint64(at + nameAt, true), Number(view.getBigUint64(at + nameSizeAt, true)));
    const valueSize = Number(view.getBigUint64(at + valueSizeAt, true));
    switch (view.getInt32(at + typeAt, true)) {
      case namedValueTypes.string:
        found.set(name, readText(view.getBigUint64(at + valueAt, true), valueSize));
        break;
      case namedValueTypes.int64:
        found.set(name, Number(view.getBigInt64(at + valueAt, true)));
        break;
      case namedValueTypes.int64List:
        found.set(name, readInt64s(view.getBigUint64(at + valueAt, true), valueSize));
        break;
      case namedValueTypes.float32:
        found.set(name, view.getFloat32(at + valueAt, true));
        break;
      case namedValueTypes.bool:
        found.set(name, view.getUint8(at + valueAt) !== 0);
        break;
      default: // a type added later
    }
  }
  return found;
}
