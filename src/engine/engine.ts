/** The interface between batching and whatever executes programs. A second engine fills it without touching either side. */
import type { Bucket, ParameterSignature, ProgramSpec, Signature, TensorData } from '../operators/signature.js';

/** Weights by name, as the policy holds them. Never written to; engines copy what they keep. */
export type Parameters = ReadonlyMap<ParameterSignature['name'], Float32Array>;

export interface ProgramRequest {
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  readonly parameters: Parameters;
}

/** As `execution.engine` says it. */
export type EngineName = 'onnx' | 'xla';

/** How an engine came to lose its programs: its process or thread died, gave no answer, or its device went away. */
export type LossReason = 'crash' | 'hang' | 'device_lost';

export interface RunResult {
  /** In the order of `signature.outputs`; owned by the caller. */
  readonly outputs: readonly TensorData[];
  /** Where it ran, as the runtime names it. */
  readonly device: string;
  readonly transferInMs: number;
  readonly executeMs: number;
  readonly transferOutMs: number;
  /** Gives the outputs' memory back for a later run: called at most once, by whoever has copied out all that is needed of it. */
  readonly release?: () => void;
}

/** A program that is compiled, loaded and ready to run. */
export interface LoadedProgram {
  /** The engine that runs it. */
  readonly engine: EngineName;
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  readonly signature: Signature;
  /** Digest of the compiled program with its weights: equal fingerprints give equal bits for equal inputs. */
  readonly fingerprint: string;
  /** What the program keeps in memory while loaded, as well as the engine can tell. */
  readonly residentBytes: number;
  /**
   * Memory for the inputs of one run, each as large as its shape in the bucket, of any content: whoever packs into it calls `run` with it
   * and leaves it alone from then on. Absent or null where every run needs memory of its own.
   */
  takeInputs?(): readonly TensorData[] | null;
  /**
   * Runs one batch; `inputs` in the order of `signature.inputs`, each exactly as large as its shape in the bucket.
   * Takes ownership of the inputs' memory (it may be transferred to another thread). Rejects with ENGINE_FAILED
   * where the engine crashed or hung, or where the program was unloaded; the engine is usable again once `whenReady` resolves.
   * `alone`: it is for the only call there is, and nothing else computes for that, so that a core is free for the event loop to wait on awake.
   * Default false.
   */
  run(inputs: readonly TensorData[], alone?: boolean): Promise<RunResult>;
}

export interface Engine {
  readonly name: EngineName;
  /** As the runtime names it: `cpu`, `cuda:0`, `TPU v5 lite`. */
  readonly device: string;
  /** How many batches it can usefully have in flight; the batcher calls it idle below that. */
  readonly concurrency: number;
  /** How many programs it can usefully load at a time. 1 unless it says so. */
  readonly loadConcurrency?: number;
  /** Why it will never run anything again (a hung or lost device, closed); null while it does or recovers by itself. */
  readonly lost: string | null;
  /** Resolves once it takes work again after a reset. Absent where an engine that lost its programs is `lost` for good. */
  whenReady?(): Promise<void>;
  /** Compiles and loads. COMPILE_FAILED where the program is refused, ENGINE_FAILED where the engine died meanwhile. */
  load(request: ProgramRequest): Promise<LoadedProgram>;
  /** Frees what `load` gave. Later runs of it reject. */
  unload(program: LoadedProgram): void;
  /** Calls back whenever the engine lost all loaded programs, before what ran is rejected. `lost` is set by then. */
  onReset(listener: (reason: LossReason) => void): void;
  close(): Promise<void>;
}
