/** Arrays on a device. */
import { elementTypes, hostBufferSemantics } from './abi.js';
import type { PjrtClient } from './client.js';
import type { PjrtDevice } from './device.js';
import { PjrtEvent } from './event.js';
import { elementBytes, elementCount, type ElementType, type HostArray } from './host-array.js';
import { addressOf, copyInto, NativeStruct } from './native-memory.js';
import { PjrtObject } from './ownership.js';

export type HostBufferSemantics = keyof typeof hostBufferSemantics;

/** Size of the tiled member of a layout up to its last field, by which the plugin tells versions apart. */
const tiledLayoutBytes = 56;
const rowMajorLayouts = new Map<number, NativeStruct<'MemoryLayout'>>();

/** Devices choose layouts of their own (a TPU transposes and pads), so every copy to the host names the one it wants. */
function rowMajorLayout(rank: number): NativeStruct<'MemoryLayout'> {
  let layout = rowMajorLayouts.get(rank);
  if (layout === undefined) {
    layout = new NativeStruct('MemoryLayout', 0);
    layout.set('tiledStructSize', tiledLayoutBytes);
    layout.point(
      'minorToMajor',
      BigInt64Array.from({ length: rank }, (_, index) => BigInt(rank - 1 - index)),
    );
    layout.set('minorToMajorSize', rank);
    rowMajorLayouts.set(rank, layout);
  }
  return layout;
}

/** Up to here a copy on the event loop takes less than handing it to another thread and back: 256 KiB in about 15 us. */
const directCopyBytes = 256 * 1024;

export class PjrtBuffer extends PjrtObject {
  readonly elementType: ElementType;
  readonly dims: readonly number[];
  readonly #client: PjrtClient;
  /** Happens when the plugin no longer reads the host memory that the buffer was made of, which the event keeps. */
  #returned: PjrtEvent | null = null;
  #computed = false;
  #returning: Promise<void> | null = null;
  #read = false;

  /** Takes over `handle`. */
  constructor(client: PjrtClient, handle: bigint, elementType: ElementType, dims: readonly number[]) {
    super('buffer', handle, client);
    this.#client = client;
    this.elementType = elementType;
    this.dims = dims;
  }

  /**
   * Copies `data` (row-major, exactly as large as `dims`) to the device, or lends it: see `hostBufferSemantics`. Lent memory is kept alive
   * here until the plugin is done with it and must not be written to before: for 'zero-copy' until the buffer is disposed and everything
   * that read it has run. Returns before the transfer is over; what uses the buffer waits for it.
   */
  static fromHost(
    client: PjrtClient,
    device: PjrtDevice,
    data: HostArray,
    elementType: ElementType,
    dims: readonly number[],
    semantics: HostBufferSemantics,
  ): PjrtBuffer {
    const count = elementCount(dims);
    const bytes = elementBytes(elementType);
    if (data.length !== count || data.BYTES_PER_ELEMENT !== bytes) {
      throw new RangeError(
        `data: expected ${count} elements of ${bytes} bytes for [${dims.join(', ')}], received ${data.length} of ${data.BYTES_PER_ELEMENT}`,
      );
    }
    const args = client.api.shared('Client_BufferFromHostBuffer');
    args.set('client', client.handle);
    args.set('data', addressOf(data));
    args.set('type', elementTypes[elementType]);
    args.point('dims', BigInt64Array.from(dims, BigInt));
    args.set('numDims', dims.length);
    args.set('hostBufferSemantics', hostBufferSemantics[semantics]);
    args.set('device', device.handle);
    client.api.call(args);
    const buffer = new PjrtBuffer(client, args.pointer('buffer'), elementType, dims);
    const returned = new PjrtEvent(client.api, args.pointer('doneWithHostBuffer'), client, data);
    buffer.#returned = returned;
    try {
      if (returned.ready) {
        buffer.#returned = null;
        returned.dispose();
      }
      return buffer;
    } catch (error) {
      buffer.dispose();
      throw error;
    }
  }

  get byteLength(): number {
    return elementCount(this.dims) * elementBytes(this.elementType);
  }

  /** Bytes on the device, padding included. */
  deviceBytes(): number {
    const args = this.#client.api.shared('Buffer_OnDeviceSizeInBytes');
    args.set('buffer', this.handle);
    this.#client.api.call(args);
    return args.number('onDeviceSizeInBytes');
  }

  /** Resolves when the content is on the device; rejects with the PjrtError of what should have made it. */
  async ready(): Promise<void> {
    const args = this.#client.api.shared('Buffer_ReadyEvent');
    args.set('buffer', this.handle);
    this.#client.api.call(args);
    await new PjrtEvent(this.#client.api, args.pointer('event'), this).settle();
    this.#computed = true;
  }

  /** For whoever waited for the execution that makes the content: spares `copyToHost` asking again. */
  markComputed(): void {
    this.#computed = true;
  }

  /**
   * For whoever waited for all that reads the buffer, on a plugin that reads host memory for nothing else: from `dispose` on the memory is
   * the caller's, and the plugin is not asked whether it has given it back.
   */
  markRead(): void {
    this.#read = true;
  }

  /**
   * After `dispose`: null where the plugin has given back the host memory that the buffer was made of, else a promise for when it has. Rejects with the
   * PjrtError of the transfer.
   */
  get returning(): Promise<void> | null {
    return this.#returning;
  }

  /**
   * Resolves when the plugin no longer reads the host memory that this buffer was made of; drops the reference to it. Not for 'zero-copy', where that
   * is not before the buffer is disposed.
   */
  async hostMemoryReturned(): Promise<void> {
    const returned = this.#returned;
    this.#returned = null;
    await returned?.settle();
  }

  /**
   * Copies the content into `into`, row-major, whose bytes must be exactly as many; waits for the content first where it is still computed. `into`
   * must not be read or written before the promise settles. Rejects with the PjrtError of the execution or copy.
   */
  async copyToHost(into: HostArray): Promise<void> {
    const { api, deviceMemoryIsHost } = this.#client;
    if (into.byteLength !== this.byteLength) {
      throw new RangeError(`into: expected ${this.byteLength} bytes, received ${into.byteLength}`);
    }
    if (deviceMemoryIsHost && this.#computed && into.byteLength <= directCopyBytes) {
      const args = api.shared('Buffer_OpaqueDeviceMemoryDataPointer');
      args.set('buffer', this.handle);
      api.call(args);
      copyInto(into, args.pointer('deviceMemory'));
      return;
    }
    const args = api.shared('Buffer_ToHostBuffer');
    args.set('buffer', this.handle);
    args.set('hostLayout', rowMajorLayout(this.dims.length).address);
    args.set('dst', addressOf(into));
    args.set('dstSize', into.byteLength);
    api.call(args);
    await new PjrtEvent(api, args.pointer('event'), this, into).settle();
  }

  /** A copy on another device of the same client. */
  copyToDevice(device: PjrtDevice): PjrtBuffer {
    const { api } = this.#client;
    const args = api.shared('Buffer_CopyToDevice');
    args.set('buffer', this.handle);
    args.set('dstDevice', device.handle);
    api.call(args);
    return new PjrtBuffer(this.#client, args.pointer('dstBuffer'), this.elementType, this.dims);
  }

  protected override free(handle: bigint): void {
    const args = this.#client.api.shared('Buffer_Destroy');
    args.set('buffer', handle);
    this.#client.api.call(args);
    const returned = this.#returned;
    this.#returned = null;
    if (returned === null) return;
    try {
      if (!this.#read && !returned.ready) {
        this.#returning = returned.settle();
        this.#returning.catch(() => undefined); // the transfer's error, which whatever used the buffer has reported
        return;
      }
    } catch {
      // Whether it is ready cannot be told: nothing to wait for.
    }
    returned.dispose();
  }
}
