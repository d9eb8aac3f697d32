/**
 * The C side of the fault plugin: a copy of a real plugin's `PJRT_Api` in which some function pointers lead to JavaScript. A call that arrives
 * on another thread (`callAsync`) is run by koffi on the main thread as soon as the event loop turns, while that thread waits.
 */
import {
  apiFunctions,
  apiOffsets,
  structs,
  type ApiFunction,
  type CallName,
  type FieldOf,
} from '../../src/pjrt/abi.js';
import { koffi } from '../../src/pjrt/ffi.js';
import { addressOf, readBytes, readPointers, NativeStruct } from '../../src/pjrt/native-memory.js';

const pluginFunction = koffi.proto('void *', ['void *']);
type PluginFunction = (args: bigint) => bigint | null;

/** What this project's table ends before and gates need: places after the last function that `abi.ts` names. */
const laterFunctions = {
  transferManagerDestroy: 4,
  transferData: 5,
  createBuffersForTransfer: 6,
  retrieveBuffer: 7,
  setBufferError: 11,
} as const;

export type LaterFunction = keyof typeof laterFunctions;

/** The argument struct of a call under way, in the caller's memory. */
export class ForeignStruct<Name extends CallName> {
  readonly name: Name;
  readonly address: bigint;

  constructor(name: Name, address: bigint) {
    this.name = name;
    this.address = address;
  }

  pointer(field: FieldOf<Name>): bigint {
    return readPointer(this.#at(field));
  }

  setPointer(field: FieldOf<Name>, value: bigint): void {
    writePointer(this.#at(field), value);
  }

  setInt32(field: FieldOf<Name>, value: number): void {
    koffi.encode(this.#at(field), 'int32_t', value);
  }

  number(field: FieldOf<Name>): number {
    return Number(this.pointer(field));
  }

  #at(field: FieldOf<Name>): bigint {
    return this.address + BigInt((structs[this.name].offsets as Record<string, number>)[field]!);
  }
}

export function readPointer(address: bigint): bigint {
  return BigInt(koffi.decode(address, 'uint64_t') as number | bigint);
}

export function writePointer(address: bigint, value: bigint): void {
  koffi.encode(address, 'uint64_t', value);
}

/** A real plugin's functions, called on this thread without any of the bridge's help. */
export class RealTable {
  readonly path: string;
  readonly #address: bigint;
  readonly #functions = new Map<number, PluginFunction>();

  /** Of a plugin that `loadPlugin` has loaded, and so keeps loaded. */
  constructor(path: string) {
    this.path = path;
    const getPjrtApi = koffi.load(path).func('GetPjrtApi', 'void *', []) as () => bigint;
    this.#address = getPjrtApi();
  }

  /** The function's result: a PJRT_Error of the plugin's, or null. */
  call(name: ApiFunction, args: bigint): bigint | null {
    return this.#at(apiFunctions.indexOf(name))(args);
  }

  /** For what must not fail. */
  must(args: NativeStruct<CallName>): void {
    this.#check(args.name, this.call(args.name, args.address));
  }

  mustLater(name: LaterFunction, args: bigint): void {
    this.#check(name, this.#at(apiFunctions.length + laterFunctions[name])(args));
  }

  /** The table's bytes; whoever lends them keeps them. */
  copy(): DataView<ArrayBuffer> {
    return new DataView(readBytes(this.#address, Number(readPointer(this.#address))).buffer);
  }

  #check(name: string, error: bigint | null): void {
    if (error === null) return;
    const message = new NativeStruct('Error_Message');
    message.set('error', error);
    this.call('Error_Message', message.address);
    throw new Error(`the real ${name} failed: ${message.text('message', 'messageSize')}`);
  }

  #at(index: number): PluginFunction {
    let found = this.#functions.get(index);
    if (found === undefined) {
      const at = this.#address + BigInt(apiOffsets.firstFunction + index * 8);
      found = koffi.decode(readPointers(at, 1)[0]!, pluginFunction) as PluginFunction;
      this.#functions.set(index, found);
    }
    return found;
  }
}

export type Replacement = (args: bigint) => bigint | null;

/** Tables and callbacks that C may call: kept as long as the process lives. */
const lent: unknown[] = [];

export interface TableClaims {
  readonly majorVersion?: number;
  readonly minorVersion?: number;
  readonly structSize?: number;
}

/** A table like `real`'s with `replacements` in it and the claims about itself that are given; its address. */
export function replacedTable(
  real: RealTable,
  replacements: ReadonlyMap<ApiFunction, Replacement>,
  claims: TableClaims = {},
): bigint {
  const table = real.copy();
  for (const [name, replacement] of replacements) {
    const callback = koffi.register((args: bigint) => replacement(args) ?? 0n, koffi.pointer(pluginFunction));
    table.setBigUint64(apiOffsets.firstFunction + apiFunctions.indexOf(name) * 8, callback, true);
  }
  const { structSize, majorVersion, minorVersion } = claims;
  if (structSize !== undefined) table.setBigUint64(apiOffsets.structSize, BigInt(structSize), true);
  if (majorVersion !== undefined) table.setInt32(apiOffsets.majorVersion, majorVersion, true);
  if (minorVersion !== undefined) table.setInt32(apiOffsets.minorVersion, minorVersion, true);
  lent.push(table.buffer);
  return addressOf(table.buffer);
}
