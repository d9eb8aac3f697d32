/**
 * Every call into a plugin goes through here: one function of the table with one struct, and an error that is read, destroyed and thrown.
 */
import { CoordinatorError } from '../errors.js';
import {
  apiFunctions,
  apiOffsets,
  errorCodes,
  majorVersion,
  oldestMinorVersion,
  type ApiFunction,
  type CallName,
  type PjrtErrorCode,
} from './abi.js';
import { koffi } from './ffi.js';
import { NativeStruct, readBytes, readPointers } from './native-memory.js';

/** A null pointer comes back as null. */
type NativeFunction = ((args: bigint) => bigint | null) & {
  async(args: bigint, done: (failure: Error | null | undefined, error: bigint | null) => void): void;
};

const nativeFunction = koffi.proto('void *', ['void *']);
const nativeDeleter = koffi.proto('void', ['void *']);

/** koffi refuses more than 256 at a time and holds stacks for all of them; libuv's pool runs few at once anyway. */
const maxAsyncCalls = 64;
let asyncCalls = 0;
const waitingCalls: (() => void)[] = [];

/** What a plugin answered instead of doing what it was asked. */
export class PjrtError extends Error {
  readonly code: PjrtErrorCode;
  /** The function that failed, or the one whose event did. */
  readonly call: string;

  constructor(code: PjrtErrorCode, message: string, call: string) {
    super(`${call}: ${code}: ${message}`);
    this.name = 'PjrtError';
    this.code = code;
    this.call = call;
  }
}

/** A loaded plugin's table of functions. Made once per library, by `loadPlugin`; lives as long as the process. */
export class PjrtApi {
  readonly path: string;
  /** The plugin's version of the PJRT C API. */
  readonly version: { readonly major: number; readonly minor: number };
  readonly #functions = new Map<ApiFunction, NativeFunction>();
  readonly #shared = new Map<CallName, NativeStruct<CallName>>();

  /** Reads the table at `address`. PLUGIN_INCOMPATIBLE where it is of another major version or older than our facts. */
  constructor(address: bigint, path: string) {
    this.path = path;
    const head = new DataView(readBytes(address, apiOffsets.firstFunction).buffer);
    const structSize = Number(head.getBigUint64(apiOffsets.structSize, true));
    this.version = {
      major: head.getInt32(apiOffsets.majorVersion, true),
      minor: head.getInt32(apiOffsets.minorVersion, true),
    };
    const { major, minor } = this.version;
    if (major !== majorVersion || minor < oldestMinorVersion) {
      throw new CoordinatorError(
        'PLUGIN_INCOMPATIBLE',
        `${path}: expected PJRT ${majorVersion}.${oldestMinorVersion} or newer of major version ${majorVersion}, received ${major}.${minor}`,
      );
    }
    const neededSize = apiOffsets.firstFunction + apiFunctions.length * 8;
    if (structSize < neededSize) {
      throw new CoordinatorError(
        'PLUGIN_INCOMPATIBLE',
        `${path}: expected a PJRT_Api of at least ${neededSize} bytes, received ${structSize} (version ${major}.${minor})`,
      );
    }
    const pointers = readPointers(address + BigInt(apiOffsets.firstFunction), apiFunctions.length);
    apiFunctions.forEach((name, index) => {
      const pointer = pointers[index]!;
      if (pointer !== 0n) this.#functions.set(name, koffi.decode(pointer, nativeFunction) as NativeFunction);
    });
  }

  /**
   * One struct per function, for `call` on hot paths: its fields keep what was last set, and the results last until the next use of the same
   * name. Never for `callAsync`.
   */
  shared<Name extends CallName>(name: Name): NativeStruct<Name> {
    let args = this.#shared.get(name);
    if (args === undefined) {
      args = new NativeStruct<CallName>(name);
      this.#shared.set(name, args);
    }
    return args as unknown as NativeStruct<Name>;
  }

  /** Calls on this thread: for what returns at once. Throws PjrtError. */
  call(args: NativeStruct<CallName>): void {
    const error = this.#function(args.name)(args.address);
    if (error !== null) throw this.#take(error, args.name);
  }

  /** Calls on libuv's pool: for what may block. The struct and all it points to stay alive until the promise settles. Rejects with PjrtError. */
  async callAsync(args: NativeStruct<CallName>): Promise<void> {
    if (asyncCalls >= maxAsyncCalls) await new Promise<void>((resolve) => waitingCalls.push(resolve));
    else asyncCalls++;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#function(args.name).async(args.address, (failure, error) => {
          if (failure !== null && failure !== undefined) reject(failure);
          else if (error !== null) reject(this.#take(error, args.name));
          else resolve();
        });
      });
    } finally {
      const next = waitingCalls.shift();
      if (next === undefined) asyncCalls--;
      else next(); // hands its place on
    }
  }

  /** The error that a call gave as its result, as one of ours; frees the plugin's. */
  #take(error: bigint, call: CallName): PjrtError {
    const code = new NativeStruct('Error_GetCode');
    code.set('error', error);
    const codeFailed = this.#function('Error_GetCode')(code.address) !== null;
    const message = new NativeStruct('Error_Message');
    message.set('error', error);
    this.#function('Error_Message')(message.address);
    const text = message.text('message', 'messageSize');
    const destroy = new NativeStruct('Error_Destroy');
    destroy.set('error', error);
    this.#function('Error_Destroy')(destroy.address);
    const name = codeFailed ? 'UNKNOWN' : (errorCodes[code.number('code')] ?? 'UNKNOWN');
    return new PjrtError(name, text, `PJRT_${call}`);
  }

  #function(name: CallName): NativeFunction {
    const found = this.#functions.get(name);
    if (found === undefined) throw new PjrtError('UNIMPLEMENTED', `${this.path} does not have it`, `PJRT_${name}`);
    return found;
  }
}

/** Calls a `void (*)(T *)` that a plugin handed out to free something of its own. */
export function callDeleter(deleter: bigint, argument: bigint): void {
  (koffi.decode(deleter, nativeDeleter) as (argument: bigint) => void)(argument);
}
