/** An engine that does what a test says: compiles and runs at once, refuses, fails, gives NaN, is lost. */
import { CoordinatorError } from '../src/errors.js';
import type { Engine, EngineName, LoadedProgram, LossReason, ProgramRequest, RunResult } from '../src/engine/engine.js';
import { bucketName, programSignature, shapeIn, type Bucket, type TensorData } from '../src/operators/signature.js';

export class FakeEngine implements Engine {
  readonly name: EngineName;
  readonly device: string;
  readonly concurrency = 1;
  lost: string | null = null;
  closed = false;
  /** Buckets that were loaded, in order. */
  readonly loads: string[] = [];
  runs = 0;
  refuses: (bucket: Bucket) => boolean = () => false;
  /** What runs are rejected with; null: they succeed. */
  failure: Error | null = null;
  givesNaN = false;
  #generation = 0;
  readonly #listeners: ((reason: LossReason) => void)[] = [];

  constructor(name: EngineName, device: string) {
    this.name = name;
    this.device = device;
  }

  load({ spec, bucket }: ProgramRequest): Promise<LoadedProgram> {
    if (this.lost !== null) return Promise.reject(new CoordinatorError('ENGINE_FAILED', this.lost));
    if (this.refuses(bucket)) return Promise.reject(new CoordinatorError('COMPILE_FAILED', 'refused'));
    this.loads.push(bucketName(bucket));
    const signature = programSignature(spec);
    const generation = this.#generation;
    return Promise.resolve({
      engine: this.name,
      spec,
      bucket,
      signature,
      fingerprint: `${this.device} ${bucketName(bucket)}`,
      residentBytes: 100,
      run: () => {
        if (generation !== this.#generation)
          return Promise.reject(new CoordinatorError('ENGINE_FAILED', 'the program was lost'));
        return this.#run(
          signature.outputs.map((output) => {
            const length = shapeIn(output, bucket).reduce((size, axis) => size * axis, 1);
            return output.dtype === 'int32' ? new Int32Array(length) : new Float32Array(length);
          }),
        );
      },
    });
  }

  unload(): void {
    // Nothing is kept.
  }

  onReset(listener: (reason: LossReason) => void): void {
    this.#listeners.push(listener);
  }

  /** Loses all programs; for good with `lost`. */
  lose(reason: LossReason, lost: string | null = null): void {
    this.#generation++;
    this.lost = lost;
    for (const listener of this.#listeners) listener(reason);
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  #run(outputs: readonly TensorData[]): Promise<RunResult> {
    this.runs++;
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.givesNaN) for (const output of outputs) output.fill(NaN);
    return Promise.resolve({ outputs, device: this.device, transferInMs: 0, executeMs: 0, transferOutMs: 0 });
  }
}
