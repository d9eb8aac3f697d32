/**
 * What an execution takes on the plugin itself: inputs resident on the device, results left there, this thread waiting
 * for them without an event loop. What a run takes beyond that is transfers and the bridge.
 */
import type { Clock } from '../../src/clock.js';
import { bundled, bundlingOf, travellingShapes, unbundled } from '../../src/compiler/bundling.js';
import { platformOverrides } from '../../src/engine/platform-overrides.js';
import { xlaProgramText } from '../../src/engine/xla-program.js';
import { programSignature, shapeIn, type TensorData } from '../../src/operators/signature.js';
import type { PjrtBuffer } from '../../src/pjrt/buffer.js';
import { PjrtClient } from '../../src/pjrt/client.js';
import type { PjrtLoadedExecutable } from '../../src/pjrt/executable.js';
import type { HostArray } from '../../src/pjrt/host-array.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { addressOf, allocateAligned, NativeStruct } from '../../src/pjrt/native-memory.js';
import { type HostTensor, runOnHostArrays } from '../../src/pjrt/run.js';
import type { Workload } from './workload.js';

export interface HostInput {
  readonly data: HostArray;
  readonly dims: readonly number[];
  /** Bound once, not sent with each run. */
  readonly weight: boolean;
}

export class ResidentProgram implements Disposable {
  readonly #client: PjrtClient;
  readonly #executable: PjrtLoadedExecutable;
  readonly #inputs: readonly PjrtBuffer[];
  /** What a run sends each time: everything but weights, which are not batched and stay. */
  readonly #hostInputs: readonly (HostTensor | PjrtBuffer)[];

  /** The arguments, the results, the event of the end, and where the first two begin: what one execution reads and writes. */
  readonly #pointers: BigUint64Array;
  readonly #doneAt: number;
  readonly #start: NativeStruct<'LoadedExecutable_Execute'>;
  readonly #wait = new NativeStruct('Event_Await');

  private constructor(
    client: PjrtClient,
    executable: PjrtLoadedExecutable,
    inputs: readonly PjrtBuffer[],
    hostInputs: readonly (HostTensor | PjrtBuffer)[],
  ) {
    this.#client = client;
    this.#executable = executable;
    this.#inputs = inputs;
    this.#hostInputs = hostInputs;
    const numArgs = inputs.length;
    this.#doneAt = numArgs + executable.outputTypes.length;
    this.#pointers = new BigUint64Array(this.#doneAt + 3);
    inputs.forEach(({ handle }, index) => (this.#pointers[index] = handle));
    const at = (index: number): bigint => addressOf(this.#pointers) + BigInt(index * 8);
    this.#pointers[this.#doneAt + 1] = at(0);
    this.#pointers[this.#doneAt + 2] = at(numArgs);
    const options = new NativeStruct('ExecuteOptions');
    const all = BigInt64Array.from({ length: numArgs }, (_, index) => BigInt(index));
    options.point('nonDonatableInputIndices', all);
    options.set('numNonDonatableInputIndices', numArgs);
    this.#start = new NativeStruct('LoadedExecutable_Execute');
    this.#start.set('executable', executable.handle);
    this.#start.point('options', options);
    this.#start.set('argumentLists', at(this.#doneAt + 1));
    this.#start.set('numDevices', 1);
    this.#start.set('numArgs', numArgs);
    this.#start.set('outputLists', at(this.#doneAt + 2));
    this.#start.set('deviceCompleteEvents', at(this.#doneAt));
  }

  /** Compiles StableHLO text and puts its arguments on the device. */
  static async load(client: PjrtClient, text: string, inputs: readonly HostInput[]): Promise<ResidentProgram> {
    const executable = await client.compile(text, { overrides: platformOverrides(client.platformName) });
    const resident = inputs.map(({ data, dims }) => client.bufferFromHost(data, dims));
    await Promise.all(resident.map((buffer) => buffer.ready()));
    const sent = inputs.map((input, index) => (input.weight ? resident[index]! : aligned(input)));
    return new ResidentProgram(client, executable, resident, sent);
  }

  /** The program that the engine runs for a workload, with its inputs and weights. */
  static async ofWorkload(client: PjrtClient, workload: Workload): Promise<ResidentProgram> {
    const { text, travelling } = programOf(workload, client.platformName);
    return ResidentProgram.load(client, text, travelling);
  }

  /** Executes once on this thread alone; milliseconds from the call until the results are there. */
  execute(): number {
    const { api } = this.#client;
    const startMs = performance.now();
    api.call(this.#start);
    const done = this.#pointers[this.#doneAt]!;
    this.#wait.set('event', done);
    api.call(this.#wait);
    const elapsedMs = performance.now() - startMs;
    const destroyEvent = api.shared('Event_Destroy');
    destroyEvent.set('event', done);
    api.call(destroyEvent);
    const destroyBuffer = api.shared('Buffer_Destroy');
    for (const result of this.#pointers.subarray(this.#inputs.length, this.#doneAt)) {
      destroyBuffer.set('buffer', result);
      api.call(destroyBuffer);
    }
    return elapsedMs;
  }

  /** The results of one execution, on the host. */
  async results(): Promise<HostArray[]> {
    const { outputs, done } = await this.#executable.execute([this.#inputs]);
    await done;
    const results: HostArray[] = [];
    for (const output of outputs[0]!) {
      const array = output.elementType === 'int32' ? new Int32Array(sizeOf(output)) : new Float32Array(sizeOf(output));
      await output.copyToHost(array);
      output.dispose();
      results.push(array);
    }
    return results;
  }

  /** Once from arrays in memory to arrays in memory, as the engine runs it. */
  async run(clock: Clock): Promise<void> {
    await runOnHostArrays(this.#client, this.#executable, this.#hostInputs, clock);
  }

  [Symbol.dispose](): void {
    for (const input of this.#inputs) input.dispose();
    this.#executable.dispose();
  }
}

/** A client of its own beside an engine's. */
export async function openClient(pluginPath: string): Promise<PjrtClient> {
  return PjrtClient.create(loadPlugin(pluginPath));
}

export interface ProgramText {
  readonly text: string;
  /** Arguments in order: what travels of the inputs, then the weights. */
  readonly travelling: readonly HostInput[];
  /** Inputs and weights by name, each by itself. */
  readonly inputs: ReadonlyMap<string, HostInput>;
  /** The outputs by name, of what an execution gave. */
  readonly outputsOf: (results: readonly HostArray[]) => ReadonlyMap<string, TensorData>;
}

/** What the engine compiles for a workload on a platform (`cpu`, `tpu`), and what it runs it on. */
export function programOf(workload: Workload, platform: string): ProgramText {
  const { spec, request } = workload;
  const { bucket, parameters } = request;
  const signature = programSignature(spec);
  const arriving = bundlingOf(signature.inputs, bucket);
  const leaving = bundlingOf(signature.outputs, bucket);
  const given = workload.inputs();
  const shapes = travellingShapes(arriving, signature.inputs, bucket);
  const inputOf = (data: TensorData, dims: readonly number[]): HostInput => ({
    data: data as HostArray,
    dims,
    weight: false,
  });
  const weights = signature.parameters.map(({ name, shape }): [string, HostInput] => [
    name,
    { data: Float32Array.from(parameters.get(name)!), dims: shape, weight: true },
  ]);
  return {
    text: xlaProgramText(spec, bucket, platform),
    travelling: [
      ...bundled(arriving, given).map((data, index) => inputOf(data, shapes[index]!)),
      ...weights.map(([, weight]) => weight),
    ],
    inputs: new Map([
      ...signature.inputs.map((input, index): [string, HostInput] => [
        input.name,
        inputOf(given[index]!, shapeIn(input, bucket)),
      ]),
      ...weights,
    ]),
    outputsOf: (results) => {
      const outputs = unbundled(leaving, results as readonly TensorData[]);
      return new Map(signature.outputs.map(({ name }, index) => [name, outputs[index]!]));
    },
  };
}

/** Where the plugin takes it without a copy, as packed batches lie. */
function aligned({ data, dims }: HostInput): HostTensor {
  const bytes = allocateAligned(data.byteLength);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const view = data instanceof Int32Array ? Int32Array : Float32Array;
  return { data: new view(bytes.buffer, bytes.byteOffset, data.length), dims };
}

function sizeOf({ dims }: PjrtBuffer): number {
  return dims.reduce((size, dim) => size * dim, 1);
}
