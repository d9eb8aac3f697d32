/**
 * XLA behind the `Engine` interface, through a PJRT plugin in this process. Programs are lowered on a thread of their own and
 * compiled on libuv's pool; executions run on the plugin's threads; the event loop only starts them and picks up results.
 *
 * Several devices are replicas: a program is compiled once, its weights lie on each, and a run goes to the least loaded. A device
 * that gives no answer is left out from then on; the engine is lost with the last one. A large single problem is spread over all of
 * them where that was measured to be faster.
 *
 * Past 400 lines because a program, its runs, their watches and the loss of devices share the engine's private state.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../clock.js';
import { bundled, bundlingOf, travellingShapes, unbundled, type Bundling } from '../compiler/bundling.js';
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
  type TensorSignature,
} from '../operators/signature.js';
import type { PjrtErrorCode } from '../pjrt/abi.js';
import type { PjrtBuffer } from '../pjrt/buffer.js';
import { PjrtError, type PjrtApi } from '../pjrt/call.js';
import type { PjrtClient } from '../pjrt/client.js';
import type { CompileOptions } from '../pjrt/compile-options.js';
import type { PjrtLoadedExecutable } from '../pjrt/executable.js';
import { returnFreedMemory } from '../pjrt/freed-memory.js';
import type { HostArray } from '../pjrt/host-array.js';
import { loadPlugin } from '../pjrt/library.js';
import { freedInBackground } from '../pjrt/ownership.js';
import { runOnHostArrays, type HostTensor } from '../pjrt/run.js';
import { DevicePool, type PooledDevice } from './device-pool.js';
import type { Engine, LoadedProgram, LossReason, ProgramRequest, RunResult } from './engine.js';
import { yieldToEventLoop } from './engine-priority.js';
import type { ExecutableCache } from './executable-cache.js';
import { InputArena } from './input-arena.js';
import { longestRunMs } from './longest-run.js';
import { openClients, type LiveEnvironment, type PluginClients } from './plugin-clients.js';
import { canShard, ShardedProgram, type Shard } from './sharding.js';
import { XlaCompiler, type CompiledProgram } from './xla-compiler.js';
import { pjrtFailure } from './pjrt-failure.js';

export interface XlaEngineOptions {
  /** Path of the plugin's shared library, or what was loaded from one already. */
  readonly plugin: string | PjrtApi;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'engineRestart'>;
  /**
   * How many devices to use: the first so many of the plugin's, fewer where it has fewer. Default: all, but one of a CPU, whose devices share its
   * cores, and each of which runs several executions side by side.
   */
  readonly devices?: number;
  /**
   * The process's own. With it small programs run on a thread of their own where the device is a CPU of several cores, unless a variable says how
   * many threads the plugin makes; see `openClients`, which sets one for a moment.
   */
  readonly environment?: LiveEnvironment;
  /** Executions worth having in flight on each device. Default 1. */
  readonly executionsPerDevice?: number;
  /** Problems of at least so many agents are tried on all devices together, too, when their program is loaded. Default 1024. */
  readonly shardFromAgents?: number;
  /** Whether those run on all devices together: where that was faster, or in any case. Default 'measured'. */
  readonly sharding?: 'measured' | 'always';
  /** An execution that takes longer, and longer than its program may, declares the device dead. Default 30 000. */
  readonly hangTimeoutMs?: number;
  /** A compilation that takes longer is given up. Default 1 800 000. */
  readonly compileTimeoutMs?: number;
  /** Where executables are kept; none unless set. */
  readonly cache?: ExecutableCache | null;
  /** See `XlaCompilerOptions`. Needed beside `cache`. */
  readonly host?: string;
  /** Programs compiled at a time. Each takes a thread of libuv's pool, of which others need one too. Default 2. */
  readonly loadConcurrency?: number;
  /** Lone runs that are expected to take no longer are waited for by an event loop that does not sleep. Default 0: none. */
  readonly busyPollMs?: number;
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

const defaultHangTimeoutMs = 30_000;
/** Twice what the slowest program for a TPU was seen to take, on two cores that did much else. */
const defaultCompileTimeoutMs = 1_800_000;
/** So many executions in a row that a device failed, with one of these codes: it is gone, or its client is of no use any more. */
const failuresOfLostDevice = 3;
const deviceFailures: readonly PjrtErrorCode[] = ['INTERNAL', 'UNAVAILABLE', 'ABORTED', 'DATA_LOSS', 'UNKNOWN'];
/** A run is polled for so many times as long as the longest that is expected to be worth it. */
const latePolls = 2;
/** After the last load or unload of several. */
const freedMemoryDelayMs = 1_000;
/** How much of the newest execution's time goes into a program's expected time. */
const newestShare = 0.2;
const defaultShardFromAgents = 1024;
/** Runs of either kind by which a program is found faster on all devices or on one; the first of each warms up. */
const trialRuns = 4;
/** As many sets of results as are in flight and being answered at a time; larger ones come seldom. */
const keptOutputs = 2;
const largestKeptOutputs = 8 * 1024 * 1024;
/** Least that an executable counts for. Plugins tell of code and buffers only, if at all. */
const leastExecutableBytes = 3 * 1024 * 1024;
/**
 * What XLA's CPU plugin keeps for a program, against the bytes that it writes it in: the module twice, of which half are descriptions that nobody
 * reads. 12 to 27 times were measured for the programs of N = M = 32 to 512, 2 to 13 MB each.
 */
const keptPerSerializedByte = 20;

export class XlaEngine implements Engine {
  readonly name = 'xla';
  readonly loadConcurrency: number;
  /** All that it uses, together. */
  readonly device: string;
  /** Build of the plugin's platform, for people. */
  readonly platformVersion: string;
  readonly #options: XlaEngineOptions;
  readonly #clients: PluginClients;
  readonly #arena = new InputArena();
  readonly #pool: DevicePool;
  readonly #compiler: XlaCompiler;
  readonly #programs = new Set<XlaProgram>();
  readonly #resetListeners: ((reason: LossReason) => void)[] = [];
  /** Executions and compilations that the plugin has. */
  readonly #running: Promise<unknown>[] = [];
  /** Why nothing runs any more; null while all is well. */
  #dead: string | null = null;
  /** Resolves when something that runs may never end. */
  readonly #hung: Promise<void>;
  #declareHung: () => void = () => undefined;
  #keepFreedMemory: () => void = () => undefined;

  private constructor(options: XlaEngineOptions, clients: PluginClients) {
    const { wide } = clients;
    this.#options = options;
    this.#clients = clients;
    this.#hung = new Promise((resolve) => (this.#declareHung = resolve));
    this.loadConcurrency = options.loadConcurrency ?? 2;
    this.#compiler = new XlaCompiler(clients, {
      cache: options.cache ?? null,
      host: options.host ?? '',
      ...(options.log === undefined ? {} : { log: options.log }),
    });
    this.#pool = new DevicePool(wide.devices.slice(0, devicesWanted(wide, options.devices)));
    this.device = this.#pool.name;
    this.platformVersion = wide.platformVersion;
  }

  /** Loads the plugin (on this thread, some 50 ms) and opens its devices. PLUGIN_INCOMPATIBLE, or ENGINE_FAILED where it has no device for us. */
  static async open(options: XlaEngineOptions): Promise<XlaEngine> {
    const api = typeof options.plugin === 'string' ? loadPlugin(options.plugin) : options.plugin;
    try {
      return new XlaEngine(options, await openClients(api, options.devices, options.environment));
    } catch (thrown) {
      throw pjrtFailure(thrown, 'ENGINE_FAILED');
    }
  }

  /** Falls with every device that is lost. */
  get concurrency(): number {
    return Math.max(1, this.#pool.serving.length) * (this.#options.executionsPerDevice ?? 1);
  }

  get lost(): string | null {
    return this.#dead;
  }

  onReset(listener: (reason: LossReason) => void): void {
    this.#resetListeners.push(listener);
  }

  async load({ spec, bucket, parameters }: ProgramRequest): Promise<LoadedProgram> {
    if (this.#dead !== null) throw new CoordinatorError('ENGINE_FAILED', this.#dead);
    // Portable: the device is chosen at each execution.
    const options = this.#pool.devices.length > 1 ? { portable: true } : {};
    const { client, executable, key, serializedBytes } = await this.#compileInTime(spec, bucket, options);
    const signature = programSignature(spec);
    const digest = createHash('sha256').update(key);
    let weights: ReadonlyMap<PooledDevice, readonly PjrtBuffer[]>;
    try {
      if (this.lost !== null) throw new CoordinatorError('ENGINE_FAILED', this.lost);
      const values = signature.parameters.map(({ name, shape }): HostTensor => {
        const given = parameters.get(name);
        if (given === undefined) throw new CoordinatorError('INTERNAL', `weights ${name} are missing`);
        const data = Float32Array.from(given);
        digest.update(data);
        return { data, dims: shape };
      });
      weights = this.#upload(client, values);
    } catch (thrown) {
      executable.dispose();
      throw pjrtFailure(thrown, 'ENGINE_FAILED');
    }
    const sharded = await this.#track(this.#shardedOf(spec, bucket, signature, executable, weights));
    if (sharded !== null) digest.update(`sharded over ${this.device}`);
    const program = new XlaProgram(
      spec,
      bucket,
      signature,
      digest.digest('hex').slice(0, 16),
      client,
      executable,
      client.deviceMemoryIsHost && serializedBytes !== null ? keptPerSerializedByte * serializedBytes : 0,
      weights,
      sharded,
      { run: (...run) => this.#run(...run), arena: this.#arena },
    );
    // By now the plugin's threads have started and have their names.
    if (this.#programs.size === 0 && this.#clients.wide.deviceMemoryIsHost) yieldToEventLoop();
    this.#programs.add(program);
    this.#returnFreedMemoryLater();
    return program;
  }

  /** COMPILE_FAILED where the compiler takes longer than any program needs; what it gives later is freed. */
  async #compileInTime(spec: ProgramSpec, bucket: Bucket, options: CompileOptions): Promise<CompiledProgram> {
    const { clock, compileTimeoutMs = defaultCompileTimeoutMs } = this.#options;
    const compiling = this.#track(this.#compiler.compile(spec, bucket, options));
    let cancelWatch: () => void = () => undefined;
    const overdue = new Promise<never>((_resolve, reject) => {
      cancelWatch = clock.after(compileTimeoutMs, () => {
        this.#declareHung();
        compiling.then(
          ({ executable }) => executable.dispose(),
          () => undefined,
        );
        const message = `the compiler gave no answer for ${Math.round(compileTimeoutMs)} ms`;
        reject(new CoordinatorError('COMPILE_FAILED', message));
      });
    });
    try {
      return await Promise.race([compiling, overdue]);
    } finally {
      cancelWatch();
    }
  }

  /** Null where it takes `allowanceMs` and the hang timeout longer. */
  async #inTime<T>(work: Promise<T>, allowanceMs: number): Promise<T | null> {
    const { clock, hangTimeoutMs = defaultHangTimeoutMs } = this.#options;
    let cancelWatch: () => void = () => undefined;
    const overdue = new Promise<null>((resolve) => {
      cancelWatch = clock.after(hangTimeoutMs + allowanceMs, () => {
        this.#declareHung();
        resolve(null);
      });
    });
    try {
      return await Promise.race([work, overdue]);
    } finally {
      cancelWatch();
    }
  }

  /** What runs finishes first. */
  unload(program: LoadedProgram): void {
    if (!(program instanceof XlaProgram) || !this.#programs.delete(program)) return;
    program.retire();
    this.#returnFreedMemoryLater();
  }

  #returnFreedMemoryLater(): void {
    if (this.#dead !== null) return;
    this.#keepFreedMemory();
    this.#keepFreedMemory = this.#options.clock.after(freedMemoryDelayMs, () => void this.#track(returnFreedMemory()));
  }

  /** Waits for what runs, then frees everything. What hangs is waited for no longer than until it counts as such: it is freed if it ever ends. */
  async close(): Promise<void> {
    this.#dead ??= 'the engine is closed';
    this.#keepFreedMemory();
    await this.#compiler.close();
    const freed = Promise.allSettled(this.#running).then(async () => {
      // The newest first: XLA's CPU plugin finds them soonest, a tenth of the time that the oldest take where hundreds are loaded.
      for (const program of [...this.#programs].reverse()) program.retire();
      this.#programs.clear();
      this.#clients.narrow?.dispose();
      this.#clients.wide.dispose();
      await freedInBackground();
    });
    await Promise.race([freed, this.#hung]);
  }

  /** On each device that takes them; throws what the last one answered where none does. */
  #upload(client: PjrtClient, values: readonly HostTensor[]): Map<PooledDevice, readonly PjrtBuffer[]> {
    const weights = new Map<PooledDevice, readonly PjrtBuffer[]>();
    let refused: unknown;
    for (const place of this.#pool.serving) {
      const buffers: PjrtBuffer[] = [];
      try {
        for (const { data, dims } of values)
          buffers.push(client.bufferFromHost(data, dims, { device: client.devices[place.index]! }));
        weights.set(place, buffers);
      } catch (thrown) {
        for (const buffer of buffers) buffer.dispose();
        refused = thrown;
      }
    }
    if (weights.size === 0) throw refused;
    return weights;
  }

  /** The program on all devices together, where it is large enough and that is faster than on one; null elsewhere. */
  async #shardedOf(
    spec: ProgramSpec,
    bucket: Bucket,
    signature: Signature,
    executable: PjrtLoadedExecutable,
    weights: ReadonlyMap<PooledDevice, readonly PjrtBuffer[]>,
  ): Promise<ShardedProgram | null> {
    const { clock, log, shardFromAgents = defaultShardFromAgents, sharding = 'measured' } = this.#options;
    const places = this.#pool.devices;
    if (bucket.agents < shardFromAgents || !canShard(bucket, places.length)) return null;
    if (places.some((place) => place.lost !== null || !weights.has(place))) return null;
    const shards = places.map((place) => ({ device: place.device, weights: weights.get(place)! }));
    const devices = shards.map(({ device }) => device.id);
    let sharded: ShardedProgram | null = null;
    try {
      const compiled = await this.#compileInTime(spec, bucket, { partitions: shards.length, devices });
      sharded = new ShardedProgram(this.#clients.wide, compiled.executable, shards, signature, bucket);
      if (sharding === 'always') return sharded;
      const inputs = signature.inputs.map((input) => paddingOf(input, bucket));
      const arriving = bundlingOf(signature.inputs, bucket);
      const shapes = travellingShapes(arriving, signature.inputs, bucket);
      const given = bundled(arriving, inputs).map((data, index) => ({
        data: data as HostArray,
        dims: shapes[index]!,
      }));
      const [first] = shards as [Shard, ...Shard[]];
      const arguments_ = [...given, ...first.weights];
      const trial = async (): Promise<[number, number]> => [
        await fastestMs(clock, () => sharded!.run(inputs, clock)),
        await fastestMs(clock, () =>
          runOnHostArrays(this.#clients.wide, executable, arguments_, clock, { device: first.device }),
        ),
      ];
      const measured = await this.#inTime(this.#track(trial()), trialRuns * longestRunMs(spec, bucket));
      if (measured === null) {
        log?.('a trial on all devices together does not end', { bucket: bucketName(bucket) });
        return null; // what hangs keeps what it uses
      }
      const [togetherMs, aloneMs] = measured;
      log?.('a program was tried on all devices together', { bucket: bucketName(bucket), togetherMs, aloneMs });
      if (togetherMs < aloneMs) return sharded;
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      log?.('a program does not run on all devices together', { bucket: bucketName(bucket), reason });
    }
    sharded?.dispose();
    return null;
  }

  /**
   * Where one of the devices is lost, what ran on all of them runs on one that is left: the same numbers up to the order of
   * sums.
   */
  #run(program: XlaProgram, inputs: readonly TensorData[], alone: boolean): Promise<RunResult> {
    if (program.sharded === null || program.runsWhole || this.#dead !== null)
      return this.#runOnOne(program, inputs, alone);
    const { expectedMs, sharded } = program;
    const places = this.#pool.acquireAll(expectedMs, program.weights);
    if (places === null) return this.#runOnOne(program, inputs, alone);
    return this.#runOnAll(program, sharded, places, inputs);
  }

  async #runOnAll(
    program: XlaProgram,
    sharded: ShardedProgram,
    places: readonly PooledDevice[],
    inputs: readonly TensorData[],
  ): Promise<RunResult> {
    const { clock, hangTimeoutMs = defaultHangTimeoutMs } = this.#options;
    const { expectedMs } = program;
    const allowedMs = hangTimeoutMs + longestRunMs(program.spec, program.bucket);
    let cancelWatch: () => void = () => undefined;
    let rejectRun: (error: CoordinatorError) => void = () => undefined;
    const hung = new Promise<never>((_resolve, reject) => {
      rejectRun = reject;
      cancelWatch = clock.after(allowedMs, () => {
        // Which of them it was cannot be told: each waits for the others.
        const reason = `devices ${this.device} gave no answer for ${Math.round(allowedMs)} ms`;
        this.#declareHung();
        for (const place of places) this.#lose(place, reason, 'hang');
        reject(new CoordinatorError('ENGINE_FAILED', reason));
      });
    });
    for (const place of places) place.rejections.push(rejectRun);
    let succeeded = false;
    try {
      const result = await Promise.race([this.#track(sharded.run(inputs, clock)), hung]);
      program.expectedMs += (program.expectedMs === 0 ? 1 : newestShare) * (result.executeMs - program.expectedMs);
      succeeded = true;
      return { ...result, device: this.device };
    } catch (thrown) {
      // Which device it was cannot be told: one that works may answer alone.
      program.runsWhole = true;
      throw pjrtFailure(thrown, 'ENGINE_FAILED');
    } finally {
      cancelWatch();
      for (const place of places) place.forgetRun(rejectRun);
      for (const place of places) this.#pool.release(place, expectedMs, succeeded ? true : null);
    }
  }

  async #runOnOne(program: XlaProgram, inputs: readonly TensorData[], alone: boolean): Promise<RunResult> {
    const { clock, hangTimeoutMs = defaultHangTimeoutMs } = this.#options;
    const { expectedMs } = program;
    const place = this.#dead === null ? this.#pool.acquire(expectedMs, program.weights) : null;
    if (place === null)
      throw new CoordinatorError('ENGINE_FAILED', this.#dead ?? 'no device that is left has the weights');
    const allowedMs = hangTimeoutMs + longestRunMs(program.spec, program.bucket);
    let cancelWatch: () => void = () => undefined;
    let rejectRun: (error: CoordinatorError) => void = () => undefined;
    const hung = new Promise<never>((_resolve, reject) => {
      rejectRun = reject;
      cancelWatch = clock.after(allowedMs, () => {
        const reason = `device ${place.name} gave no answer for ${Math.round(allowedMs)} ms`;
        this.#declareHung();
        this.#lose(place, reason, 'hang');
        reject(new CoordinatorError('ENGINE_FAILED', reason));
      });
    });
    place.rejections.push(rejectRun);
    let succeeded = false;
    try {
      const result = await Promise.race([this.#track(this.#execute(program, inputs, place, alone)), hung]);
      program.expectedMs += (program.expectedMs === 0 ? 1 : newestShare) * (result.executeMs - program.expectedMs);
      succeeded = true;
      return result;
    } catch (thrown) {
      if (place.failures + 1 >= failuresOfLostDevice && isOfDevice(thrown))
        this.#lose(place, `device ${place.name} keeps failing: ${(thrown as Error).message}`, 'device_lost');
      throw thrown;
    } finally {
      cancelWatch();
      place.forgetRun(rejectRun);
      this.#pool.release(place, expectedMs, succeeded);
    }
  }

  async #execute(
    program: XlaProgram,
    inputs: readonly TensorData[],
    place: PooledDevice,
    alone: boolean,
  ): Promise<RunResult> {
    const { client, executable, weights, shapes, arriving, leaving } = program;
    const given = bundled(arriving, inputs).map((data, index) => ({ data: data as HostArray, dims: shapes[index]! }));
    const resident = weights.get(place)!;
    // A run that is given up may still write to them: they are lost with it.
    const reused = program.freeOutputs.pop();
    const { busyPollMs = 0 } = this.#options;
    try {
      const run = await runOnHostArrays(client, executable, [...given, ...resident], this.#options.clock, {
        device: client.devices[place.index]!,
        busyPollMs: alone && program.expectedMs <= busyPollMs ? latePolls * busyPollMs : 0,
        ...(reused === undefined ? {} : { into: reused }),
      });
      const { transferInMs, executeMs, transferOutMs } = run;
      // Not of a run that failed or was given up, which may read it yet: that is lost with it.
      const { returning } = run;
      if (returning === null) this.#arena.giveBack(inputs);
      else
        returning.then(
          () => this.#arena.giveBack(inputs),
          () => undefined,
        );
      const outputs = unbundled(leaving, run.outputs as readonly TensorData[]);
      const release = (): void => program.keepOutputs(run.outputs);
      return { outputs, device: place.name, transferInMs, executeMs, transferOutMs, release };
    } catch (thrown) {
      throw pjrtFailure(thrown, 'ENGINE_FAILED');
    }
  }

  /** Leaves the device out; the engine is lost with the last one. */
  #lose(place: PooledDevice, reason: string, loss: LossReason): void {
    if (place.lost !== null || this.#dead !== null) return;
    place.lost = reason;
    if (place.rejections.length > 0) {
      for (const reject of place.rejections) reject(new CoordinatorError('ENGINE_FAILED', reason));
      // Nobody watches these runs any more.
      const { clock, hangTimeoutMs = defaultHangTimeoutMs } = this.#options;
      clock.after(hangTimeoutMs, () => this.#declareHung());
    }
    this.#options.log?.('the XLA device is declared dead', { reason, left: this.#pool.serving.length });
    if (this.#pool.serving.length > 0) return;
    this.#dead = reason;
    this.#options.metrics.engineRestart.inc({ engine: this.name, reason: loss });
    for (const listener of this.#resetListeners) listener(loss);
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#running.push(work);
    const forget = () => void this.#running.splice(this.#running.indexOf(work), 1);
    work.then(forget, forget);
    return work;
  }
}

interface ProgramOwner {
  run(program: XlaProgram, inputs: readonly TensorData[], alone: boolean): Promise<RunResult>;
  readonly arena: InputArena;
}

class XlaProgram implements LoadedProgram {
  readonly engine = 'xla';
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  readonly signature: Signature;
  readonly fingerprint: string;
  readonly residentBytes: number;
  /** Whose executable and weights are. */
  readonly client: PjrtClient;
  readonly executable: PjrtLoadedExecutable;
  /** On each device that it can run on. */
  readonly weights: ReadonlyMap<PooledDevice, readonly PjrtBuffer[]>;
  /** The same on all devices together, where that is how it runs. */
  readonly sharded: ShardedProgram | null;
  /** Memory that results were read into and copied out of. */
  readonly freeOutputs: (readonly HostArray[])[] = [];
  /** Whether a run on all devices failed: from then on it runs on one. */
  runsWhole = false;
  /** What an execution took lately. */
  expectedMs = 0;
  /** How inputs and outputs travel to one device and back. */
  readonly arriving: Bundling;
  readonly leaving: Bundling;
  /** Of what arrives, in order. */
  readonly shapes: readonly (readonly number[])[];
  readonly #owner: ProgramOwner;
  #runs = 0;
  #retired = false;

  constructor(
    spec: ProgramSpec,
    bucket: Bucket,
    signature: Signature,
    fingerprint: string,
    client: PjrtClient,
    executable: PjrtLoadedExecutable,
    keptBytes: number,
    weights: ReadonlyMap<PooledDevice, readonly PjrtBuffer[]>,
    sharded: ShardedProgram | null,
    owner: ProgramOwner,
  ) {
    this.spec = spec;
    this.bucket = bucket;
    this.signature = signature;
    this.fingerprint = fingerprint;
    this.client = client;
    this.executable = executable;
    this.weights = weights;
    this.sharded = sharded;
    this.arriving = bundlingOf(signature.inputs, bucket);
    this.leaving = bundlingOf(signature.outputs, bucket);
    this.shapes = travellingShapes(this.arriving, signature.inputs, bucket);
    this.residentBytes =
      executableBytes(executable, keptBytes) +
      [...weights.values()].flat().reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.#owner = owner;
  }

  /** What runs on several devices is cut up before it is sent, so it is not read at once. */
  takeInputs(): readonly TensorData[] | null {
    return this.sharded === null ? this.#owner.arena.take(this.signature, this.bucket) : null;
  }

  async run(inputs: readonly TensorData[], alone = false): Promise<RunResult> {
    if (this.#retired) throw new CoordinatorError('ENGINE_FAILED', `program ${bucketName(this.bucket)} was unloaded`);
    this.#runs++;
    try {
      return await this.#owner.run(this, inputs, alone);
    } finally {
      this.#runs--;
      this.#free();
    }
  }

  keepOutputs(outputs: readonly HostArray[]): void {
    const bytes = outputs.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (!this.#retired && bytes <= largestKeptOutputs && this.freeOutputs.length < keptOutputs)
      this.freeOutputs.push(outputs);
  }

  /** Frees the executable and its weights once nothing runs. */
  retire(): void {
    this.#retired = true;
    this.#free();
  }

  #free(): void {
    if (!this.#retired || this.#runs > 0) return;
    for (const weight of [...this.weights.values()].flat()) weight.dispose();
    this.sharded?.dispose();
    this.executable.dispose();
  }
}

/** Whether a run failed by what its device did, rather than by what was asked of it. */
function isOfDevice(thrown: unknown): boolean {
  const cause = thrown instanceof CoordinatorError ? thrown.cause : thrown;
  return cause instanceof PjrtError && deviceFailures.includes(cause.code);
}

/** As a batch without problems has it. */
function paddingOf(input: TensorSignature, bucket: Bucket): TensorData {
  const length = shapeIn(input, bucket).reduce((size, axis) => size * axis, 1);
  return (input.dtype === 'int32' ? new Int32Array(length) : new Float32Array(length)).fill(input.pad);
}

async function fastestMs(clock: Clock, run: () => Promise<unknown>): Promise<number> {
  let fastest = Infinity;
  for (let i = 0; i < trialRuns; i++) {
    const startMs = clock.nowMs();
    await run();
    fastest = Math.min(fastest, clock.nowMs() - startMs);
  }
  return fastest;
}

/** `keptBytes`: what is known of it beside what the plugin tells. */
function executableBytes(executable: PjrtLoadedExecutable, keptBytes: number): number {
  const leastBytes = Math.max(leastExecutableBytes, keptBytes);
  try {
    const { generatedCodeBytes, tempBytes } = executable.executable.memory();
    return Math.max(generatedCodeBytes, leastBytes) + tempBytes;
  } catch (thrown) {
    if (thrown instanceof PjrtError) return leastBytes;
    throw thrown;
  }
}

function devicesWanted({ devices, deviceMemoryIsHost }: PjrtClient, wanted: number | undefined): number {
  return Math.min(devices.length, wanted ?? (deviceMemoryIsHost ? 1 : devices.length));
}
