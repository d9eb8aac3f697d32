/** Checks of scalar and repeated fields; every error names the field by its path in proto names. */
import { CoordinatorError } from '../errors.js';
import type { OpenEnum } from './messages.js';

/** No repeated enum of this API has more values; bounds the work that a hostile list causes. */
const longestEnumList = 64;

/** The value where it is one of `allowed`; the unspecified value and numbers unknown to this version are refused. */
export function enumValue<Name extends string>(field: string, value: OpenEnum<string>, allowed: readonly Name[]): Name {
  const found = allowed.find((name) => name === value);
  if (found !== undefined) return found;
  throw CoordinatorError.field('REQUEST_INVALID', field, `one of ${allowed.join(', ')}`, String(value));
}

/** The distinct values of a repeated enum, or null where the list is empty. */
export function enumSet<Name extends string>(
  field: string,
  values: readonly OpenEnum<string>[],
  allowed: readonly Name[],
): Set<Name> | null {
  if (values.length === 0) return null;
  if (values.length > longestEnumList) {
    throw CoordinatorError.field('REQUEST_INVALID', field, `at most ${longestEnumList} entries`, String(values.length));
  }
  return new Set(values.map((value, i) => enumValue(`${field}[${i}]`, value, allowed)));
}

/** A finite number; float fields may carry NaN and infinities. */
export function finiteNumber(field: string, value: number): number {
  if (Number.isFinite(value)) return value;
  throw CoordinatorError.field('REQUEST_INVALID', field, 'a finite number', String(value));
}

/** A finite number above 0. */
export function positiveNumber(field: string, value: number): number {
  if (Number.isFinite(value) && value > 0) return value;
  throw CoordinatorError.field('REQUEST_INVALID', field, 'a finite number above 0', String(value));
}

/** A whole number from 1 to `max`. */
export function countUpTo(field: string, value: number, max: number): number {
  if (value >= 1 && value <= max) return value;
  throw CoordinatorError.field('REQUEST_INVALID', field, `a whole number from 1 to ${max}`, String(value));
}

/** `length` finite numbers of at least 0. */
export function amounts(field: string, values: readonly number[], length: number): Float32Array {
  checkLength(field, values, length);
  for (let i = 0; i < length; i++) {
    const value = values[i]!;
    if (!(value >= 0 && value < Infinity)) {
      throw CoordinatorError.field('REQUEST_INVALID', `${field}[${i}]`, 'a finite number of at least 0', String(value));
    }
  }
  return new Float32Array(values);
}

/** `length` whole numbers from `low` to `high`. */
export function indices(
  field: string,
  values: readonly number[],
  length: number,
  low: number,
  high: number,
): readonly number[] {
  checkLength(field, values, length);
  for (let i = 0; i < length; i++) {
    const value = values[i]!;
    if (value < low || value > high) {
      throw CoordinatorError.field(
        'REQUEST_INVALID',
        `${field}[${i}]`,
        `a number from ${low} to ${high}`,
        String(value),
      );
    }
  }
  return values;
}

/** Distinct ids, one for each of `length`; null where none are given. */
export function identifiers(field: string, ids: readonly string[], length: number): readonly string[] | null {
  if (ids.length === 0) return null;
  checkLength(field, ids, length);
  const seen = new Set(ids);
  if (seen.size === ids.length) return ids;
  for (let i = 0; i < ids.length; i++) {
    if (!seen.delete(ids[i]!)) {
      throw CoordinatorError.field('REQUEST_INVALID', `${field}[${i}]`, 'unique ids', `${quote(ids[i]!)} twice`);
    }
  }
  return ids;
}

/** At most `maxBytes` of UTF-8. */
export function shortText(field: string, text: string, maxBytes: number): string {
  // A UTF-16 unit takes at most three bytes.
  if (text.length * 3 <= maxBytes) return text;
  const bytes = Buffer.byteLength(text);
  if (bytes <= maxBytes) return text;
  throw CoordinatorError.field('REQUEST_INVALID', field, `at most ${maxBytes} bytes`, String(bytes));
}

/** Text that came from a caller, short enough for a message. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}

function checkLength(field: string, values: readonly unknown[], length: number): void {
  if (values.length === length) return;
  throw CoordinatorError.field('REQUEST_INVALID', field, `${length} entries`, String(values.length));
}
