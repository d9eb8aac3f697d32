/**
 * The safetensors file format: 8 bytes of header length (little-endian), a JSON header, then the data. Written for
 * hostile files: nothing is allocated or read on the word of a header that was not checked against the file's size.
 */
import { bytesView, type FloatDType, floatsFromBytes } from '../wire/tensor.js';

export interface StoredTensor {
  readonly shape: readonly number[];
  /** Row-major; may be a view of the file's bytes. Every number is finite. */
  readonly data: Float32Array;
}

export interface SafetensorsFile {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** What is wrong with a file, in one line. */
export class SafetensorsError extends Error {
  override readonly name = 'SafetensorsError';
}

/** The format's own limit. */
const largestHeaderBytes = 100_000_000;
const prefixBytes = 8;
const largestRank = 8;
const longestName = 256;

const dtypes: Readonly<Partial<Record<string, { readonly dtype: FloatDType; readonly bytes: number }>>> = {
  F64: { dtype: 'FLOAT64', bytes: 8 },
  F32: { dtype: 'FLOAT32', bytes: 4 },
  F16: { dtype: 'FLOAT16', bytes: 2 },
  BF16: { dtype: 'BFLOAT16', bytes: 2 },
};

interface Entry {
  readonly name: string;
  readonly dtype: FloatDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/**
 * Reads a whole file. All tensors must be F32, F64, F16 or BF16, finite in float32, and together cover the data
 * without gaps or overlaps.
 * @throws SafetensorsError
 */
export function readSafetensors(file: Uint8Array): SafetensorsFile {
  const { header, dataStart } = readHeader(file);
  const metadata = new Map<string, string>();
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') readMetadata(value, metadata);
    else entries.push(readEntry(name, value));
  }
  checkCoverage(entries, file.length - dataStart);
  const tensors = new Map<string, StoredTensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    const data = floatsFromBytes(dtype, file.subarray(dataStart + begin, dataStart + end));
    for (let i = 0; i < data.length; i++) {
      if (!Number.isFinite(data[i])) throw new SafetensorsError(`tensor ${quote(name)} holds ${data[i]!} at ${i}`);
    }
    tensors.set(name, { shape, data });
  }
  return { tensors, metadata };
}

/** Writes F32 tensors in the order given. Equal input gives equal bytes. */
export function writeSafetensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
): Uint8Array {
  const header: Record<string, unknown> = {};
  if (metadata.size > 0) header['__metadata__'] = Object.fromEntries(metadata);
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { shape, data }] of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + data.byteLength] };
    parts.push(bytesView(data));
    offset += data.byteLength;
  }
  // Spaces after the JSON are part of the format; they align the data for readers that map the file.
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(text.length / 8) * 8, ' ');
  text.copy(padded);
  const prefix = Buffer.alloc(prefixBytes);
  prefix.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([prefix, padded, ...parts]);
}

function readHeader(file: Uint8Array): { header: Record<string, unknown>; dataStart: number } {
  if (file.length < prefixBytes) throw new SafetensorsError(`${file.length} bytes are no safetensors file`);
  const length = Buffer.from(file.buffer, file.byteOffset, prefixBytes).readBigUInt64LE();
  const available = file.length - prefixBytes;
  if (length > BigInt(Math.min(largestHeaderBytes, available))) {
    throw new SafetensorsError(`the header says ${length} bytes, the file has ${available} after it`);
  }
  const dataStart = prefixBytes + Number(length);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(file.subarray(prefixBytes, dataStart)));
  } catch (error) {
    throw new SafetensorsError(`the header is not JSON`, { cause: error });
  }
  if (!isRecord(header)) throw new SafetensorsError('the header is not a JSON object');
  return { header, dataStart };
}

function readMetadata(value: unknown, metadata: Map<string, string>): void {
  if (!isRecord(value)) throw new SafetensorsError('the metadata is not a JSON object');
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw new SafetensorsError(`metadata ${quote(key)} is not a string`);
    metadata.set(key, text);
  }
}

function readEntry(name: string, value: unknown): Entry {
  const fail = (problem: string) => new SafetensorsError(`tensor ${quote(name)} ${problem}`);
  if (name.length > longestName) throw fail('has too long a name');
  if (!isRecord(value)) throw fail('is not described by a JSON object');
  const { dtype: dtypeName, shape, data_offsets: offsets } = value;
  const kind = typeof dtypeName === 'string' && Object.hasOwn(dtypes, dtypeName) ? dtypes[dtypeName] : undefined;
  if (kind === undefined) {
    throw fail(`has dtype ${quote(String(dtypeName))}; F32, F64, F16 and BF16 are read`);
  }
  if (!isLengths(shape) || shape.length > largestRank) throw fail('has no valid shape');
  if (!isLengths(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) throw fail('has no valid data_offsets');
  const [begin, end] = offsets as [number, number];
  const expected = shape.reduce((product, length) => product * length, kind.bytes);
  if (end - begin !== expected) {
    throw fail(`has ${end - begin} bytes where [${shape.join(',')}] takes ${expected}`);
  }
  return { name, dtype: kind.dtype, shape, begin, end };
}

function checkCoverage(entries: readonly Entry[], dataBytes: number): void {
  let covered = 0;
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (end > dataBytes) throw new SafetensorsError(`tensor ${quote(name)} ends at ${end} of ${dataBytes} data bytes`);
    if (begin < covered) throw new SafetensorsError(`tensor ${quote(name)} overlaps the one before it`);
    if (begin > covered)
      throw new SafetensorsError(`${begin - covered} bytes before tensor ${quote(name)} belong to none`);
    covered = end;
  }
  if (covered < dataBytes) throw new SafetensorsError(`${dataBytes - covered} bytes at the end belong to no tensor`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isLengths(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((length) => Number.isSafeInteger(length) && length >= 0);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}
