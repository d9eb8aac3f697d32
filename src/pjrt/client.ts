/** A client: the devices of one plugin, and what is made on them. */
import { encodeCompileOptions, type CompileOptions } from './compile-options.js';
import { PjrtError, type PjrtApi } from './call.js';
import { PjrtBuffer, type HostBufferSemantics } from './buffer.js';
import { PjrtDevice } from './device.js';
import { PjrtLoadedExecutable } from './executable.js';
import { elementTypeOfArray, type ElementType, type HostArray } from './host-array.js';
import { encodeNamedValues, type NamedValue } from './named-values.js';
import { NativeStruct, readPointers } from './native-memory.js';
import { PjrtObject } from './ownership.js';
import { stableHloProgram } from './program.js';

export interface FromHostOptions {
  /** The client's first device unless set. */
  readonly device?: PjrtDevice;
  /** What the array's own type says unless set; needed for `pred`. */
  readonly elementType?: ElementType;
  /** 'until-transferred' unless set. */
  readonly semantics?: HostBufferSemantics;
}

/** A plugin's own, by name. */
export type ClientOptions = Readonly<Record<string, NamedValue>>;

export class PjrtClient extends PjrtObject {
  readonly api: PjrtApi;
  /** `cpu`, `cuda`, `tpu`. */
  readonly platformName: string;
  /** Build of the platform, for people and cache keys. */
  readonly platformVersion: string;
  /** Devices of this process, in the plugin's order; at least one. */
  readonly devices: readonly PjrtDevice[];

  /** Whether buffers lie in memory that this process reads as its own, row-major and dense. */
  readonly deviceMemoryIsHost: boolean;

  private constructor(api: PjrtApi, handle: bigint) {
    super('client', handle, null);
    this.api = api;
    try {
      const name = new NativeStruct('Client_PlatformName');
      name.set('client', handle);
      api.call(name);
      this.platformName = name.text('platformName', 'platformNameSize');
      this.deviceMemoryIsHost = this.platformName === 'cpu';
      const version = new NativeStruct('Client_PlatformVersion');
      version.set('client', handle);
      api.call(version);
      this.platformVersion = version.text('platformVersion', 'platformVersionSize');
      const devices = new NativeStruct('Client_AddressableDevices');
      devices.set('client', handle);
      api.call(devices);
      this.devices = readPointers(devices.pointer('devices'), devices.number('numDevices')).map(
        (device) => new PjrtDevice(api, device),
      );
      if (this.devices.length === 0)
        throw new PjrtError('NOT_FOUND', 'no device belongs to this process', 'PJRT_Client_AddressableDevices');
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /**
   * Opens the plugin's devices, off the event loop: a TPU or GPU takes seconds, and belongs to one client on the host. `options` are the plugin's
   * own, by name. Rejects with PjrtError.
   */
  static async create(api: PjrtApi, options: ClientOptions = {}): Promise<PjrtClient> {
    const args = creation(options);
    await api.callAsync(args);
    return new PjrtClient(api, args.pointer('client'));
  }

  /** The same on this thread, for a plugin that takes a moment: a CPU's. Throws PjrtError. */
  static createAtOnce(api: PjrtApi, options: ClientOptions = {}): PjrtClient {
    const args = creation(options);
    api.call(args);
    return new PjrtClient(api, args.pointer('client'));
  }

  /** See `PjrtBuffer.fromHost`. */
  bufferFromHost(data: HostArray, dims: readonly number[], options: FromHostOptions = {}): PjrtBuffer {
    const {
      device = this.devices[0]!,
      elementType = elementTypeOfArray(data),
      semantics = 'until-transferred',
    } = options;
    return PjrtBuffer.fromHost(this, device, data, elementType, dims, semantics);
  }

  /** Compiles a StableHLO module's text, off the event loop. Rejects with PjrtError, whose message is XLA's. */
  async compile(module: string, options: CompileOptions = {}): Promise<PjrtLoadedExecutable> {
    const encoded = encodeCompileOptions(options);
    const args = new NativeStruct('Client_Compile');
    args.set('client', this.handle);
    args.point('program', stableHloProgram(module));
    args.point('compileOptions', encoded);
    args.set('compileOptionsSize', encoded.length);
    this.hold();
    try {
      await this.api.callAsync(args);
      return new PjrtLoadedExecutable(this, args.pointer('executable'));
    } finally {
      this.unhold();
    }
  }

  /**
   * Loads what `PjrtExecutable.serialize` gave, off the event loop. The same build of the plugin, the same kind of device and the same options are
   * the caller's duty: plugins check little. Rejects with PjrtError.
   */
  async deserialize(serialized: Uint8Array<ArrayBuffer>): Promise<PjrtLoadedExecutable> {
    const args = new NativeStruct('Executable_DeserializeAndLoad');
    args.set('client', this.handle);
    args.point('serializedExecutable', serialized);
    args.set('serializedExecutableSize', serialized.length);
    this.hold();
    try {
      await this.api.callAsync(args);
      return new PjrtLoadedExecutable(this, args.pointer('loadedExecutable'));
    } finally {
      this.unhold();
    }
  }

  protected override free(handle: bigint): void {
    const args = new NativeStruct('Client_Destroy');
    args.set('client', handle);
    this.api.call(args);
  }
}

function creation(options: ClientOptions): NativeStruct<'Client_Create'> {
  const list = encodeNamedValues(options);
  const args = new NativeStruct('Client_Create');
  args.point('createOptions', list.memory);
  args.set('numOptions', list.count);
  args.keep(list.kept);
  return args;
}
