/** Compiling ahead of time, for devices that this host does not have. */
import { encodeCompileOptions, type CompileOptions } from './compile-options.js';
import type { PjrtApi } from './call.js';
import { PjrtDeviceDescription } from './device.js';
import { PjrtExecutable } from './executable.js';
import { encodeNamedValues, type NamedValue } from './named-values.js';
import { NativeStruct, readPointers } from './native-memory.js';
import { PjrtObject } from './ownership.js';
import { stableHloProgram } from './program.js';

/**
 * What must be in the environment before `loadPlugin` takes libtpu on a host without a TPU: else it asks a metadata server for minutes, leaves
 * a lock file behind and complains on stderr. A process that serves on a TPU must not have these.
 */
export const aheadOfTimeEnvironment: Readonly<Record<string, string>> = {
  TPU_SKIP_MDS_QUERY: '1',
  ALLOW_MULTIPLE_LIBTPU_LOAD: '1',
  TPU_ACCELERATOR_TYPE: 'v5litepod-4',
  TPU_WORKER_HOSTNAMES: 'localhost',
  TPU_MIN_LOG_LEVEL: '3',
  TF_CPP_MIN_LOG_LEVEL: '2',
};

export class PjrtTopology extends PjrtObject {
  readonly platformName: string;
  readonly platformVersion: string;
  readonly devices: readonly PjrtDeviceDescription[];
  readonly #api: PjrtApi;

  private constructor(api: PjrtApi, handle: bigint) {
    super('topology', handle, null);
    this.#api = api;
    const name = new NativeStruct('TopologyDescription_PlatformName');
    name.set('topology', handle);
    api.call(name);
    this.platformName = name.text('platformName', 'platformNameSize');
    const version = new NativeStruct('TopologyDescription_PlatformVersion');
    version.set('topology', handle);
    api.call(version);
    this.platformVersion = version.text('platformVersion', 'platformVersionSize');
    const devices = new NativeStruct('TopologyDescription_GetDeviceDescriptions');
    devices.set('topology', handle);
    api.call(devices);
    this.devices = readPointers(devices.pointer('descriptions'), devices.number('numDescriptions')).map(
      (device) => new PjrtDeviceDescription(api, device),
    );
  }

  /**
   * Describes devices by the plugin's own name for them: `v5e:2x2` for four chips of a TPU v5e. Off the event loop. Rejects with PjrtError.
   * See `aheadOfTimeEnvironment`.
   */
  static async create(
    api: PjrtApi,
    topologyName: string,
    options: Readonly<Record<string, NamedValue>> = {},
  ): Promise<PjrtTopology> {
    const name = new TextEncoder().encode(topologyName);
    const list = encodeNamedValues(options);
    const args = new NativeStruct('TopologyDescription_Create');
    args.point('topologyName', name);
    args.set('topologyNameSize', name.length);
    args.point('createOptions', list.memory);
    args.set('numOptions', list.count);
    args.keep(list.kept);
    await api.callAsync(args);
    return new PjrtTopology(api, args.pointer('topology'));
  }

  /** Compiles a StableHLO module's text for these devices, off the event loop. Rejects with PjrtError, whose message is XLA's. */
  async compile(module: string, options: CompileOptions = {}): Promise<PjrtExecutable> {
    const encoded = encodeCompileOptions(options);
    const args = new NativeStruct('Compile');
    args.set('topology', this.handle);
    args.point('program', stableHloProgram(module));
    args.point('compileOptions', encoded);
    args.set('compileOptionsSize', encoded.length);
    this.hold();
    try {
      await this.#api.callAsync(args);
      return new PjrtExecutable(this.#api, args.pointer('executable'), this);
    } finally {
      this.unhold();
    }
  }

  protected override free(handle: bigint): void {
    const args = new NativeStruct('TopologyDescription_Destroy');
    args.set('topology', handle);
    this.#api.call(args);
  }
}
