/** Tracing and lowering take tens of milliseconds a program, so they have a thread of their own beside the event loop. */
import { Worker } from 'node:worker_threads';
import { CoordinatorError } from '../errors.js';
import type { Bucket, ProgramSpec } from '../operators/signature.js';
import { workerUrl } from '../worker-url.js';

export interface LoweringRequest {
  readonly id: number;
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
}

export type LoweringReply =
  { readonly id: number; readonly text: string } | { readonly id: number; readonly failure: string };

interface Pending {
  readonly resolve: (text: string) => void;
  readonly reject: (error: CoordinatorError) => void;
}

export class LoweringThread {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #ended: string | null = null;

  constructor() {
    this.#worker = new Worker(workerUrl(import.meta.url, 'lowering-worker.js'), { name: 'lowering' });
    this.#worker.on('message', (reply: LoweringReply) => this.#settle(reply));
    this.#worker.on('error', (error) => this.#end(error instanceof Error ? error.message : String(error)));
    this.#worker.on('exit', () => this.#end('the lowering thread ended'));
  }

  /** StableHLO text of the program in this bucket. Rejects with COMPILE_FAILED where it cannot be lowered. */
  lower(spec: ProgramSpec, bucket: Bucket): Promise<string> {
    if (this.#ended !== null) return Promise.reject(new CoordinatorError('ENGINE_FAILED', this.#ended));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, spec, bucket } satisfies LoweringRequest);
    });
  }

  async close(): Promise<void> {
    this.#end('the engine is closed');
    await this.#worker.terminate();
  }

  #settle(reply: LoweringReply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if ('text' in reply) pending?.resolve(reply.text);
    else pending?.reject(new CoordinatorError('COMPILE_FAILED', reply.failure));
  }

  #end(reason: string): void {
    this.#ended ??= reason;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(new CoordinatorError('ENGINE_FAILED', reason));
  }
}
