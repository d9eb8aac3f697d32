/**
 * XLA behind the `Engine` interface, through a PJRT plugin in this process. Programs are lowered on a thread of their own and
 * compiled on libuv's pool; executions run on the plugin's threads; the event loop only starts them and picks up results.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import {
  bucketName,
  programSignature,
  shapeIn,
  type Bucket,
  type ProgramSpec,
  type Signature,
  type TensorData,
} from '../operators/signature.js';
import type { PjrtBuffer } from '../pjrt/buffer.js';
import { PjrtError, type PjrtApi } from '../pjrt/call.js';
import { PjrtClient } from '../pjrt/client.js';
import type { PjrtLoadedExecutable } from '../pjrt/executable.js';
import type { HostArray } from '../pjrt/host-array.js';
import { loadPlugin } from '../pjrt/library.js';
import { runOnHostArrays } from '../pjrt/run.js';
import type { Engine, LoadedProgram, LossReason, ProgramRequest, RunResult } from './engine.js';
import type { ExecutableCache } from './executable-cache.js';
import { longestRunMs } from './longest-run.js';
import { XlaCompiler } from './xla-compiler.js';
import { pjrtFailure } from './pjrt-failure.js';

export interface XlaEngineOptions {
  /** Path of the plugin's shared library, or what was loaded from one already. */
  readonly plugin: string | PjrtApi;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'engineRestart'>;
  /** An execution that takes longer, and longer than its program may, declares the device dead. Default 30 000. */
  readonly hangTimeoutMs?: number;
  /** Where executables are kept; none unless set. */
  readonly cache?: ExecutableCache | null;
  /** See `XlaCompilerOptions`. Needed beside `cache`. */
  readonly host?: string;
  /** Programs compiled at a time. Each takes a thread of libuv's pool, of which others need one too. Default 2. */
  readonly loadConcurrency?: number;
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

const defaultHangTimeoutMs = 30_000;
/** Size of an executable where the plugin does not say. */
const assumedExecutableBytes = 1024 * 1024;

export class XlaEngine implements Engine {
  readonly name = 'xla';
  readonly concurrency = 1;
  readonly loadConcurrency: number;
  readonly device: string;
  /** Build of the plugin's platform, for people. */
  readonly platformVersion: string;
  readonly #options: XlaEngineOptions;
  readonly #client: PjrtClient;
  readonly #compiler: XlaCompiler;
  readonly #programs = new Set<XlaProgram>();
  readonly #resetListeners: ((reason: LossReason) => void)[] = [];
  /** Executions and compilations that the plugin has. */
  readonly #running = new Set<Promise<unknown>>();
  /** Why nothing runs any more; null while all is well. */
  #dead: string | null = null;

  private constructor(options: XlaEngineOptions, client: PjrtClient) {
    this.#options = options;
    this.#client = client;
    this.loadConcurrency = options.loadConcurrency ?? 2;
    this.#compiler = new XlaCompiler(client, {
      cache: options.cache ?? null,
      host: options.host ?? '',
      ...(options.log === undefined ? {} : { log: options.log }),
    });
    this.device = client.devices[0]!.kind;
    this.platformVersion = client.platformVersion;
  }

  /** Loads the plugin (on this thread, some 50 ms) and opens its devices. PLUGIN_INCOMPATIBLE, or ENGINE_FAILED where it has no device for us. */
  static async open(options: XlaEngineOptions): Promise<XlaEngine> {
    const api = typeof options.plugin === 'string' ? loadPlugin(options.plugin) : options.plugin;
    try {
      return new XlaEngine(options, await PjrtClient.create(api));
    } catch (thrown) {
      throw pjrtFailure(thrown, 'ENGINE_FAILED');
    }
  }

  get lost(): string | null {
    return this.#dead;
  }

  onReset(listener: (reason: LossReason) => void): void {
    this.#resetListeners.push(listener);
  }

  async load({ spec, bucket, parameters }: ProgramRequest): Promise<LoadedProgram> {
    if (this.#dead !== null) throw new CoordinatorError('ENGINE_FAILED', this.#dead);
    const { executable, key } = await this.#track(this.#compiler.compile(spec, bucket));
    const signature = programSignature(spec);
    const digest = createHash('sha256').update(key);
    const weights: PjrtBuffer[] = [];
    try {
      if (this.#dead !== null) throw new CoordinatorError('ENGINE_FAILED', this.#dead);
      for (const { name, shape } of signature.parameters) {
        const values = parameters.get(name);
        if (values === undefined) throw new CoordinatorError('INTERNAL', `weights ${name} are missing`);
        const copy = Float32Array.from(values);
        digest.update(copy);
        weights.push(this.#client.bufferFromHost(copy, shape));
      }
    } catch (thrown) {
      for (const weight of weights) weight.dispose();
      executable.dispose();
      throw pjrtFailure(thrown, 'ENGINE_FAILED');
    }
    const program = new XlaProgram(
      spec,
      bucket,
      signature,
      digest.digest('hex').slice(0, 16),
      executable,
      weights,
      (p, inputs) => this.#run(p, inputs),
    );
    this.#programs.add(program);
    return program;
  }

  /** What runs finishes first. */
  unload(program: LoadedProgram): void {
    if (!(program instanceof XlaProgram) || !this.#programs.delete(program)) return;
    program.retire();
  }

  /** Waits for what runs, then frees everything. What hangs is not waited for: it is freed if it ever ends. */
  async close(): Promise<void> {
    const hung = this.#dead !== null;
    this.#dead ??= 'the engine is closed';
    await this.#compiler.close();
    const freed = Promise.allSettled([...this.#running]).then(() => {
      for (const program of this.#programs) program.retire();
      this.#programs.clear();
      this.#client.dispose();
    });
    if (!hung) await freed;
  }

  async #run(program: XlaProgram, inputs: readonly TensorData[]): Promise<RunResult> {
    if (this.#dead !== null) throw new CoordinatorError('ENGINE_FAILED', this.#dead);
    const { clock, hangTimeoutMs = defaultHangTimeoutMs } = this.#options;
    const allowedMs = hangTimeoutMs + longestRunMs(program.spec, program.bucket);
    let cancelWatch: () => void = () => undefined;
    const hung = new Promise<never>((_resolve, reject) => {
      cancelWatch = clock.after(allowedMs, () => {
        const reason = `device ${this.device} gave no answer for ${Math.round(allowedMs)} ms`;
        this.#lose(reason);
        reject(new CoordinatorError('ENGINE_FAILED', reason));
      });
    });
    try {
      return await Promise.race([this.#track(this.#execute(program, inputs)), hung]);
    } finally {
      cancelWatch();
    }
  }

  async #execute({ executable, weights, shapes }: XlaProgram, inputs: readonly TensorData[]): Promise<RunResult> {
    const given = inputs.map((data, index) => ({ data: data as HostArray, dims: shapes[index]! }));
    try {
      const run = await runOnHostArrays(this.#client, executable, [...given, ...weights], this.#options.clock);
      return { ...run, outputs: run.outputs as readonly TensorData[], device: this.device };
    } catch (thrown) {
      throw pjrtFailure(thrown, 'ENGINE_FAILED');
    }
  }

  #lose(reason: string): void {
    if (this.#dead !== null) return;
    this.#dead = reason;
    this.#options.metrics.engineRestart.inc({ engine: this.name, reason: 'hang' });
    this.#options.log?.('the XLA device is declared dead', { reason });
    for (const listener of this.#resetListeners) listener('hang');
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    const forget = () => void this.#running.delete(work);
    work.then(forget, forget);
    return work;
  }
}

class XlaProgram implements LoadedProgram {
  readonly engine = 'xla';
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  readonly signature: Signature;
  readonly fingerprint: string;
  readonly residentBytes: number;
  readonly executable: PjrtLoadedExecutable;
  readonly weights: readonly PjrtBuffer[];
  /** Of the inputs, in order. */
  readonly shapes: readonly (readonly number[])[];
  readonly #run: (program: XlaProgram, inputs: readonly TensorData[]) => Promise<RunResult>;
  #runs = 0;
  #retired = false;

  constructor(
    spec: ProgramSpec,
    bucket: Bucket,
    signature: Signature,
    fingerprint: string,
    executable: PjrtLoadedExecutable,
    weights: readonly PjrtBuffer[],
    run: (program: XlaProgram, inputs: readonly TensorData[]) => Promise<RunResult>,
  ) {
    this.spec = spec;
    this.bucket = bucket;
    this.signature = signature;
    this.fingerprint = fingerprint;
    this.executable = executable;
    this.weights = weights;
    this.shapes = signature.inputs.map((input) => shapeIn(input, bucket));
    this.residentBytes = executableBytes(executable) + weights.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.#run = run;
  }

  async run(inputs: readonly TensorData[]): Promise<RunResult> {
    if (this.#retired) throw new CoordinatorError('ENGINE_FAILED', `program ${bucketName(this.bucket)} was unloaded`);
    this.#runs++;
    try {
      return await this.#run(this, inputs);
    } finally {
      this.#runs--;
      this.#free();
    }
  }

  /** Frees the executable and its weights once nothing runs. */
  retire(): void {
    this.#retired = true;
    this.#free();
  }

  #free(): void {
    if (!this.#retired || this.#runs > 0) return;
    for (const weight of this.weights) weight.dispose();
    this.executable.dispose();
  }
}

function executableBytes(executable: PjrtLoadedExecutable): number {
  try {
    const { generatedCodeBytes, tempBytes } = executable.executable.memory();
    return Math.max(generatedCodeBytes, assumedExecutableBytes) + tempBytes;
  } catch (thrown) {
    if (thrown instanceof PjrtError) return assumedExecutableBytes;
    throw thrown;
  }
}
