import type { LoadedProgram, Parameters } from '../engine/engine.js';
import type { CoordinatorError } from '../errors.js';
import type { Bucket, ProgramSpec } from '../operators/signature.js';

/** What went wrong with a batch: the run was rejected, or it gave numbers that are none. */
export type RunFailure = 'execution_failed' | 'not_finite';

/** Where the batcher's programs come from. `key` is `specKey(spec)`. */
export interface ProgramSource {
  /** `Engine.concurrency` of what runs programs now. */
  readonly concurrency: number;
  /** Whether the preferred engine is down, so that every program is a fallback's. */
  readonly fallingBack: boolean;
  /**
   * The program of exactly `wanted`, or a larger one that is ready; null where none is. With `avoid` one of another
   * engine than that program's.
   */
  ready(
    spec: ProgramSpec,
    key: string,
    wanted: Bucket,
    parameters: Parameters,
    avoid: LoadedProgram | null,
  ): LoadedProgram | null;
  /** Resolves when `ready` would give one. */
  prepare(
    spec: ProgramSpec,
    key: string,
    wanted: Bucket,
    parameters: Parameters,
    avoid: LoadedProgram | null,
  ): Promise<LoadedProgram>;
  /** Whether the program is of the engine that takes work now. */
  isActive(program: LoadedProgram): boolean;
  /** Whether the program runs on less than the preferred engine. */
  isFallback(program: LoadedProgram): boolean;
  /** A batch of the program was answered. */
  succeeded(program: LoadedProgram): void;
  /** A batch of the program failed. True where another engine can run it. */
  failed(program: LoadedProgram, error: CoordinatorError, failure: RunFailure): boolean;
}
