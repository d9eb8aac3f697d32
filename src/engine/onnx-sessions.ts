/** The worker thread's side of the ONNX engine: compiled models and their sessions, by program number. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { InferenceSession, listSupportedBackends, Tensor } from 'onnxruntime-node';
import { programSignature, shapeIn, type TensorData, type TensorSignature } from '../operators/signature.js';
import type { ProgramRequest } from './engine.js';
import type { KeptModel } from './onnx-model-cache.js';
import { controlSlot, type WorkerSettings } from './onnx-protocol.js';

/** Traces and lowers: the bytes of an ONNX model with its weights inside. Equal requests give equal bytes. */
export type CompileModel = (request: ProgramRequest) => Uint8Array | Promise<Uint8Array>;

interface Port {
  readonly name: string;
  readonly dtype: TensorSignature['dtype'];
  readonly shape: readonly number[];
  readonly length: number;
}

interface Session {
  readonly session: InferenceSession;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

export interface LoadedModel {
  /** First 16 hex digits of the model's SHA-256. */
  readonly fingerprint: string;
  readonly residentBytes: number;
}

export class OnnxSessions {
  readonly device: string;
  readonly #compile: CompileModel;
  readonly #options: InferenceSession.SessionOptions;
  readonly #control: Int32Array;
  readonly #sessions = new Map<number, Session>();

  constructor(compile: CompileModel, settings: WorkerSettings) {
    this.#compile = compile;
    this.#control = settings.control;
    const installed = new Set(
      listSupportedBackends()
        .filter(({ name, bundled }) => bundled || hasLibrary(name))
        .map(({ name }) => name),
    );
    const providers = settings.executionProviders.filter((name) => installed.has(name));
    if (!providers.includes('cpu')) providers.push('cpu');
    this.device = providers[0] === 'cuda' ? 'cuda:0' : 'cpu';
    this.#options = {
      executionProviders: providers,
      intraOpNumThreads: settings.intraOpThreads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
      // An arena keeps each session's greatest need for good. Without it (and without the one block that memory patterns
      // plan) runs cost the same CPU time up to n1024 and an eighth more at n5120, where memory after a run falls from
      // 1270 to 310 MB and its peak from 1360 to 720 MB.
      enableCpuMemArena: false,
      enableMemPattern: false,
      // Pool threads that wait by spinning would take the core that the event loop needs.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
      logSeverityLevel: 3,
    };
  }

  /**
   * Out of `kept` where there is that, else compiled, and then written to the file `scratch` as it was optimised where the file can be written. Throws
   * what the compiler or the runtime throws.
   */
  async load(
    program: number,
    request: ProgramRequest,
    kept: KeptModel | null,
    scratch: string | null,
  ): Promise<LoadedModel> {
    const model = kept?.model ?? (await this.#compile(request));
    const session = await this.#create(model, kept !== null, scratch);
    const signature = programSignature(request.spec);
    const port = (tensor: TensorSignature): Port => {
      const shape = shapeIn(tensor, request.bucket);
      return { name: tensor.name, dtype: tensor.dtype, shape, length: shape.reduce((size, axis) => size * axis, 1) };
    };
    const inputs = signature.inputs.map(port);
    const outputs = signature.outputs.map(port);
    requireSameNames('inputs', inputs, session.inputNames);
    requireSameNames('outputs', outputs, session.outputNames);
    this.#sessions.set(program, { session, inputs, outputs });
    return {
      fingerprint: kept?.fingerprint ?? createHash('sha256').update(model).digest('hex').slice(0, 16),
      residentBytes: residentBytes(model.byteLength),
    };
  }

  /**
   * Inputs and outputs in the signature's order. Outputs are freshly allocated here and bound as the session's own
   * output memory: the runtime would otherwise allocate them itself and copy them into JavaScript memory
   * (measured: a quarter of the time of a cheap program with 4 MiB of outputs).
   */
  async run(program: number, inputs: readonly TensorData[]): Promise<TensorData[]> {
    const loaded = this.#sessions.get(program);
    if (loaded === undefined) throw new Error(`program ${program} is not loaded`);
    if (inputs.length !== loaded.inputs.length)
      throw new Error(`expected ${loaded.inputs.length} inputs, received ${inputs.length}`);
    const feeds: Record<string, Tensor> = {};
    loaded.inputs.forEach((port, index) => (feeds[port.name] = tensorOf(port, inputs[index]!)));
    const fetches: Record<string, Tensor> = {};
    const outputs = loaded.outputs.map((port) => {
      const data = port.dtype === 'int32' ? new Int32Array(port.length) : new Float32Array(port.length);
      fetches[port.name] = tensorOf(port, data);
      return data;
    });
    await this.#inRuntime(() => loaded.session.run(feeds, fetches));
    return outputs;
  }

  async unload(program: number): Promise<void> {
    const loaded = this.#sessions.get(program);
    if (loaded === undefined) return;
    this.#sessions.delete(program);
    await this.#inRuntime(() => loaded.session.release());
  }

  async #create(model: Uint8Array, optimised: boolean, scratch: string | null): Promise<InferenceSession> {
    const create = (more: InferenceSession.SessionOptions): Promise<InferenceSession> =>
      this.#inRuntime(() => InferenceSession.create(model, { ...this.#options, ...more }));
    if (optimised) return create({ graphOptimizationLevel: 'disabled' });
    // What another runtime than the CPU's own optimised may hold what only this process can run.
    if (scratch === null || this.device !== 'cpu') return create({});
    try {
      return await create({ optimizedModelFilePath: scratch });
    } catch {
      // The model is at fault, which shows again, or the disk.
      return create({});
    }
  }

  async #inRuntime<T>(call: () => Promise<T>): Promise<T> {
    Atomics.store(this.#control, controlSlot.inRuntime, 1);
    try {
      return await call();
    } finally {
      Atomics.store(this.#control, controlSlot.inRuntime, 0);
    }
  }
}

/** Whether a provider that is no part of the package was added to it; the runtime names it as supported even where it was not. */
function hasLibrary(provider: string): boolean {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  const folder = join(dirname(main), '..', 'bin', 'napi-v6', platform(), arch());
  return existsSync(join(folder, `libonnxruntime_providers_${provider}.so`));
}

/** Throws where the data's type or length does not fit the shape. */
function tensorOf(port: Port, data: TensorData): Tensor {
  if (data.length !== port.length)
    throw new Error(`${port.name}: expected ${port.length} values, received ${data.length}`);
  return data instanceof Int32Array ? new Tensor('int32', data, port.shape) : new Tensor('float32', data, port.shape);
}

function requireSameNames(what: string, ports: readonly Port[], names: readonly string[]): void {
  const missing = ports.filter((port) => !names.includes(port.name)).map((port) => port.name);
  if (missing.length > 0 || ports.length !== names.length)
    throw new Error(
      `the model's ${what} are ${names.join(', ')}; the signature says ${ports.map((port) => port.name).join(', ')}`,
    );
}

/** Measured over forty sessions of each of four programs: 1.5 to 2 MB each, whatever the bucket; weights are kept twice at most. */
function residentBytes(modelBytes: number): number {
  return 2 * 2 ** 20 + 2 * modelBytes;
}
