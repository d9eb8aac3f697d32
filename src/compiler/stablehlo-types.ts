/** Types and numbers as MLIR writes them. Every finite float32 is written in decimal, exactly; the others by their bits. */
import type { ArrayType, Constant, DType } from './primitives.js';
import { sizeOf } from './primitives.js';

const elementTypes: Record<DType, string> = { float32: 'f32', int32: 'i32', bool: 'i1' };

/** `tensor<2x16xf32>`; a scalar is `tensor<f32>`. */
export function tensorType({ shape, dtype }: ArrayType): string {
  return `tensor<${shape.map((length) => `${length}x`).join('')}${elementTypes[dtype]}>`;
}

/** One element. The value is rounded to float32 first, as every engine stores it. */
export function elementText(value: number, dtype: DType): string {
  if (dtype === 'bool') return value === 0 ? 'false' : 'true';
  if (dtype === 'int32') return String(Math.trunc(value) | 0);
  const rounded = Math.fround(value);
  if (!Number.isFinite(rounded)) return `0x${bitsOf(rounded).toString(16).toUpperCase()}`;
  if (Object.is(rounded, -0)) return '-0.0';
  // The shortest decimal of a double that is a float32 reads back as that float32. MLIR asks for a point, which decimals with
  // an exponent have: no float32 is one digit times a power of ten that JavaScript writes so (10^21 and up, 10^-7 and down).
  const text = String(rounded);
  return text.includes('.') ? text : `${text}.0`;
}

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

/** The attribute of a constant array: one element where all are equal, else the bytes in hexadecimal, else (bool) a list. */
export function denseText(data: Constant['data'], type: ArrayType): string {
  const { shape, dtype } = type;
  const first = data[0] ?? 0;
  if (data.every((value) => Object.is(value, first))) return `dense<${elementText(first, dtype)}>`;
  if (dtype === 'bool') return `dense<${nested(data, shape, 0)}>`;
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return `dense<"0x${bytes.toString('hex').toUpperCase()}">`;
}

function nested(data: Constant['data'], shape: readonly number[], start: number): string {
  const [length, ...rest] = shape;
  if (length === undefined) return elementText(data[start]!, 'bool');
  const size = sizeOf(rest);
  return `[${Array.from({ length }, (_, i) => nested(data, rest, start + i * size)).join(', ')}]`;
}
