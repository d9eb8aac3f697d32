/** Tracing and lowering take tens of milliseconds a program, so they have a thread of their own beside the event loop. */
import { Worker } from 'node:worker_threads';
import { CoordinatorError } from '../errors.js';
import type { Bucket, ProgramSpec } from '../operators/signature.js';
import { workerUrl } from '../worker-url.js';

export interface LoweringRequest {
  readonly id: number;
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  readonly platform: string;
  readonly partitions: number;
}

/** StableHLO text, and the `loweringDigest` of the code that wrote it. */
export interface LoweredProgram {
  readonly text: string;
  readonly lowering: string;
}

export type LoweringReply =
  ({ readonly id: number } & LoweredProgram) | { readonly id: number; readonly failure: string };

interface Pending {
  readonly resolve: (program: LoweredProgram) => void;
  readonly reject: (error: CoordinatorError) => void;
}

export class LoweringThread {
  /** Started by the first program. */
  #worker: Worker | null = null;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #closed: string | null = null;

  /** For the platform of that name, as its client gives it, and so many devices that run it together. Rejects with COMPILE_FAILED where the program cannot be lowered. */
  lower(spec: ProgramSpec, bucket: Bucket, platform: string, partitions: number): Promise<LoweredProgram> {
    if (this.#closed !== null) return Promise.reject(new CoordinatorError('ENGINE_FAILED', this.#closed));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#pending.set(id, { resolve, reject });
      this.#worker ??= this.#start();
      this.#worker.postMessage({ id, spec, bucket, platform, partitions } satisfies LoweringRequest);
    });
  }

  async close(): Promise<void> {
    this.#closed = 'the engine is closed';
    const worker = this.#worker;
    this.#lose(worker, this.#closed);
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(workerUrl(import.meta.url, 'lowering-worker.js'), { name: 'lowering' });
    worker.on('message', (reply: LoweringReply) => this.#settle(reply));
    worker.on('error', (error) => this.#lose(worker, error instanceof Error ? error.message : String(error)));
    worker.on('exit', () => this.#lose(worker, 'the lowering thread ended'));
    return worker;
  }

  #settle(reply: LoweringReply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if ('text' in reply) pending?.resolve({ text: reply.text, lowering: reply.lowering });
    else pending?.reject(new CoordinatorError('COMPILE_FAILED', reply.failure));
  }

  /** Whoever waits is told; the next program starts a new thread. */
  #lose(worker: Worker | null, reason: string): void {
    if (worker !== this.#worker) return;
    this.#worker = null;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(new CoordinatorError('ENGINE_FAILED', reason));
  }
}
