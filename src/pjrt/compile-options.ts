/**
 * XLA's compile options in protobuf wire format, by field number (`xla.CompileOptionsProto` and what it holds). Written by hand: a dozen
 * fields of a message whose full schema is thousands of lines. Equal options give equal bytes, so the bytes can be part of a cache key.
 */

/** Overrides of XLA's debug options by flag name, such as `xla_cpu_multi_thread_eigen`. */
export type OptionOverrides = Readonly<Record<string, string | boolean | number>>;

export interface CompileOptions {
  /** Devices that run one program together, each on its part. 1 unless set. */
  readonly partitions?: number;
  /** Ids of the devices, one per partition. Not together with `portable`. The client's first devices unless set. */
  readonly devices?: readonly number[];
  /** The executable runs on any one device, chosen at each execution. Only for one partition. */
  readonly portable?: boolean;
  readonly overrides?: OptionOverrides;
}

const field = {
  options: { build: 3, portable: 4, overrides: 7 },
  build: { deviceOrdinal: 1, replicas: 4, partitions: 5, spmd: 6, deviceAssignment: 9, shardy: 19 },
  assignment: { replicas: 1, computations: 2, computationDevices: 3 },
  computationDevice: { replicaDeviceIds: 1 },
  mapEntry: { key: 1, value: 2 },
  override: { text: 1, flag: 2, integer: 3, real: 4 },
} as const;

const wireType = { varint: 0, fixed64: 1, lengthDelimited: 2 } as const;

/** Collects fields of one message. */
class MessageWriter {
  readonly #bytes: number[] = [];

  varint(number: number, value: number | bigint): this {
    this.#tag(number, wireType.varint);
    return this.#raw(value);
  }

  real(number: number, value: number): this {
    this.#tag(number, wireType.fixed64);
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setFloat64(0, value, true);
    this.#bytes.push(...new Uint8Array(bytes.buffer));
    return this;
  }

  bytes(number: number, value: Uint8Array): this {
    this.#tag(number, wireType.lengthDelimited);
    this.#raw(value.length);
    this.#bytes.push(...value);
    return this;
  }

  text(number: number, value: string): this {
    return this.bytes(number, new TextEncoder().encode(value));
  }

  /** An element of a packed list: a varint without a tag. */
  element(value: number): this {
    return this.#raw(value);
  }

  message(number: number, fill: (writer: MessageWriter) => void): this {
    const writer = new MessageWriter();
    fill(writer);
    return this.bytes(number, writer.finish());
  }

  finish(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes);
  }

  #tag(number: number, type: number): void {
    this.#raw(number * 8 + type);
  }

  /** Base-128 digits, least significant first; negative numbers as their 64-bit two's complement. */
  #raw(value: number | bigint): this {
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest > 0x7fn) {
      this.#bytes.push(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.#bytes.push(Number(rest));
    return this;
  }
}

export function encodeCompileOptions(options: CompileOptions = {}): Uint8Array<ArrayBuffer> {
  const { partitions = 1, devices, portable = false, overrides = {} } = options;
  if (!Number.isInteger(partitions) || partitions < 1) {
    throw new RangeError(`partitions: expected a positive integer, received ${partitions}`);
  }
  if (devices !== undefined && devices.length !== partitions) {
    throw new RangeError(`devices: expected one per partition (${partitions}), received ${devices.length}`);
  }
  if (portable && (partitions > 1 || devices !== undefined)) {
    throw new RangeError('portable: expected one partition and no devices, as the device is chosen at each execution');
  }
  const writer = new MessageWriter();
  writer.message(field.options.build, (build) => {
    build
      .varint(field.build.deviceOrdinal, -1) // zero would pin the first device
      .varint(field.build.replicas, 1)
      .varint(field.build.partitions, partitions);
    // Shardy reads `sdy.mesh` and `sdy.sharding` of the module; it needs the SPMD partitioner, which needs more than one partition.
    if (partitions > 1) build.varint(field.build.spmd, 1);
    if (devices !== undefined) {
      build.message(field.build.deviceAssignment, (assignment) => {
        assignment.varint(field.assignment.replicas, 1).varint(field.assignment.computations, partitions);
        for (const device of devices) {
          assignment.message(field.assignment.computationDevices, (computation) => {
            computation.message(field.computationDevice.replicaDeviceIds, (packed) => packed.element(device));
          });
        }
      });
    }
    if (partitions > 1) build.varint(field.build.shardy, 1);
  });
  if (portable) writer.varint(field.options.portable, 1);
  for (const name of Object.keys(overrides).sort()) {
    writer.message(field.options.overrides, (entry) => {
      entry.text(field.mapEntry.key, name).message(field.mapEntry.value, (override) => {
        const value = overrides[name]!;
        if (typeof value === 'string') override.text(field.override.text, value);
        else if (typeof value === 'boolean') override.varint(field.override.flag, value ? 1 : 0);
        else if (Number.isInteger(value)) override.varint(field.override.integer, value);
        else override.real(field.override.real, value);
      });
    });
  }
  return writer.finish();
}
