/** Changes to an input: of its bytes, and of what it holds as a message in the wire format of protocol buffers. */
import { type Field, fieldsOf, messageOf } from './wire-fields.js';

/** Uniform in [0, 1). */
export type Random = () => number;

/** What random bytes would take too long to find. */
const texts = [
  '',
  'distance',
  'reference',
  'projecting',
  'bilinear',
  'a',
  'b',
  'a1',
  't1',
  '\u0000',
  'é',
  '\ud800',
].map((text) => Buffer.from(text));
const varints = [
  0,
  1,
  2,
  3,
  4,
  5,
  7,
  8,
  15,
  16,
  17,
  64,
  127,
  128,
  255,
  1000,
  1001,
  5120,
  5121,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
].map(BigInt);
const wideVarints = [...varints, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
const floats = [0, -0, 1, -1, 0.5, 1e-45, 1e15, 1.0001e15, -3e38, 3.4e38, Infinity, -Infinity, NaN];
const deepest = 4;

/** One to a few random changes; `other` is a second input to take parts from. At most `mostBytes` long. */
export function mutated(input: Uint8Array, other: Uint8Array, random: Random, mostBytes: number): Buffer {
  let bytes: Buffer = Buffer.from(input);
  const changes = 1 + Math.floor(random() ** 3 * 6);
  for (let i = 0; i < changes; i++) {
    bytes = random() < 0.6 ? messageChange(bytes, other, random) : byteChange(bytes, other, random);
  }
  return bytes.subarray(0, mostBytes);
}

function below(random: Random, count: number): number {
  return Math.floor(random() * count);
}

function oneOf<T>(random: Random, from: readonly T[]): T {
  return from[below(random, from.length)]!;
}

function byteChange(bytes: Buffer, other: Uint8Array, random: Random): Buffer {
  const at = below(random, bytes.length + 1);
  const length = 1 + below(random, 8);
  switch (below(random, 8)) {
    case 0: {
      if (at < bytes.length) bytes[at] = bytes[at]! ^ (1 << below(random, 8));
      return bytes;
    }
    case 1: {
      if (at < bytes.length) bytes[at] = oneOf(random, [0, 1, 127, 128, 255, below(random, 256)]);
      return bytes;
    }
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 3:
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.from(Array.from({ length }, () => below(random, 256))),
        bytes.subarray(at),
      ]);
    case 4:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + 4 * length), bytes.subarray(at)]);
    case 5: {
      if (at + 4 <= bytes.length) bytes.writeFloatLE(oneOf(random, floats), at);
      return bytes;
    }
    case 6: {
      if (at + 4 <= bytes.length) bytes.writeUInt32LE(Number(BigInt.asUintN(32, oneOf(random, varints))), at);
      return bytes;
    }
    default: {
      const from = below(random, other.length + 1);
      return Buffer.concat([bytes.subarray(0, at), other.subarray(from)]);
    }
  }
}

/** Changes a message at a random depth; the bytes as they are where they are no message. */
function messageChange(bytes: Buffer, other: Uint8Array, random: Random, depth = 0): Buffer {
  const fields = fieldsOf(bytes);
  if (fields === null) return depth === 0 ? byteChange(bytes, other, random) : bytes;
  const others = fieldsOf(other) ?? [];
  if (fields.length > 0 && depth < deepest && random() < 0.6) {
    const field = oneOf(random, fields);
    if (typeof field.value !== 'bigint') {
      const twin = others.find(({ number, value }) => number === field.number && typeof value !== 'bigint');
      const part = twin === undefined || typeof twin.value === 'bigint' ? Buffer.alloc(0) : twin.value;
      field.value = leafOrMessage(Buffer.from(field.value), part, random, depth + 1);
      return messageOf(fields);
    }
  }
  changeFields(fields, others, random);
  return messageOf(fields);
}

function leafOrMessage(value: Buffer, other: Uint8Array, random: Random, depth: number): Buffer {
  const draw = random();
  if (draw < 0.1) return Buffer.from(oneOf(random, texts));
  if (draw < 0.25 && value.length % 4 === 0 && value.length > 0) {
    value.writeFloatLE(oneOf(random, floats), 4 * below(random, value.length / 4));
    return value;
  }
  if (draw < 0.4) return byteChange(value, other, random);
  return messageChange(value, other, random, depth);
}

function changeFields(fields: Field[], others: readonly Field[], random: Random): void {
  const at = below(random, fields.length + 1);
  const field = fields[at];
  switch (below(random, 7)) {
    case 0:
      fields.splice(at, 1);
      return;
    case 1:
      if (field !== undefined) fields.splice(below(random, fields.length + 1), 0, { ...field });
      return;
    case 2:
      if (others.length > 0) fields.splice(at, 0, { ...oneOf(random, others) });
      return;
    case 3:
      fields.splice(at, 0, { number: 1 + below(random, 20), wire: 0, value: oneOf(random, wideVarints) });
      return;
    case 4:
      fields.splice(at, 0, { number: 1 + below(random, 20), wire: 2, value: Buffer.from(oneOf(random, texts)) });
      return;
    case 5:
      if (field !== undefined) field.number = 1 + below(random, 20);
      return;
    default:
      if (typeof field?.value === 'bigint') {
        field.value =
          random() < 0.5 ? oneOf(random, wideVarints) : BigInt.asUintN(64, field.value + (random() < 0.5 ? 1n : -1n));
      }
  }
}
