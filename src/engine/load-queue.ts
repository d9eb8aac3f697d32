/**
 * The order in which programs are loaded: as many at a time as the engine says, first what callers wait for, then what was asked for
 * most often. What nobody waits for is loaded one at a time, so that compilers do not take the machine from the traffic.
 * Requests for the same program share one load.
 */
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import { bucketName } from '../operators/signature.js';
import type { ProgramRequest } from './engine.js';
import type { StoredProgram } from './stored-program.js';

export interface LoadQueueOptions {
  readonly clock: Clock;
  /** Loads at a time; at least 1. */
  readonly concurrency: number;
  /** `key` is `specKey(request.spec)`. */
  readonly load: (request: ProgramRequest, key: string) => Promise<StoredProgram>;
  readonly onRefused: (request: ProgramRequest, error: CoordinatorError) => void;
}

/** A program that the compiler refused is not tried again for so long. */
const failureMemoryMs = 30_000;
/** Specs come from requests, so what they can queue and what is remembered of them is bounded. */
const maxQueuedLoads = 64;
const maxRememberedFailures = 256;
const queueFullRetryMs = 1_000;

interface Failure {
  readonly error: CoordinatorError;
  readonly untilMs: number;
}

interface QueuedLoad {
  readonly id: string;
  readonly key: string;
  readonly request: ProgramRequest;
  /** Whether somebody waits who has no other program. */
  urgent: boolean;
  requests: number;
  readonly done: Promise<StoredProgram>;
  readonly resolve: (program: StoredProgram) => void;
  readonly reject: (error: CoordinatorError) => void;
}

export class LoadQueue {
  readonly #options: LoadQueueOptions;
  readonly #queue = new Map<string, QueuedLoad>();
  readonly #failures = new Map<string, Failure>();
  /** Under way, by id. */
  readonly #loading = new Map<string, QueuedLoad>();

  constructor(options: LoadQueueOptions) {
    this.#options = options;
  }

  /**
   * Resolves when the program is loaded. Rejects with the load's error (COMPILE_FAILED at once while one is remembered)
   * or with QUEUE_FULL.
   */
  add(request: ProgramRequest, key: string, urgent: boolean): Promise<StoredProgram> {
    const id = `${key} ${bucketName(request.bucket)}`;
    const failure = this.#failures.get(id);
    if (failure !== undefined) {
      if (this.#options.clock.nowMs() < failure.untilMs) return Promise.reject(failure.error);
      this.#failures.delete(id);
    }
    const queued = this.#loading.get(id) ?? this.#queue.get(id);
    if (queued !== undefined) {
      queued.requests++;
      if (urgent && !queued.urgent) {
        queued.urgent = true;
        this.#startNext();
      }
      return queued.done;
    }
    if (this.#queue.size >= maxQueuedLoads && !this.#dropBackgroundLoad()) {
      const message = `${maxQueuedLoads} other programs wait to be compiled`;
      return Promise.reject(new CoordinatorError('QUEUE_FULL', message, { retryAfterMs: queueFullRetryMs }));
    }
    const load = queuedLoad(id, key, request, urgent);
    this.#queue.set(id, load);
    this.#startNext();
    return load.done;
  }

  /** The loads under way are lost and will reject by themselves: the next ones start, which may be the same programs anew. */
  abandonCurrent(): void {
    this.#loading.clear();
    this.#startNext();
  }

  /** Makes room for one more. False where every queued load is waited for. */
  #dropBackgroundLoad(): boolean {
    let least: QueuedLoad | null = null;
    for (const load of this.#queue.values()) {
      if (!load.urgent && (least === null || load.requests < least.requests)) least = load;
    }
    if (least === null) return false;
    this.#queue.delete(least.id);
    least.reject(new CoordinatorError('QUEUE_FULL', 'other programs were asked for more often'));
    return true;
  }

  #startNext(): void {
    while (this.#loading.size < this.#options.concurrency) {
      const next = this.#next();
      if (next === null) return;
      this.#queue.delete(next.id);
      this.#loading.set(next.id, next);
      void this.#run(next);
    }
  }

  /** Null where nothing may be started now. */
  #next(): QueuedLoad | null {
    let next: QueuedLoad | null = null;
    for (const load of this.#queue.values()) {
      if (next === null || (load.urgent && !next.urgent)) next = load;
      else if (load.urgent === next.urgent && load.requests > next.requests) next = load;
    }
    if (next === null || next.urgent) return next;
    for (const { urgent } of this.#loading.values()) if (!urgent) return null;
    return next;
  }

  async #run(load: QueuedLoad): Promise<void> {
    try {
      load.resolve(await this.#options.load(load.request, load.key));
    } catch (thrown) {
      const error = CoordinatorError.from(thrown);
      if (error.code !== 'ENGINE_FAILED') this.#rememberFailure(load, error);
      load.reject(error);
    }
    if (this.#loading.get(load.id) !== load) return;
    this.#loading.delete(load.id);
    this.#startNext();
  }

  #rememberFailure({ id, request }: QueuedLoad, error: CoordinatorError): void {
    this.#options.onRefused(request, error);
    for (const oldest of this.#failures.keys()) {
      if (this.#failures.size < maxRememberedFailures) break;
      this.#failures.delete(oldest);
    }
    this.#failures.set(id, { error, untilMs: this.#options.clock.nowMs() + failureMemoryMs });
  }
}

function queuedLoad(id: string, key: string, request: ProgramRequest, urgent: boolean): QueuedLoad {
  let resolve!: (program: StoredProgram) => void;
  let reject!: (error: CoordinatorError) => void;
  const done = new Promise<StoredProgram>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { id, key, request, urgent, requests: 1, done, resolve, reject };
}
