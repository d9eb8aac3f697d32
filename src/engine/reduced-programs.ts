/**
 * Whether a program with fewer iterations may stand in for the full one: only once it is loaded, so that no tick waits for its
 * compilation. Until then the full one runs, and the other is loaded behind everything that somebody waits for.
 */
import { agentBucket, taskBucket } from '../batching/buckets.js';
import { bucketName, specKey, type Bucket, type ProgramSpec } from '../operators/signature.js';
import type { Parameters, ProgramRequest } from './engine.js';

/** Of the engine that takes work now. */
export interface LoadedPrograms {
  loadedBuckets(key: string): Bucket[];
  /** Never rejects. */
  loadAhead(requests: readonly ProgramRequest[]): Promise<void>;
}

export class ReducedPrograms {
  readonly #programs: LoadedPrograms;
  /** Being loaded, by key and bucket. */
  readonly #asked = new Set<string>();

  constructor(programs: LoadedPrograms) {
    this.#programs = programs;
  }

  /**
   * Whether `reduced` is loaded for problems of this size in every batch size that `full` is, so that batches need not become
   * smaller. Begins to load what is missing.
   */
  isReady(
    reduced: ProgramSpec,
    full: ProgramSpec,
    size: { readonly agentCount: number; readonly taskCount: number },
    parameters: Parameters,
  ): boolean {
    const agents = agentBucket(size.agentCount);
    const tasks = taskBucket(size.taskCount);
    const batchesOf = (key: string) =>
      this.#programs.loadedBuckets(key).filter((bucket) => bucket.agents === agents && bucket.tasks === tasks);
    const needed = batchesOf(specKey(full));
    if (needed.length === 0) return false;
    const key = specKey(reduced);
    const there = batchesOf(key);
    const missing = needed.filter(({ batch }) => !there.some((bucket) => bucket.batch === batch));
    for (const bucket of missing) this.#ask({ spec: reduced, bucket, parameters }, key);
    return missing.length === 0;
  }

  #ask(request: ProgramRequest, key: string): void {
    const name = `${bucketName(request.bucket)} ${key}`;
    if (this.#asked.has(name)) return;
    this.#asked.add(name);
    void this.#programs.loadAhead([request]).finally(() => this.#asked.delete(name));
  }
}
