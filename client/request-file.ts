/**
 * Requests as people write them: JSON with the names of coordinator.proto in camelCase or snake_case. A tensor is a nested
 * array ([[1, 2], [3, 4]]) or the proto's own object; numbers that JSON lacks are the strings "NaN", "Infinity" and
 * "-Infinity". Everything that is not understood is refused by its path.
 */
import { enumNames, messageFields } from '../src/wire/messages.js';
import type { CoordinateRequest, TensorInput } from './request.js';
import { UsageError } from './usage.js';

type MessageName = keyof typeof messageFields;
type EnumName = keyof typeof enumNames;

/** Fields that the client takes as a Uint8Array and not as a tensor. */
const maskFields = new Set(['agent_mask', 'task_mask', 'assignment.forbidden']);

/** @throws UsageError naming the path of what is wrong. */
export function parseRequest(json: string): CoordinateRequest {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new UsageError(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  return message('CoordinateRequest', value, '');
}

function message(name: MessageName, value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) wrong(path, 'an object', value);
  const fields = messageFields[name] as Readonly<Record<string, string>>;
  const result: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(value) as [string, unknown][]) {
    const camel = key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const type = fields[camel];
    const at = path === '' ? snakeCase(camel) : `${path}.${snakeCase(camel)}`;
    if (type === undefined) {
      const known = Object.keys(fields).map(snakeCase).join(', ');
      throw new UsageError(`${at}: unknown field; ${path === '' ? 'a request' : path} has ${known}`);
    }
    if (camel in result) throw new UsageError(`${at}: given twice`);
    if (field !== null) result[camel] = fieldValue(type, field, at);
  }
  return result;
}

function fieldValue(type: string, value: unknown, path: string): unknown {
  if (type === 'Tensor') return maskFields.has(path) ? mask(value, path) : tensor(value, path);
  if (type.startsWith('repeated ')) {
    if (!Array.isArray(value)) wrong(path, 'an array', value);
    const item = type.slice('repeated '.length);
    return (value as unknown[]).map((entry, i) => fieldValue(item, entry, `${path}[${i}]`));
  }
  if (type in messageFields) return message(type as MessageName, value, path);
  if (type in enumNames) return enumValue(type as EnumName, value, path);
  return scalar(type.replace('optional ', ''), value, path);
}

function scalar(type: string, value: unknown, path: string): unknown {
  switch (type) {
    case 'string':
      return typeof value === 'string' ? value : wrong(path, 'a string', value);
    case 'bool':
      return typeof value === 'boolean' ? value : wrong(path, 'true or false', value);
    case 'bytes':
      return typeof value === 'string'
        ? new Uint8Array(Buffer.from(value, 'base64'))
        : wrong(path, 'base64 text', value);
    case 'uint64':
      // Beyond 2^53 only text is exact.
      if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return BigInt(value);
      return whole(value, path, 0, Number.MAX_SAFE_INTEGER);
    case 'int64':
      return whole(value, path, 0, Number.MAX_SAFE_INTEGER);
    case 'uint32':
      return whole(value, path, 0, 4_294_967_295);
    case 'sint32':
      return whole(value, path, -2_147_483_648, 2_147_483_647);
    default:
      return number(value, path);
  }
}

function enumValue(name: EnumName, value: unknown, path: string): string {
  const names: readonly string[] = enumNames[name].filter((entry) => !entry.endsWith('_UNSPECIFIED'));
  const found = typeof value === 'string' ? names.find((entry) => entry === value.toUpperCase()) : undefined;
  return found ?? wrong(path, `one of ${names.join(', ')}`, value);
}

function tensor(value: unknown, path: string): TensorInput {
  if (!Array.isArray(value)) return tensorObject(value, path);
  const shape: number[] = [];
  for (let level: unknown = value; Array.isArray(level); level = level[0]) shape.push(level.length);
  const data = new Float32Array(shape.reduce((product, length) => product * length, 1));
  let next = 0;
  const read = (level: unknown, axis: number, at: string): void => {
    if (axis === shape.length) {
      data[next] = number(level, at);
      next += 1;
      return;
    }
    const expected = `an array of ${shape[axis]!}, as its neighbours are`;
    if (!Array.isArray(level)) wrong(at, expected, level);
    const entries = level as unknown[];
    if (entries.length !== shape[axis]) throw new UsageError(`${at}: expected ${expected}, received ${entries.length}`);
    for (let i = 0; i < entries.length; i += 1) read(entries[i], axis + 1, `${at}[${i}]`);
  };
  read(value, 0, path);
  return { data, shape };
}

/** `{dtype, shape, values}` or `{dtype, shape, data}` (base64), as the proto has it. */
function tensorObject(value: unknown, path: string): TensorInput {
  const given = message('Tensor', value, path) as {
    dtype?: string;
    shape?: number[];
    data?: Uint8Array;
    values?: number[];
  };
  const { dtype = 'FLOAT32', shape = [], data, values } = given;
  if ((data === undefined) === (values === undefined)) wrong(path, 'either data or values', value);
  const array = data === undefined ? arrayOf(dtype, values ?? [], path) : arrayFromBytes(dtype, data, path);
  const count = shape.reduce((product, length) => product * length, 1);
  if (array.length !== count) {
    throw new UsageError(
      `${path}: expected ${count} numbers for shape [${shape.join(', ')}], received ${array.length}`,
    );
  }
  return { data: array, shape };
}

function arrayOf(dtype: string, values: readonly number[], path: string): TensorInput['data'] {
  if (dtype === 'INT32')
    return Int32Array.from(values, (value, i) => whole(value, `${path}.values[${i}]`, -(2 ** 31), 2 ** 31 - 1));
  if (dtype === 'UINT8') return Uint8Array.from(values, (value, i) => whole(value, `${path}.values[${i}]`, 0, 255));
  return dtype === 'FLOAT64' ? Float64Array.from(values) : Float32Array.from(values);
}

function arrayFromBytes(dtype: string, bytes: Uint8Array, path: string): TensorInput['data'] {
  const size = { FLOAT32: 4, FLOAT64: 8, INT32: 4, UINT8: 1 }[dtype];
  if (size === undefined)
    throw new UsageError(`${path}: ${dtype} data cannot be given as JSON; use values or a .npy file`);
  if (bytes.length % size !== 0)
    throw new UsageError(`${path}.data: expected a multiple of ${size} bytes, received ${bytes.length}`);
  // A fresh copy starts at an aligned address.
  const memory = Uint8Array.from(bytes).buffer;
  if (dtype === 'INT32') return new Int32Array(memory);
  if (dtype === 'UINT8') return new Uint8Array(memory);
  return dtype === 'FLOAT64' ? new Float64Array(memory) : new Float32Array(memory);
}

/** Booleans may be 0 and 1, or true and false; the shape of `forbidden` is that of the utility. */
function mask(value: unknown, path: string): Uint8Array {
  const flat: unknown = Array.isArray(value) ? (value as unknown[]).flat(8) : value;
  if (!Array.isArray(flat)) return Uint8Array.from(tensorObject(value, path).data, (entry) => (entry === 0 ? 0 : 1));
  return Uint8Array.from(flat as unknown[], (entry, i) =>
    typeof entry === 'boolean' ? Number(entry) : whole(entry, `${path}[${i}]`, 0, 255),
  );
}

function number(value: unknown, path: string): number {
  if (typeof value === 'number') return value;
  if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return Number(value);
  return wrong(path, 'a number, "NaN", "Infinity" or "-Infinity"', value);
}

/** Proto JSON writes 64-bit numbers as text, so text is taken as well. */
function whole(value: unknown, path: string, low: number, high: number): number {
  const read = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
  if (typeof read === 'number' && Number.isInteger(read) && read >= low && read <= high) return read;
  return wrong(path, `a whole number from ${low} to ${high}`, value);
}

function wrong(path: string, expected: string, value: unknown): never {
  const received = JSON.stringify(value) as string | undefined;
  const short = received === undefined ? 'nothing' : received.length > 60 ? `${received.slice(0, 57)}...` : received;
  throw new UsageError(`${path === '' ? 'request' : path}: expected ${expected}, received ${short}`);
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
