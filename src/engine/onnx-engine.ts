/**
 * ONNX Runtime behind the `Engine` interface. Its `run` blocks the thread that calls it, so it lives in one worker
 * thread; this file is the event loop's side: it posts requests, settles their promises, and replaces a worker that
 * died or stopped answering. (A crash of native code ends the whole process; no thread can catch that.)
 *
 * Past 400 lines, as what a worker owes, its watch and its replacement share the engine's private state.
 */
import { Worker } from 'node:worker_threads';
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import {
  bucketName,
  programSignature,
  type Bucket,
  type ParameterSignature,
  type ProgramSpec,
  type Signature,
  type TensorData,
} from '../operators/signature.js';
import { workerUrl } from '../worker-url.js';
import { ClockOffset } from './clock-offset.js';
import type { Engine, LoadedProgram, LossReason, ProgramRequest, RunResult } from './engine.js';
import type { ExecutableCache } from './executable-cache.js';
import { longestRunMs } from './longest-run.js';
import { OnnxModelCache, type KeptModel } from './onnx-model-cache.js';
import {
  controlSlot,
  type ExecutionProvider,
  type WorkerReply,
  type WorkerRequest,
  type WorkerSettings,
} from './onnx-protocol.js';

export interface OnnxEngineOptions {
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'engineRestart'>;
  /** A worker that owes an answer and gave none for so long, and what its longest program may take, is replaced. Default 30 000. */
  readonly hangTimeoutMs?: number;
  /** Threads inside one operator. Default 1. */
  readonly intraOpThreads?: number;
  /** In order of preference; what is not installed is skipped. Default CPU only. */
  readonly executionProviders?: readonly ExecutionProvider[];
  /** As `Engine.concurrency`. Default 1. */
  readonly concurrency?: number;
  /** Where optimised models are kept; none unless set. For the CPU provider alone. */
  readonly cache?: ExecutableCache | null;
  /** What optimised models depend on beside the runtime: the CPU's instructions. Needed beside `cache`. */
  readonly host?: string;
  /** The worker's entry file; it speaks `onnx-protocol.ts`. Default `onnx-worker.js`. */
  readonly workerEntry?: URL;
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

const firstRestartDelayMs = 50;
const longestRestartDelayMs = 5_000;
/** After the hang timer fired: the event loop itself may have been blocked, with the answer waiting to be read. */
const hangGraceMs = 20;
/** How long closing waits for the worker to end what it does. */
const closeTimeoutMs = 5_000;

interface Pending {
  /** Of the request, which the reply repeats. */
  readonly id: number;
  readonly settle: (reply: WorkerReply) => void;
  readonly reject: (error: CoordinatorError) => void;
  /** What this request may take on top of the hang timeout. */
  readonly allowanceMs: number;
}

/** One worker's life. */
interface Incarnation {
  readonly worker: Worker;
  readonly control: Int32Array;
  readonly offset: ClockOffset;
  started: boolean;
}

export class OnnxEngine implements Engine {
  readonly name = 'onnx';
  readonly concurrency: number;
  readonly #options: OnnxEngineOptions;
  readonly #hangTimeoutMs: number;
  readonly #models: OnnxModelCache | null;
  /** In the order of asking, which is that of answering. */
  #pending: Pending[] = [];
  readonly #resetListeners: ((reason: LossReason) => void)[] = [];
  /** Null between the end of one worker and the start of the next, and once closed. */
  #current: Incarnation | null = null;
  #ready: Deferred = deferred();
  #nextId = 1;
  #device = 'cpu';
  #closed = false;
  /** Workers lost since one last gave an answer. */
  #losses = 0;
  /** When the worker last gave a sign of life, or began to owe one. */
  #lastSignMs = 0;
  #cancelWatch: (() => void) | null = null;
  #cancelRestart: (() => void) | null = null;

  constructor(options: OnnxEngineOptions) {
    this.#options = options;
    this.#hangTimeoutMs = options.hangTimeoutMs ?? 30_000;
    this.concurrency = options.concurrency ?? 1;
    this.#models = modelsOf(options);
    this.#start();
  }

  /** Known once the worker is ready; `cpu` before. */
  get device(): string {
    return this.#device;
  }

  /** A worker that is lost is replaced. */
  get lost(): string | null {
    return this.#closed ? 'the engine is closed' : null;
  }

  /** Resolves once the present worker, or the one that is to replace it, takes work. Rejects with ENGINE_FAILED where that one does not start. */
  whenReady(): Promise<void> {
    return this.#ready.promise;
  }

  onReset(listener: (reason: LossReason) => void): void {
    this.#resetListeners.push(listener);
  }

  /** Waits for the next worker where one is being restarted. A kept model that the runtime does not take is forgotten, and compiled anew. */
  async load(request: ProgramRequest): Promise<LoadedProgram> {
    const models = this.#models;
    const entry = models?.entryOf(request) ?? '';
    const kept = (await models?.read(entry)) ?? null;
    if (kept !== null) {
      try {
        return await this.#loadFrom(request, kept, null);
      } catch (thrown) {
        if (!(thrown instanceof CoordinatorError) || thrown.code !== 'COMPILE_FAILED') throw thrown;
        await models?.refuse(entry, thrown.message);
      }
    }
    const scratch = (await models?.scratch()) ?? null;
    try {
      const loaded = await this.#loadFrom(request, null, scratch);
      if (scratch !== null) models?.keep(entry, loaded.fingerprint, scratch);
      return loaded;
    } catch (thrown) {
      if (scratch !== null) await models?.discard(scratch);
      throw thrown;
    }
  }

  async #loadFrom(request: ProgramRequest, kept: KeptModel | null, scratch: string | null): Promise<OnnxProgram> {
    await this.#ready.promise;
    const { spec, bucket } = request;
    const program = this.#nextId++;
    // Copies: a policy's arrays stay its own, and a view would drag its whole buffer along.
    const parameters = new Map<ParameterSignature['name'], Float32Array<ArrayBuffer>>();
    for (const [name, values] of request.parameters) parameters.set(name, new Float32Array(values));
    const transfer = Array.from(parameters.values(), (values) => values.buffer);
    if (kept !== null) transfer.push(kept.model.buffer);
    const owner = this.#current;
    const reply = await this.#ask(
      (id) => ({ kind: 'load', id, program, spec, bucket, parameters, kept, scratch }),
      transfer,
    );
    if (reply.kind !== 'loaded') throw unexpected(reply);
    const allowanceMs = longestRunMs(spec, bucket);
    return new OnnxProgram(program, request, reply.fingerprint, reply.residentBytes, (inputs) => {
      if (owner === null || owner !== this.#current)
        return Promise.reject(engineFailed(`program ${bucketName(bucket)} was lost with an earlier worker`));
      return this.#run(program, owner.offset, inputs, allowanceMs);
    });
  }

  unload(program: LoadedProgram): void {
    if (!(program instanceof OnnxProgram) || program.unloaded) return;
    program.unloaded = true;
    this.#current?.worker.postMessage({ kind: 'unload', program: program.id } satisfies WorkerRequest);
  }

  /** Everything pending rejects with ENGINE_FAILED. Resolves when the thread has ended, or cannot be made to end. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelRestart?.();
    this.#cancelWatch?.();
    const last = this.#current;
    this.#current = null;
    const error = engineFailed('the engine is closed');
    this.#ready.reject(error);
    this.#rejectPending(error);
    await this.#models?.close();
    if (last === null) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(closeTimeoutMs, () => {
        abandon(last);
        resolve();
      });
      last.worker.once('exit', () => {
        cancel();
        resolve();
      });
      askToEnd(last);
    });
  }

  async #run(
    program: number,
    offset: ClockOffset,
    inputs: readonly TensorData[],
    allowanceMs: number,
  ): Promise<RunResult> {
    const { clock } = this.#options;
    const transfer: ArrayBuffer[] = [];
    const whole = inputs.map((input) => transferable(input, transfer));
    const sentMs = clock.nowMs();
    const reply = await this.#ask((id) => ({ kind: 'run', id, program, inputs: whole }), transfer, allowanceMs);
    if (reply.kind !== 'ran') throw unexpected(reply);
    const { thereMs, backMs } = offset.split(sentMs, reply.receivedMs, reply.sentMs, clock.nowMs());
    return {
      outputs: reply.outputs,
      device: this.#device,
      transferInMs: thereMs,
      executeMs: reply.executeMs,
      transferOutMs: backMs,
    };
  }

  #ask(request: (id: number) => WorkerRequest, transfer: ArrayBuffer[], allowanceMs = 0): Promise<WorkerReply> {
    return new Promise((resolve, reject) => {
      if (this.#current === null) {
        reject(engineFailed(this.#closed ? 'the engine is closed' : 'the engine is restarting'));
        return;
      }
      const id = this.#nextId++;
      try {
        this.#current.worker.postMessage(request(id), transfer);
      } catch (thrown) {
        reject(CoordinatorError.from(thrown));
        return;
      }
      if (this.#pending.length === 0) this.#lastSignMs = this.#options.clock.nowMs();
      this.#pending.push({ id, settle: resolve, reject, allowanceMs });
      if (this.#cancelWatch === null) this.#watch(this.#hangTimeoutMs);
    });
  }

  #start(): void {
    const settings: WorkerSettings = {
      intraOpThreads: this.#options.intraOpThreads ?? 1,
      executionProviders: this.#options.executionProviders ?? ['cpu'],
      control: new Int32Array(new SharedArrayBuffer(8)),
    };
    const worker = new Worker(this.#options.workerEntry ?? workerUrl(import.meta.url, 'onnx-worker.js'), {
      name: 'onnx-engine',
      workerData: settings,
    });
    const incarnation: Incarnation = {
      worker,
      control: settings.control,
      offset: new ClockOffset(),
      started: false,
    };
    const lose = (detail: string) => {
      if (incarnation === this.#current) this.#lose('crash', detail);
    };
    worker.on('message', (reply: WorkerReply) => {
      if (incarnation === this.#current) this.#receive(incarnation, reply);
    });
    worker.on('messageerror', (error) => lose(`unreadable message: ${error.message}`));
    worker.on('error', (error) => lose(error instanceof Error ? error.message : String(error)));
    worker.on('exit', (code) => lose(`exit code ${code}`));
    this.#current = incarnation;
    this.#lastSignMs = this.#options.clock.nowMs();
    this.#watch(this.#hangTimeoutMs);
  }

  #receive(incarnation: Incarnation, reply: WorkerReply): void {
    this.#lastSignMs = this.#options.clock.nowMs();
    if (reply.kind === 'ready') {
      incarnation.started = true;
      this.#device = reply.device;
      this.#ready.resolve();
      return;
    }
    this.#losses = 0;
    const at = this.#pending.findIndex(({ id }) => id === reply.id);
    const pending = at < 0 ? undefined : this.#pending.splice(at, 1)[0];
    if (reply.kind === 'failed') pending?.reject(new CoordinatorError(reply.code, reply.message));
    else pending?.settle(reply);
  }

  /** One timer that looks again later while there are signs of life, so that a reply costs no timer. */
  #watch(delayMs: number): void {
    this.#cancelWatch?.();
    this.#cancelWatch = this.#options.clock.after(delayMs, () => {
      this.#cancelWatch = null;
      if (!this.#owesAnswer()) return;
      const silentMs = this.#options.clock.nowMs() - this.#lastSignMs;
      const allowedMs = this.#allowedSilenceMs();
      if (silentMs >= allowedMs + hangGraceMs) this.#lose('hang', `no answer for ${Math.round(silentMs)} ms`);
      // Past the timeout it looks once more: had the event loop itself been blocked, the answer would be read by then.
      else this.#watch(Math.max(hangGraceMs, allowedMs - silentMs));
    });
  }

  /** The worker answers one request after another, so only the longest of those it has counts. */
  #allowedSilenceMs(): number {
    let allowanceMs = 0;
    for (const pending of this.#pending) allowanceMs = Math.max(allowanceMs, pending.allowanceMs);
    return this.#hangTimeoutMs + allowanceMs;
  }

  #owesAnswer(): boolean {
    return this.#pending.length > 0 || this.#current?.started === false;
  }

  #lose(reason: LossReason, detail: string): void {
    const lost = this.#current;
    if (lost === null) return;
    this.#current = null;
    this.#cancelWatch?.();
    this.#cancelWatch = null;
    abandon(lost);
    const restartInMs = Math.min(longestRestartDelayMs, firstRestartDelayMs * 2 ** this.#losses);
    this.#losses++;
    const { metrics, log, clock } = this.#options;
    metrics.engineRestart.inc({ engine: this.name, reason });
    log?.('the ONNX worker was lost and is replaced', { reason, detail, restartInMs, pending: this.#pending.length });
    const error = engineFailed(`the engine's worker was lost (${reason}: ${detail})`);
    if (lost.started) this.#ready = deferred();
    else {
      const failed = this.#ready;
      this.#ready = deferred();
      failed.reject(error);
    }
    this.#cancelRestart = clock.after(restartInMs, () => {
      this.#cancelRestart = null;
      this.#start();
    });
    for (const listener of this.#resetListeners) listener(reason);
    this.#rejectPending(error);
  }

  #rejectPending(error: CoordinatorError): void {
    const pending = this.#pending;
    this.#pending = [];
    for (const { reject } of pending) reject(error);
  }
}

class OnnxProgram implements LoadedProgram {
  readonly engine = 'onnx';
  readonly id: number;
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  readonly signature: Signature;
  readonly fingerprint: string;
  readonly residentBytes: number;
  unloaded = false;
  readonly #run: LoadedProgram['run'];

  constructor(
    id: number,
    { spec, bucket }: ProgramRequest,
    fingerprint: string,
    residentBytes: number,
    run: LoadedProgram['run'],
  ) {
    this.id = id;
    this.spec = spec;
    this.bucket = bucket;
    this.signature = programSignature(spec);
    this.fingerprint = fingerprint;
    this.residentBytes = residentBytes;
    this.#run = run;
  }

  run(inputs: readonly TensorData[]): Promise<RunResult> {
    if (this.unloaded) return Promise.reject(engineFailed(`program ${bucketName(this.bucket)} was unloaded`));
    return this.#run(inputs);
  }
}

/** Null where nothing is to be kept, or can be. */
function modelsOf({ cache, host = '', executionProviders = ['cpu'], log }: OnnxEngineOptions): OnnxModelCache | null {
  if (cache === undefined || cache === null || executionProviders[0] !== 'cpu') return null;
  try {
    return new OnnxModelCache(cache, host);
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    log?.('models are not kept: every start compiles them', { reason });
    return null;
  }
}

/** The worker ends once it has finished what it is doing now. */
function askToEnd({ worker, control }: Incarnation): void {
  Atomics.store(control, controlSlot.closing, 1);
  worker.postMessage({ kind: 'close' } satisfies WorkerRequest);
}

/** Ends a worker without waiting. Inside native code it cannot be stopped: it is left behind, and ends when it comes out. */
function abandon(lost: Incarnation): void {
  askToEnd(lost);
  lost.worker.unref();
  if (Atomics.load(lost.control, controlSlot.inRuntime) === 0) void lost.worker.terminate();
}

interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: CoordinatorError) => void;
}

/** A rejection that nobody waits for is not an unhandled one. */
function deferred(): Deferred {
  let resolve!: () => void;
  let reject!: (error: CoordinatorError) => void;
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}

/** The array itself where it owns all of its buffer and is the only one to give it away; a copy otherwise. Appends to `transfer`. */
function transferable(input: TensorData, transfer: ArrayBuffer[]): TensorData {
  const { buffer } = input;
  const owned = buffer instanceof ArrayBuffer && buffer.byteLength === input.byteLength && !transfer.includes(buffer);
  const whole = owned ? input : input.slice();
  transfer.push(whole.buffer as ArrayBuffer);
  return whole;
}

function engineFailed(message: string): CoordinatorError {
  return new CoordinatorError('ENGINE_FAILED', message);
}

function unexpected(reply: WorkerReply): CoordinatorError {
  return new CoordinatorError('INTERNAL', `unexpected reply ${reply.kind} from the ONNX worker`);
}
