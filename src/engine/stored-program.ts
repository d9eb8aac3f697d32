import type { Bucket, ProgramSpec, Signature, TensorData } from '../operators/signature.js';
import type { EngineName, LoadedProgram, RunResult } from './engine.js';

/** A program as the store hands it out. It outlives its loaded program: `run` brings that back where it was evicted meanwhile. */
export class StoredProgram implements LoadedProgram {
  readonly engine: EngineName;
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  readonly signature: Signature;
  readonly fingerprint: string;
  readonly residentBytes: number;
  lastUse = 0;
  /** Batches that it was found for. */
  uses = 0;
  running = 0;
  #loaded: LoadedProgram | null;
  readonly #reload: () => Promise<StoredProgram>;
  readonly #onIdle: () => void;

  constructor(loaded: LoadedProgram, reload: () => Promise<StoredProgram>, onIdle: () => void) {
    this.engine = loaded.engine;
    this.spec = loaded.spec;
    this.bucket = loaded.bucket;
    this.signature = loaded.signature;
    this.fingerprint = loaded.fingerprint;
    this.residentBytes = loaded.residentBytes;
    this.#loaded = loaded;
    this.#reload = reload;
    this.#onIdle = onIdle;
  }

  takeInputs(): readonly TensorData[] | null {
    return this.#loaded?.takeInputs?.() ?? null;
  }

  async run(inputs: readonly TensorData[], alone?: boolean): Promise<RunResult> {
    if (this.#loaded === null) return (await this.#reload()).run(inputs, alone);
    this.running++;
    try {
      return await this.#loaded.run(inputs, alone);
    } finally {
      if (--this.running === 0) this.#onIdle();
    }
  }

  /** What is to be unloaded; null where that has happened. */
  release(): LoadedProgram | null {
    const loaded = this.#loaded;
    this.#loaded = null;
    return loaded;
  }
}
