/**
 * A PJRT plugin that goes wrong on command: XLA's CPU plugin behind a table of functions of our own. Everything passes through to the real functions except
 * what a rule says fails, hangs or lies; objects and errors are counted on the plugin's side, so that the bridge's own count is checked by
 * somebody else's.
 */
import type { ApiFunction, CallName, FieldOf, PjrtErrorCode } from '../../src/pjrt/abi.js';
import { elementTypes, errorCodes } from '../../src/pjrt/abi.js';
import { PjrtApi } from '../../src/pjrt/call.js';
import { koffi } from '../../src/pjrt/ffi.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { addressOf, NativeStruct, readPointers } from '../../src/pjrt/native-memory.js';
import { Gates, type Gate } from './fault-gate.js';
import { ObjectLedger, type ObjectKind } from './fault-ledger.js';
import {
  ForeignStruct,
  readPointer,
  RealTable,
  replacedTable,
  writePointer,
  type Replacement,
  type TableClaims,
} from './fault-table.js';

/** Where rules apply. */
export type FaultyCall =
  | 'Client_Create'
  | 'Client_AddressableDevices'
  | 'Client_Compile'
  | 'Client_BufferFromHostBuffer'
  | 'Executable_DeserializeAndLoad'
  | 'Executable_Serialize'
  | 'LoadedExecutable_GetExecutable'
  | 'LoadedExecutable_AddressableDevices'
  | 'LoadedExecutable_Execute'
  | 'Event_IsReady'
  | 'Buffer_ReadyEvent'
  | 'Buffer_ToHostBuffer'
  | 'Buffer_OpaqueDeviceMemoryDataPointer'
  | 'Buffer_CopyToDevice';

export interface Fault {
  /**
   * 'error': the call itself returns an error and does nothing. 'late-error': the call succeeds and its event carries the error, `afterMs` later. 'hang': the
   * call succeeds and its event does not happen before `release`. 'nan': an execution succeeds, and every word of its results is that of a NaN.
   */
  readonly how: 'error' | 'late-error' | 'hang' | 'nan';
  readonly code?: PjrtErrorCode;
  readonly message?: string;
  readonly afterMs?: number;
}

export interface FaultRule extends Fault {
  readonly at: FaultyCall;
  /** Calls that pass first. Default 0. */
  readonly skip?: number;
  /** Calls that go wrong after those. Default 1. */
  readonly times?: number;
  /** Only calls that name this device, by its handle. */
  readonly device?: bigint;
}

export interface ArmedFault {
  /** Calls that went wrong. */
  readonly hits: number;
  disarm(): void;
}

/** What goes wrong with the `count`th call (from 1) of `at`; null where nothing does. */
export type FaultScript = (at: FaultyCall, count: number) => Fault | null;

const copyMemory = koffi.load(null).func('memcpy', 'void *', ['void *', 'void *', 'size_t']) as unknown as (
  to: bigint,
  from: bigint,
  byteLength: number,
) => unknown;

interface OwnError {
  readonly memory: ArrayBuffer;
  readonly code: number;
  readonly message: Uint8Array;
}

export class FaultPlugin {
  readonly ledger = new ObjectLedger();
  readonly #real: RealTable;
  readonly #gates: Gates;
  readonly #replacements = new Map<ApiFunction, Replacement>();
  readonly #rules = new Set<(at: FaultyCall, device: bigint | null) => Fault | null>();
  readonly #calls = new Map<FaultyCall, number>();
  /** By the event in the bridge's hands. */
  readonly #pending = new Map<bigint, Gate>();
  readonly #errors = new Map<bigint, OwnError>();
  #lost: Fault | null = null;
  /** Clients that nothing works for any more, and why. */
  readonly #lostClients = new Map<bigint, Fault>();
  /** Of every live object. */
  readonly #clientOf = new Map<bigint, bigint>();

  /** Around the plugin at `path`, which the CPU plugin is; others lack the buffers that gates are made of. */
  constructor(path: string) {
    loadPlugin(path);
    this.#real = new RealTable(path);
    this.#gates = new Gates(this.#real);
    this.#replaceErrors();
    this.#replaceMakers();
    this.#replaceDestroyers();
  }

  /** What `loadPlugin` would give for this plugin; PLUGIN_INCOMPATIBLE where it makes claims that are refused. */
  api(claims: TableClaims = {}): PjrtApi {
    return new PjrtApi(replacedTable(this.#real, this.#replacements, claims), this.#real.path);
  }

  arm(rule: FaultRule): ArmedFault {
    const { skip = 0, times = 1 } = rule;
    let seen = 0;
    let hits = 0;
    const apply = (at: FaultyCall, device: bigint | null): Fault | null => {
      if (at !== rule.at || (rule.device !== undefined && rule.device !== device)) return null;
      if (seen++ < skip || hits >= times) return null;
      hits++;
      return rule;
    };
    this.#rules.add(apply);
    return {
      get hits() {
        return hits;
      },
      disarm: () => void this.#rules.delete(apply),
    };
  }

  /** Asks `decide` about every call from now on; the returned function ends that. */
  script(decide: FaultScript): () => void {
    const apply = (at: FaultyCall): Fault | null => decide(at, this.#calls.get(at)!);
    this.#rules.add(apply);
    return () => void this.#rules.delete(apply);
  }

  /**
   * From now on every call about the device fails, new clients too; only what frees goes on working. `forGood`: the clients there are
   * stay useless after `restore` as well.
   */
  lose(code: PjrtErrorCode = 'UNAVAILABLE', message = 'device lost', forGood = false): void {
    this.#lost = { how: 'error', code, message };
    if (forGood) for (const client of new Set(this.#clientOf.values())) this.#lostClients.set(client, this.#lost);
  }

  /** The device is back. */
  regain(): void {
    this.#lost = null;
  }

  /** The device is back, and no rule is left. What hangs goes on hanging. */
  restore(): void {
    this.regain();
    this.#rules.clear();
  }

  /** Calls of `at` so far, those that went wrong included. */
  calls(at: FaultyCall): number {
    return this.#calls.get(at) ?? 0;
  }

  /** Calls whose event has not happened. */
  get hanging(): number {
    return [...this.#pending.values()].filter(({ open }) => !open).length;
  }

  /** Lets all that hangs happen. */
  release(): void {
    for (const gate of this.#pending.values()) gate.release();
  }

  /** Errors of ours that the bridge has not destroyed. */
  get liveErrors(): number {
    return this.#errors.size;
  }

  #fault(at: FaultyCall, device: bigint | null, client: bigint): Fault | null {
    this.#calls.set(at, (this.#calls.get(at) ?? 0) + 1);
    const lost = this.#lost ?? this.#lostClients.get(client);
    if (lost !== undefined) return lost;
    for (const rule of this.#rules) {
      const fault = rule(at, device);
      if (fault !== null) return fault;
    }
    return null;
  }

  #created(kind: ObjectKind, handle: bigint, client: bigint): void {
    this.ledger.created(kind, handle);
    this.#clientOf.set(handle, client);
  }

  #error({ code = 'INTERNAL', message = 'injected' }: Fault): bigint {
    const memory = new ArrayBuffer(16);
    const handle = addressOf(memory);
    this.#errors.set(handle, { memory, code: errorCodes.indexOf(code), message: new TextEncoder().encode(message) });
    this.ledger.created('error', handle);
    return handle;
  }

  #replaceErrors(): void {
    const ownOr =
      <Name extends CallName & `Error_${string}`>(
        name: Name,
        own: (error: OwnError, args: ForeignStruct<Name>) => void,
      ): Replacement =>
      (address) => {
        const args = new ForeignStruct<Name>(name, address);
        const error = this.#errors.get(readPointer(address + 16n));
        if (error === undefined) return this.#real.call(name, address);
        own(error, args);
        return null;
      };
    this.#replacements.set(
      'Error_GetCode',
      ownOr('Error_GetCode', (error, args) => args.setInt32('code', error.code)),
    );
    this.#replacements.set(
      'Error_Message',
      ownOr('Error_Message', (error, args) => {
        args.setPointer('message', addressOf(error.message));
        args.setPointer('messageSize', BigInt(error.message.length));
      }),
    );
    this.#replacements.set(
      'Error_Destroy',
      ownOr('Error_Destroy', (_, args) => {
        const handle = args.pointer('error');
        this.ledger.destroyed('error', handle);
        this.#errors.delete(handle);
      }),
    );
  }

  /** `made` names the objects that a call that went well has handed out, `event` the field of the event among them. */
  #replace<Name extends CallName & FaultyCall>(
    name: Name,
    deviceOf: (args: ForeignStruct<Name>) => bigint | null,
    made: (args: ForeignStruct<Name>) => readonly (readonly [ObjectKind, bigint])[],
    event: FieldOf<Name> | null = null,
  ): void {
    this.#replacements.set(name, (address) => {
      const args = new ForeignStruct(name, address);
      const first = readPointer(address + 16n);
      const ofClient = name.startsWith('Client_') || name === 'Executable_DeserializeAndLoad';
      const client = ofClient ? first : (this.#clientOf.get(first) ?? 0n);
      const fault = this.#fault(name, deviceOf(args), client);
      if (fault?.how === 'error') return this.#error(fault);
      const failed = this.#real.call(name, address);
      if (failed !== null) return failed;
      if (fault !== null && event !== null) args.setPointer(event, this.#gated(fault, args.pointer(event)));
      for (const [kind, handle] of made(args)) this.#created(kind, handle, kind === 'client' ? handle : client);
      return null;
    });
  }

  #replaceMakers(): void {
    const nowhere = () => null;
    this.#replace('Client_Create', nowhere, (args) => [['client', args.pointer('client')]]);
    this.#replace('Client_Compile', nowhere, (args) => [['loaded executable', args.pointer('executable')]]);
    this.#replace('Executable_DeserializeAndLoad', nowhere, (args) => [
      ['loaded executable', args.pointer('loadedExecutable')],
    ]);
    this.#replace('Client_AddressableDevices', nowhere, () => []);
    this.#replace('Event_IsReady', nowhere, () => []);
    this.#replace('Executable_Serialize', nowhere, () => []);
    this.#replace('LoadedExecutable_AddressableDevices', nowhere, () => []);
    this.#replace('LoadedExecutable_GetExecutable', nowhere, (args) => [['executable', args.pointer('executable')]]);
    this.#replace(
      'Client_BufferFromHostBuffer',
      (args) => args.pointer('device'),
      (args) => [
        ['buffer', args.pointer('buffer')],
        ['event', args.pointer('doneWithHostBuffer')],
      ],
      'doneWithHostBuffer',
    );
    const ofBuffer = (args: ForeignStruct<CallName>): null => {
      this.ledger.used('buffer', readPointer(args.address + 16n));
      return null;
    };
    this.#replace('Buffer_ReadyEvent', ofBuffer, (args) => [['event', args.pointer('event')]], 'event');
    this.#replace('Buffer_ToHostBuffer', ofBuffer, (args) => [['event', args.pointer('event')]], 'event');
    this.#replace('Buffer_OpaqueDeviceMemoryDataPointer', ofBuffer, () => []);
    this.#replace('Buffer_CopyToDevice', ofBuffer, (args) => [['buffer', args.pointer('dstBuffer')]]);
    this.#replaceExecute();
  }

  #replaceExecute(): void {
    this.#replacements.set('LoadedExecutable_Execute', (address) => {
      const args = new ForeignStruct('LoadedExecutable_Execute', address);
      const executable = args.pointer('executable');
      this.ledger.used('loaded executable', executable);
      const devices = args.number('numDevices');
      for (const list of readPointers(args.pointer('argumentLists'), devices)) {
        for (const argument of readPointers(list, args.number('numArgs'))) this.ledger.used('buffer', argument);
      }
      const client = this.#clientOf.get(executable) ?? 0n;
      const fault = this.#fault('LoadedExecutable_Execute', args.pointer('executeDevice'), client);
      if (fault?.how === 'error') return this.#error(fault);
      const failed = this.#real.call('LoadedExecutable_Execute', address);
      if (failed !== null) return failed;
      const outputs = readPointers(args.pointer('outputLists'), devices).flatMap((list) =>
        readPointers(list, this.#outputCount(executable)),
      );
      const events = args.pointer('deviceCompleteEvents');
      for (const output of outputs) this.#created('buffer', output, client);
      for (let index = 0; index < devices; index++) {
        const at = events + BigInt(index * 8);
        if (fault?.how === 'nan') this.#await(readPointer(at));
        else if (fault !== null) writePointer(at, this.#gated(fault, readPointer(at)));
        this.#created('event', readPointer(at), client);
      }
      if (fault?.how === 'nan') for (const output of outputs) this.#poison(output);
      return null;
    });
  }

  #replaceDestroyers(): void {
    const destroyers = {
      Client_Destroy: 'client',
      LoadedExecutable_Destroy: 'loaded executable',
      Executable_Destroy: 'executable',
      Buffer_Destroy: 'buffer',
      Event_Destroy: 'event',
    } as const;
    for (const [name, kind] of Object.entries(destroyers) as [keyof typeof destroyers, ObjectKind][]) {
      this.#replacements.set(name, (address) => {
        const handle = readPointer(address + 16n);
        if (!this.ledger.destroyed(kind, handle)) return null;
        this.#clientOf.delete(handle);
        this.#lostClients.delete(handle);
        const failed = this.#real.call(name, address);
        const gate = this.#pending.get(handle);
        this.#pending.delete(handle);
        gate?.destroyed();
        return failed;
      });
    }
  }

  /** An event that does what the fault says, instead of `event`, which is destroyed. */
  #gated(fault: Fault, event: bigint): bigint {
    const destroy = new NativeStruct('Event_Destroy');
    destroy.set('event', event);
    this.#real.must(destroy);
    const gate = this.#gates.make();
    this.#pending.set(gate.event, gate);
    if (fault.how === 'late-error') {
      const { code = 'INTERNAL', message = 'injected', afterMs } = fault;
      if (afterMs === undefined) gate.release({ code, message });
      else setTimeout(() => gate.release({ code, message }), afterMs);
    }
    return gate.event;
  }

  #await(event: bigint): void {
    const args = new NativeStruct('Event_Await');
    args.set('event', event);
    this.#real.must(args);
  }

  #outputCount(executable: bigint): number {
    const get = new NativeStruct('LoadedExecutable_GetExecutable');
    get.set('loadedExecutable', executable);
    this.#real.must(get);
    const count = new NativeStruct('Executable_NumOutputs');
    count.set('executable', get.pointer('executable'));
    this.#real.must(count);
    const destroy = new NativeStruct('Executable_Destroy');
    destroy.set('executable', get.pointer('executable'));
    this.#real.must(destroy);
    return count.number('numOutputs');
  }

  /** Overwrites a computed result of floats where it lies. */
  #poison(buffer: bigint): void {
    const type = new NativeStruct('Buffer_ElementType');
    type.set('buffer', buffer);
    this.#real.must(type);
    // Bundles of results hold floats as words.
    if (type.number('type') !== elementTypes.float32 && type.number('type') !== elementTypes.int32) return;
    const size = new NativeStruct('Buffer_OnDeviceSizeInBytes');
    size.set('buffer', buffer);
    this.#real.must(size);
    const memory = new NativeStruct('Buffer_OpaqueDeviceMemoryDataPointer');
    memory.set('buffer', buffer);
    this.#real.must(memory);
    const count = Math.floor(size.number('onDeviceSizeInBytes') / 4);
    const values = new Float32Array(count).fill(Number.NaN);
    copyMemory(memory.pointer('deviceMemory'), addressOf(values), count * 4);
  }
}
