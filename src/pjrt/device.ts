/** Devices of a client or of a topology. They belong to it and need no disposal. */
import type { PjrtApi } from './call.js';
import { NativeStruct } from './native-memory.js';
import { readNamedValues, type NamedValue } from './named-values.js';

export class PjrtDeviceDescription {
  /** Unique among the devices of the client or topology; what compile options name. */
  readonly id: number;
  /** `cpu`, `TPU v5 lite`, `NVIDIA H100 80GB HBM3`. */
  readonly kind: string;
  /** For people, in the plugin's own words. */
  readonly description: string;
  readonly attributes: ReadonlyMap<string, NamedValue>;

  constructor(api: PjrtApi, deviceDescription: bigint) {
    const id = new NativeStruct('DeviceDescription_Id');
    id.set('deviceDescription', deviceDescription);
    api.call(id);
    this.id = id.number('id');
    const kind = new NativeStruct('DeviceDescription_Kind');
    kind.set('deviceDescription', deviceDescription);
    api.call(kind);
    this.kind = kind.text('deviceKind', 'deviceKindSize');
    const text = new NativeStruct('DeviceDescription_ToString');
    text.set('deviceDescription', deviceDescription);
    api.call(text);
    this.description = text.text('text', 'textSize');
    const attributes = new NativeStruct('DeviceDescription_Attributes');
    attributes.set('deviceDescription', deviceDescription);
    api.call(attributes);
    this.attributes = readNamedValues(attributes.pointer('attributes'), attributes.number('numAttributes'));
  }
}

export interface DeviceMemoryStats {
  readonly bytesInUse: number;
  /** Null where the device does not say. */
  readonly peakBytesInUse: number | null;
  readonly bytesLimit: number | null;
}

/** A device that this process can use. Valid while its client is. */
export class PjrtDevice extends PjrtDeviceDescription {
  readonly handle: bigint;
  readonly #api: PjrtApi;

  constructor(api: PjrtApi, handle: bigint) {
    const description = new NativeStruct('Device_GetDescription');
    description.set('device', handle);
    api.call(description);
    super(api, description.pointer('deviceDescription'));
    this.handle = handle;
    this.#api = api;
  }

  /** Kind of the memory that buffers land in: `device`, `unpinned_host`. */
  defaultMemoryKind(): string {
    const memory = new NativeStruct('Device_DefaultMemory');
    memory.set('device', this.handle);
    this.#api.call(memory);
    const kind = new NativeStruct('Memory_Kind');
    kind.set('memory', memory.pointer('memory'));
    this.#api.call(kind);
    return kind.text('kind', 'kindSize');
  }

  /** Throws PjrtError UNIMPLEMENTED where the plugin does not count. */
  memoryStats(): DeviceMemoryStats {
    const args = new NativeStruct('Device_MemoryStats');
    args.set('device', this.handle);
    this.#api.call(args);
    return {
      bytesInUse: args.number('bytesInUse'),
      peakBytesInUse: args.flag('peakBytesInUseIsSet') ? args.number('peakBytesInUse') : null,
      bytesLimit: args.flag('bytesLimitIsSet') ? args.number('bytesLimit') : null,
    };
  }
}
