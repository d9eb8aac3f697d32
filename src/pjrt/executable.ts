/** Compiled programs: what one says of itself, and running one. */
import { PjrtBuffer } from './buffer.js';
import { callDeleter, PjrtError, type PjrtApi } from './call.js';
import type { PjrtClient } from './client.js';
import { PjrtDevice } from './device.js';
import { PjrtEvent } from './event.js';
import { elementTypeOf, type ElementType } from './host-array.js';
import { readNamedValues } from './named-values.js';
import { addressOf, NativeStruct, readBytes, readInt64s, readPointers } from './native-memory.js';
import { PjrtObject } from './ownership.js';

export interface TensorType {
  readonly elementType: ElementType;
  readonly dims: readonly number[];
}

/** Bytes, per device. */
export interface ExecutableMemory {
  readonly generatedCodeBytes: number;
  readonly argumentBytes: number;
  readonly outputBytes: number;
  readonly tempBytes: number;
  readonly peakBytes: number;
}

/** A compiled program that need not be on any device: what an ahead-of-time compilation gives, and what a loaded one says of itself. */
export class PjrtExecutable extends PjrtObject {
  readonly #api: PjrtApi;

  constructor(api: PjrtApi, handle: bigint, owner: PjrtObject | null) {
    super('executable', handle, owner);
    this.#api = api;
  }

  /** Types of the results on each device, in order. */
  outputTypes(): TensorType[] {
    const types = new NativeStruct('Executable_OutputElementTypes');
    types.set('executable', this.handle);
    this.#api.call(types);
    const count = types.number('numOutputTypes');
    const numbers = new Int32Array(readBytes(types.pointer('outputTypes'), count * 4).buffer);
    const dimensions = new NativeStruct('Executable_OutputDimensions');
    dimensions.set('executable', this.handle);
    this.#api.call(dimensions);
    const ranks = readInt64s(dimensions.pointer('dimSizes'), count);
    const dims = readInt64s(
      dimensions.pointer('dims'),
      ranks.reduce((sum, rank) => sum + rank, 0),
    );
    let at = 0;
    return ranks.map((rank, index) => {
      const own = dims.slice(at, at + rank);
      at += rank;
      return { elementType: elementTypeOf(numbers[index]!), dims: own };
    });
  }

  /** Digest of the compiled code, by the plugin, in hexadecimal. Throws PjrtError UNIMPLEMENTED where it has none. */
  fingerprint(): string {
    const args = new NativeStruct('Executable_Fingerprint');
    args.set('executable', this.handle);
    this.#api.call(args);
    const bytes = readBytes(args.pointer('fingerprint'), args.number('fingerprintSize'));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  }

  /** XLA's own estimates by name: `flops`, `bytes accessed`, on TPU `optimal_seconds`. Throws PjrtError UNIMPLEMENTED where there are none. */
  costAnalysis(): Map<string, number> {
    const args = new NativeStruct('Executable_GetCostAnalysis');
    args.set('executable', this.handle);
    this.#api.call(args);
    const costs = new Map<string, number>();
    for (const [name, value] of readNamedValues(args.pointer('properties'), args.number('numProperties'))) {
      if (typeof value === 'number') costs.set(name, value);
    }
    return costs;
  }

  /** Throws PjrtError UNIMPLEMENTED where the plugin does not say. */
  memory(): ExecutableMemory {
    const args = new NativeStruct('Executable_GetCompiledMemoryStats');
    args.set('executable', this.handle);
    this.#api.call(args);
    return {
      generatedCodeBytes: args.number('generatedCodeSizeInBytes'),
      argumentBytes: args.number('argumentSizeInBytes'),
      outputBytes: args.number('outputSizeInBytes'),
      tempBytes: args.number('tempSizeInBytes'),
      peakBytes: args.number('peakMemoryInBytes'),
    };
  }

  /** Throws PjrtError UNIMPLEMENTED where the plugin does not say. */
  codeBytes(): number {
    const args = new NativeStruct('Executable_SizeOfGeneratedCodeInBytes');
    args.set('executable', this.handle);
    this.#api.call(args);
    return args.number('sizeInBytes');
  }

  /** For `PjrtClient.deserialize` of the same plugin build; off the event loop. Rejects with PjrtError UNIMPLEMENTED where it cannot. */
  async serialize(): Promise<Uint8Array<ArrayBuffer>> {
    const args = new NativeStruct('Executable_Serialize');
    args.set('executable', this.handle);
    this.hold();
    try {
      await this.#api.callAsync(args);
      const bytes = readBytes(args.pointer('serializedBytes'), args.number('serializedBytesSize'));
      callDeleter(args.pointer('serializedExecutableDeleter'), args.pointer('serializedExecutable'));
      return bytes;
    } finally {
      this.unhold();
    }
  }

  protected override free(handle: bigint): void {
    const args = new NativeStruct('Executable_Destroy');
    args.set('executable', handle);
    this.#api.call(args);
  }
}

/** An execution under way. */
export interface Execution {
  /** Per device the results in order; usable at once, whatever reads them waits. The caller disposes them, also after a failure. */
  readonly outputs: readonly (readonly PjrtBuffer[])[];
  /** Settles when all devices are done. Rejects with the PjrtError of the first that failed. */
  readonly done: Promise<void>;
}

/** A program on its devices, ready to run. */
export class PjrtLoadedExecutable extends PjrtObject {
  /** Disposed with this. */
  readonly executable: PjrtExecutable;
  /** Of the results on each device, in order. */
  readonly outputTypes: readonly TensorType[];
  /** Where it runs unless an execution says otherwise: one device per partition. None for a portable executable. */
  readonly devices: readonly PjrtDevice[];
  readonly #client: PjrtClient;
  /**
   * XLA on a CPU runs what it holds cheap (under 1000 flops) before `Execute` returns, and it counts the body of a loop once: 45 ms of
   * loop were seen to stop the event loop. Everything else is only started.
   */
  readonly #runsInCaller: boolean;

  constructor(client: PjrtClient, handle: bigint) {
    super('loaded executable', handle, client);
    this.#client = client;
    try {
      const executable = new NativeStruct('LoadedExecutable_GetExecutable');
      executable.set('loadedExecutable', handle);
      client.api.call(executable);
      this.executable = new PjrtExecutable(client.api, executable.pointer('executable'), this);
    } catch (error) {
      super.dispose();
      throw error;
    }
    try {
      this.outputTypes = this.executable.outputTypes();
      const devices = new NativeStruct('LoadedExecutable_AddressableDevices');
      devices.set('executable', handle);
      client.api.call(devices);
      this.devices = readPointers(devices.pointer('devices'), devices.number('numDevices')).map(
        (device) => new PjrtDevice(client.api, device),
      );
      this.#runsInCaller = client.deviceMemoryIsHost && this.#seemsCheap();
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /**
   * Starts one execution; several may be in flight. `argumentLists` holds per device the program's parameters in order, which
   * stay the caller's: none is donated. `device` says where a portable executable runs, `keepsLooking` how its end is waited for (event.ts). Rejects with
   * PjrtError where it could not start.
   */
  async execute(
    argumentLists: readonly (readonly PjrtBuffer[])[],
    device?: PjrtDevice,
    keepsLooking?: () => boolean,
  ): Promise<Execution> {
    const numDevices = argumentLists.length;
    const numArgs = argumentLists[0]?.length ?? 0;
    const numOutputs = this.outputTypes.length;
    // One block of pointers: the argument lists, the result lists, the events, and the two tables of lists.
    const outputsAt = numDevices * numArgs;
    const eventsAt = outputsAt + numDevices * numOutputs;
    const argumentTableAt = eventsAt + numDevices;
    const outputTableAt = argumentTableAt + numDevices;
    const pointers = new BigUint64Array(outputTableAt + numDevices);
    const base = addressOf(pointers);
    const at = (index: number): bigint => base + BigInt(index * 8);
    argumentLists.forEach((list, index) => {
      if (list.length !== numArgs) {
        throw new RangeError(
          `argumentLists[${index}]: expected ${numArgs} arguments as on the first device, received ${list.length}`,
        );
      }
      list.forEach((argument, position) => {
        pointers[index * numArgs + position] = argument.handle;
      });
      pointers[argumentTableAt + index] = at(index * numArgs);
      pointers[outputTableAt + index] = at(outputsAt + index * numOutputs);
    });
    const { api } = this.#client;
    const args = this.#runsInCaller
      ? new NativeStruct('LoadedExecutable_Execute')
      : api.shared('LoadedExecutable_Execute');
    args.set('executable', this.handle);
    args.point('options', nothingDonated(numArgs));
    args.set('argumentLists', at(argumentTableAt));
    args.set('numDevices', numDevices);
    args.set('numArgs', numArgs);
    args.set('outputLists', at(outputTableAt));
    args.set('deviceCompleteEvents', at(eventsAt));
    args.set('executeDevice', device?.handle ?? 0n);
    const inUse = this.#runsInCaller ? [this, ...argumentLists.flat()] : [];
    for (const object of inUse) object.hold();
    try {
      if (this.#runsInCaller) {
        args.keep(pointers);
        await api.callAsync(args);
      } else {
        api.call(args);
      }
      const outputs = argumentLists.map((_, index) =>
        this.outputTypes.map(
          ({ elementType, dims }, position) =>
            new PjrtBuffer(this.#client, pointers[outputsAt + index * numOutputs + position]!, elementType, dims),
        ),
      );
      const events = argumentLists.map((_, index) => new PjrtEvent(api, pointers[eventsAt + index]!, this));
      const done = settleAll(events, keepsLooking).then(() => {
        for (const list of outputs) for (const output of list) output.markComputed();
      });
      done.catch(() => undefined); // whoever reads the results meets the error too
      return { outputs, done };
    } finally {
      for (const object of inUse) object.unhold();
    }
  }

  override dispose(): void {
    super.dispose();
    this.executable.dispose();
  }

  #seemsCheap(): boolean {
    try {
      return (this.executable.costAnalysis().get('flops') ?? 0) < cheapFlops;
    } catch (error) {
      if (error instanceof PjrtError) return true;
      throw error;
    }
  }

  /**
   * Off the event loop: XLA on a CPU looks through what all programs have registered for each that goes, which takes longer the more are loaded.
   * One at a time, as the others would wait for it on threads that executions need.
   */
  protected override free(handle: bigint): Promise<void> {
    const args = new NativeStruct('LoadedExecutable_Destroy');
    args.set('executable', handle);
    const { api } = this.#client;
    // What a plugin cannot free is lost, and nobody is left who could do anything about it.
    lastFree = lastFree.then(() => api.callAsync(args)).catch(() => undefined);
    return lastFree;
  }
}

let lastFree: Promise<void> = Promise.resolve();

/** XLA's bound with room for what other versions count. */
const cheapFlops = 10_000;

const optionsByArguments = new Map<number, NativeStruct<'ExecuteOptions'>>();

/** Options that forbid the plugin to reuse the memory of any of `count` arguments for results. */
function nothingDonated(count: number): NativeStruct<'ExecuteOptions'> {
  let options = optionsByArguments.get(count);
  if (options === undefined) {
    options = new NativeStruct('ExecuteOptions');
    options.point(
      'nonDonatableInputIndices',
      BigInt64Array.from({ length: count }, (_, index) => BigInt(index)),
    );
    options.set('numNonDonatableInputIndices', count);
    optionsByArguments.set(count, options);
  }
  return options;
}

/** Waits for every event, also after one failed, so that none is left. */
async function settleAll(events: readonly PjrtEvent[], keepsLooking: (() => boolean) | undefined): Promise<void> {
  const results = await Promise.allSettled(events.map((event) => event.settle(keepsLooking)));
  for (const result of results) if (result.status === 'rejected') throw result.reason as Error;
}
