/**
 * Events of the real plugin that happen when a test says so. Each is the ready event of a buffer that waits for its content from the host: the plugin's
 * own code awaits it, on the plugin's own terms.
 */
import { errorCodes, type PjrtErrorCode } from '../../src/pjrt/abi.js';
import { addressOf, NativeStruct, readPointers } from '../../src/pjrt/native-memory.js';
import type { RealTable } from './fault-table.js';

export interface Gate {
  /** The plugin's event; whoever gets it destroys it, then calls `destroyed`. */
  readonly event: bigint;
  readonly open: boolean;
  /** Lets the event happen, as a failure where an error is given. Only the first call counts. */
  release(error?: { readonly code: PjrtErrorCode; readonly message: string }): void;
  /** Frees what is behind the event. */
  destroyed(): void;
}

/** An argument struct that `abi.ts` does not know, by the offsets of its fields. */
function rawStruct(bytes: number, pointers: Readonly<Record<number, bigint>>): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(Math.ceil(bytes / 8) * 8));
  view.setBigUint64(0, BigInt(bytes), true);
  for (const [offset, value] of Object.entries(pointers)) view.setBigUint64(Number(offset), value, true);
  return view;
}

export class Gates {
  readonly #real: RealTable;
  /** A client of its own, made on first use, so that gates outlive those under test. */
  #place: { readonly client: bigint; readonly memory: bigint } | null = null;

  constructor(real: RealTable) {
    this.#real = real;
  }

  make(): Gate {
    const real = this.#real;
    const { client, memory } = (this.#place ??= this.#openPlace());
    const dims = BigInt64Array.of(1n);
    const shape = rawStruct(36, { 16: addressOf(dims), 24: 1n });
    shape.setInt32(32, 11, true); // one float32
    const create = rawStruct(72, { 16: client, 24: addressOf(shape.buffer), 32: 1n, 56: memory });
    real.mustLater('createBuffersForTransfer', addressOf(create.buffer));
    const manager = create.getBigUint64(64, true);
    const retrieve = rawStruct(40, { 16: manager });
    real.mustLater('retrieveBuffer', addressOf(retrieve.buffer));
    const buffer = retrieve.getBigUint64(32, true);
    const ready = new NativeStruct('Buffer_ReadyEvent');
    ready.set('buffer', buffer);
    real.must(ready);
    let open = false;
    const release: Gate['release'] = (error) => {
      if (open) return;
      open = true;
      if (error === undefined) this.#fill(manager);
      else this.#fail(manager, error.code, error.message);
    };
    return {
      event: ready.pointer('event'),
      get open() {
        return open;
      },
      release,
      destroyed: () => {
        release();
        const destroyBuffer = new NativeStruct('Buffer_Destroy');
        destroyBuffer.set('buffer', buffer);
        real.must(destroyBuffer);
        real.mustLater('transferManagerDestroy', addressOf(rawStruct(24, { 16: manager }).buffer));
      },
    };
  }

  #openPlace(): { client: bigint; memory: bigint } {
    const create = new NativeStruct('Client_Create');
    this.#real.must(create);
    const client = create.pointer('client');
    const devices = new NativeStruct('Client_AddressableDevices');
    devices.set('client', client);
    this.#real.must(devices);
    const memory = new NativeStruct('Device_DefaultMemory');
    memory.set('device', readPointers(devices.pointer('devices'), 1)[0]!);
    this.#real.must(memory);
    return { client, memory: memory.pointer('memory') };
  }

  #fill(manager: bigint): void {
    const data = new Float32Array(1);
    const transfer = rawStruct(72, { 16: manager, 32: addressOf(data), 48: 4n });
    transfer.setUint8(56, 1); // the last transfer
    this.#real.mustLater('transferData', addressOf(transfer.buffer));
    const done = new NativeStruct('Event_Await');
    done.set('event', transfer.getBigUint64(64, true));
    this.#real.must(done);
    const destroy = new NativeStruct('Event_Destroy');
    destroy.set('event', done.pointer('event'));
    this.#real.must(destroy);
  }

  #fail(manager: bigint, code: PjrtErrorCode, message: string): void {
    const text = new TextEncoder().encode(message);
    const fail = rawStruct(48, { 16: manager, 32: addressOf(text), 40: BigInt(text.length) });
    fail.setInt32(28, errorCodes.indexOf(code), true);
    this.#real.mustLater('setBufferError', addressOf(fail.buffer));
  }
}
