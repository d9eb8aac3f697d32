/**
 * What an execution takes on the plugin itself: inputs resident on the device, results left there, this thread waiting
 * for them without an event loop. What a run takes beyond that is transfers and the bridge.
 */
import { lowerToStableHlo } from '../../src/compiler/stablehlo.js';
import { buildProgram } from '../../src/operators/pipeline.js';
import { shapeIn } from '../../src/operators/signature.js';
import type { PjrtBuffer } from '../../src/pjrt/buffer.js';
import { PjrtClient } from '../../src/pjrt/client.js';
import type { PjrtLoadedExecutable } from '../../src/pjrt/executable.js';
import type { HostArray } from '../../src/pjrt/host-array.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { NativeStruct } from '../../src/pjrt/native-memory.js';
import type { Workload } from './workload.js';

export interface HostInput {
  readonly data: HostArray;
  readonly dims: readonly number[];
}

export class ResidentProgram implements Disposable {
  readonly #client: PjrtClient;
  readonly #executable: PjrtLoadedExecutable;
  readonly #inputs: readonly PjrtBuffer[];

  private constructor(client: PjrtClient, executable: PjrtLoadedExecutable, inputs: readonly PjrtBuffer[]) {
    this.#client = client;
    this.#executable = executable;
    this.#inputs = inputs;
  }

  /** Compiles StableHLO text and puts its arguments on the device. */
  static async load(client: PjrtClient, text: string, inputs: readonly HostInput[]): Promise<ResidentProgram> {
    const executable = await client.compile(text);
    const resident = inputs.map(({ data, dims }) => client.bufferFromHost(data, dims));
    await Promise.all(resident.map((buffer) => buffer.ready()));
    return new ResidentProgram(client, executable, resident);
  }

  /** The program that the engine runs for a workload, with its inputs and weights. */
  static async ofWorkload(client: PjrtClient, workload: Workload): Promise<ResidentProgram> {
    const { text, inputs } = programOf(workload);
    return ResidentProgram.load(client, text, inputs);
  }

  /** Executes once; milliseconds from the call until the results are there. */
  async execute(): Promise<number> {
    const { api } = this.#client;
    const startMs = performance.now();
    const { outputs, done } = await this.#executable.execute([this.#inputs]);
    const ready = new NativeStruct('Buffer_ReadyEvent');
    ready.set('buffer', outputs[0]![0]!.handle);
    api.call(ready);
    const wait = new NativeStruct('Event_Await');
    wait.set('event', ready.pointer('event'));
    api.call(wait);
    const elapsedMs = performance.now() - startMs;
    const destroy = new NativeStruct('Event_Destroy');
    destroy.set('event', ready.pointer('event'));
    api.call(destroy);
    await done;
    for (const output of outputs[0]!) output.dispose();
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

  [Symbol.dispose](): void {
    for (const input of this.#inputs) input.dispose();
    this.#executable.dispose();
  }
}

/** A client of its own beside an engine's. */
export async function openClient(pluginPath: string): Promise<PjrtClient> {
  return PjrtClient.create(loadPlugin(pluginPath));
}

/** StableHLO text and arguments, in order: inputs, then weights. */
export function programOf(workload: Workload): { text: string; inputs: HostInput[] } {
  const { spec, request } = workload;
  const program = buildProgram(spec, request.bucket);
  const { signature } = program;
  const given = workload.inputs().map((data, index) => ({
    data: data as HostArray,
    dims: shapeIn(signature.inputs[index]!, request.bucket),
  }));
  const weights = signature.parameters.map(({ name, shape }) => ({
    data: Float32Array.from(request.parameters.get(name)!),
    dims: shape,
  }));
  return { text: lowerToStableHlo(program), inputs: [...given, ...weights] };
}

function sizeOf({ dims }: PjrtBuffer): number {
  return dims.reduce((size, dim) => size * dim, 1);
}
