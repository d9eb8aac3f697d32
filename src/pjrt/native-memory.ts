/**
 * Memory shared with a plugin. An ArrayBuffer's bytes lie outside V8's heap and never move, so its address is valid for as long as JavaScript
 * holds a reference: whoever gives an address away keeps the owner until the plugin is done.
 */
import { structs, type FieldKind, type FieldOf, type StructName } from './abi.js';
import { koffi } from './ffi.js';

const pointerBytes = 8;
const self = koffi.load(null);
const copyMemory = self.func('memcpy', 'void *', ['void *', 'void *', 'size_t']) as unknown as (
  to: bigint,
  from: bigint,
  byteLength: number,
) => unknown;

/**
 * XLA on a CPU takes host memory as it is (zero-copy) only where it starts on this boundary; Node's own allocations lie on 16 bytes.
 */
export const hostAlignmentBytes = 64;

/** Address of the first byte. koffi makes small typed arrays leave V8's heap when asked for their address. */
export function addressOf(memory: ArrayBuffer | ArrayBufferView): bigint {
  return koffi.address(memory);
}

/** Zeroed bytes that start on `hostAlignmentBytes`; make typed views on `.buffer` with its `byteOffset`. */
export function allocateAligned(byteLength: number): Uint8Array<ArrayBuffer> {
  const buffer = new ArrayBuffer(byteLength + hostAlignmentBytes);
  const misalignment = Number(addressOf(buffer) % BigInt(hostAlignmentBytes));
  return new Uint8Array(buffer, misalignment === 0 ? 0 : hostAlignmentBytes - misalignment, byteLength);
}

/** Copies foreign memory. The plugin must keep it alive during the call; afterwards nothing refers to it. */
export function readBytes(address: bigint, byteLength: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(byteLength));
  if (byteLength > 0) copyInto(bytes, address);
  return bytes;
}

const decoder = new TextDecoder();

/** Copies foreign memory into ours, on this thread. */
export function copyInto(into: ArrayBufferView, address: bigint): void {
  copyMemory(addressOf(into), address, into.byteLength);
}

/** A string that the plugin gives with its length; null pointers are empty strings. */
export function readText(address: bigint, byteLength: number): string {
  return address === 0n ? '' : decoder.decode(readBytes(address, byteLength));
}

export function readPointers(address: bigint, count: number): bigint[] {
  return [...new BigUint64Array(readBytes(address, count * pointerBytes).buffer)];
}

export function readInt64s(address: bigint, count: number): number[] {
  return Array.from(new BigInt64Array(readBytes(address, count * 8).buffer), Number);
}

/**
 * One struct of the API, zeroed. What its pointers point to is kept alive by `point`; it is the caller's duty to keep the struct itself
 * until the call is over, which `PjrtApi.call` and `callAsync` do.
 */
export class NativeStruct<Name extends StructName> {
  readonly name: Name;
  readonly address: bigint;
  readonly #view: DataView;
  readonly #offsets: Readonly<Record<string, number>>;
  readonly #kinds: Readonly<Record<string, FieldKind>>;
  readonly #kept = new Map<string, unknown>(); // by field

  constructor(name: Name, slackBytes = defaultSlackBytes) {
    const { newestSize, offsets, kinds } = structs[name];
    const buffer = new ArrayBuffer(Math.ceil(newestSize / 8) * 8 + slackBytes);
    this.name = name;
    this.address = addressOf(buffer);
    this.#view = new DataView(buffer);
    this.#offsets = offsets;
    this.#kinds = kinds;
    this.#view.setBigUint64(0, BigInt(slackBytes === 0 ? newestSize : buffer.byteLength), true);
  }

  set(field: FieldOf<Name>, value: bigint | number | boolean): void {
    const offset = this.#offsets[field]!;
    const kind = this.#kinds[field]!;
    if (kind === 'int32') this.#view.setInt32(offset, Number(value), true);
    else if (kind === 'bool') this.#view.setUint8(offset, value ? 1 : 0);
    else this.#view.setBigUint64(offset, BigInt.asUintN(64, BigInt(value)), true);
  }

  /** Points the field at memory of ours and keeps that memory until the field is pointed elsewhere. Null clears it. */
  point(field: FieldOf<Name>, memory: ArrayBuffer | ArrayBufferView | NativeStruct<StructName> | null): void {
    const offset = this.#offsets[field]!;
    if (memory === null) {
      this.#view.setBigUint64(offset, 0n, true);
      this.#kept.delete(field);
      return;
    }
    this.#view.setBigUint64(offset, memory instanceof NativeStruct ? memory.address : addressOf(memory), true);
    this.#kept.set(field, memory);
  }

  /** Keeps memory that the struct refers to indirectly. */
  keep(memory: unknown): void {
    this.#kept.set('', memory);
  }

  pointer(field: FieldOf<Name>): bigint {
    return this.#view.getBigUint64(this.#offsets[field]!, true);
  }

  /** Any integer field, as a number. */
  number(field: FieldOf<Name>): number {
    const offset = this.#offsets[field]!;
    const kind = this.#kinds[field]!;
    if (kind === 'int32') return this.#view.getInt32(offset, true);
    if (kind === 'bool') return this.#view.getUint8(offset);
    return Number(this.#view.getBigInt64(offset, true));
  }

  flag(field: FieldOf<Name>): boolean {
    return this.number(field) !== 0;
  }

  /** The string that a pointer field and its length field give. */
  text(field: FieldOf<Name>, sizeField: FieldOf<Name>): string {
    return readText(this.pointer(field), this.number(sizeField));
  }
}

/**
 * A plugin refuses a struct smaller than its own version's, and reads zero as "not set" in fields that the caller does not know. So structs are
 * declared this much longer than the newest version known, which lets plugins pass that have grown since.
 */
const defaultSlackBytes = 64;
