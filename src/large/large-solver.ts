/**
 * Large problems on a worker thread of their own, one at a time in order of arrival, so that the event loop and the callers
 * of small problems never wait for one. The thread starts with the first problem; one that dies is replaced by the next.
 */
import { Worker } from 'node:worker_threads';
import type { CancelSignal } from '../cancellation.js';
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import { workerUrl } from '../worker-url.js';
import type { LargeProblem, LargeReply, LargeResult, LargeWorkerData } from './large-messages.js';

export interface LargeSolverOptions {
  readonly clock: Clock;
  /** Problems that may wait; more are refused with QUEUE_FULL. Default 8. */
  readonly maxWaiting?: number;
  /** Compiled entry of the thread; for tests. */
  readonly workerEntry?: URL;
}

export interface LargeSolveOptions {
  readonly signal: CancelSignal;
  /** On the clock's scale; Infinity: none. */
  readonly deadlineMs: number;
}

/** What the coordinator needs. */
export interface LargeSolver {
  /** Rejects with QUEUE_FULL, CANCELLED, DEADLINE_EXPIRED, DRAINING, INTERNAL, or what is wrong with the problem. Copies its arrays. */
  solve(problem: Omit<LargeProblem, 'timeLeftMs'>, options: LargeSolveOptions): Promise<TimedResult>;
  close(): Promise<void>;
}

export interface TimedResult extends LargeResult {
  /** Waited for earlier problems and for the thread. */
  readonly queueMs: number;
}

interface Task {
  readonly problem: Omit<LargeProblem, 'timeLeftMs'>;
  readonly deadlineMs: number;
  readonly submittedMs: number;
  sentMs: number;
  settled: boolean;
  cancelDeadline: () => void;
  readonly resolve: (result: TimedResult) => void;
  readonly reject: (error: CoordinatorError) => void;
}

/** A problem takes about a second or more, so few are worth waiting for. */
const defaultMaxWaiting = 8;
const retryAfterMs = 1000;

export function createLargeSolver(options: LargeSolverOptions): LargeSolver {
  return new WorkerLargeSolver(options);
}

class WorkerLargeSolver implements LargeSolver {
  readonly #clock: Clock;
  readonly #entry: URL;
  readonly #maxWaiting: number;
  readonly #waiting: Task[] = [];
  readonly #cancelFlag = new Int32Array(new SharedArrayBuffer(4));
  #worker: Worker | null = null;
  #ready = false;
  #running: Task | null = null;
  #closed = false;

  constructor({ clock, maxWaiting = defaultMaxWaiting, workerEntry }: LargeSolverOptions) {
    this.#clock = clock;
    this.#maxWaiting = maxWaiting;
    this.#entry = workerEntry ?? workerUrl(import.meta.url, 'large-worker.js');
  }

  solve(problem: Omit<LargeProblem, 'timeLeftMs'>, { signal, deadlineMs }: LargeSolveOptions): Promise<TimedResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new CoordinatorError('DRAINING', 'the server is shutting down'));
        return;
      }
      if (signal.aborted) {
        reject(new CoordinatorError('CANCELLED', 'the call was cancelled'));
        return;
      }
      if (this.#waiting.length >= this.#maxWaiting) {
        const message = `${this.#waiting.length} large requests are waiting already`;
        reject(new CoordinatorError('QUEUE_FULL', message, { retryAfterMs }));
        return;
      }
      const settle = (): boolean => {
        if (task.settled) return false;
        task.settled = true;
        task.cancelDeadline();
        signal.removeEventListener('abort', abort);
        return true;
      };
      const task: Task = {
        problem,
        deadlineMs,
        submittedMs: this.#clock.nowMs(),
        sentMs: 0,
        settled: false,
        cancelDeadline: () => undefined,
        resolve: (result) => {
          if (settle()) resolve(result);
        },
        reject: (error) => {
          if (settle()) reject(error);
        },
      };
      const abort = (): void => this.#drop(task, new CoordinatorError('CANCELLED', 'the call was cancelled'));
      signal.addEventListener('abort', abort, { once: true });
      if (deadlineMs < Infinity) {
        task.cancelDeadline = this.#clock.after(Math.max(deadlineMs - task.submittedMs, 0), () =>
          this.#drop(task, new CoordinatorError('DEADLINE_EXPIRED', 'the deadline passed before the answer was ready')),
        );
      }
      this.#waiting.push(task);
      this.#pump();
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const worker = this.#worker;
    const open = [...this.#waiting.splice(0), ...(this.#running === null ? [] : [this.#running])];
    for (const task of open) task.reject(new CoordinatorError('DRAINING', 'the server is shutting down'));
    Atomics.store(this.#cancelFlag, 0, 1);
    await worker?.terminate();
  }

  /** Out of the queue, or off the thread as soon as it looks. */
  #drop(task: Task, error: CoordinatorError): void {
    const at = this.#waiting.indexOf(task);
    if (at >= 0) this.#waiting.splice(at, 1);
    else if (this.#running === task) Atomics.store(this.#cancelFlag, 0, 1);
    task.reject(error);
  }

  #pump(): void {
    if (this.#closed || this.#running !== null || this.#waiting.length === 0) return;
    if (this.#worker === null) this.#startWorker();
    if (!this.#ready) return;
    const task = this.#waiting.shift()!;
    this.#running = task;
    task.sentMs = this.#clock.nowMs();
    Atomics.store(this.#cancelFlag, 0, 0);
    const timeLeftMs = task.deadlineMs === Infinity ? null : task.deadlineMs - task.sentMs;
    this.#worker!.postMessage({ ...wholeBuffers(task.problem), timeLeftMs } satisfies LargeProblem);
  }

  #startWorker(): void {
    const data: LargeWorkerData = { cancelFlag: this.#cancelFlag };
    const worker = new Worker(this.#entry, { workerData: data, name: 'large' });
    this.#worker = worker;
    this.#ready = false;
    let reason = 'exited';
    worker.on('message', (reply: LargeReply) => {
      if (reply === 'ready') this.#ready = true;
      else this.#settle(reply);
      this.#pump();
    });
    worker.on('error', (error) => {
      reason = error.message;
    });
    worker.on('exit', (code) => {
      if (this.#worker !== worker || this.#closed) return;
      const neverReady = !this.#ready;
      this.#worker = null;
      this.#ready = false;
      const error = new CoordinatorError('INTERNAL', `the thread for large requests died: ${reason} (code ${code})`);
      // A thread that cannot even start would be started for ever: whoever waits is told.
      const lost = neverReady ? this.#waiting.splice(0) : [];
      if (this.#running !== null) lost.push(this.#running);
      this.#running = null;
      for (const task of lost) task.reject(error);
      this.#pump();
    });
  }

  #settle({ result, failure }: Exclude<LargeReply, 'ready'>): void {
    const task = this.#running;
    this.#running = null;
    if (task === null) return;
    if (result !== null) task.resolve({ ...result, queueMs: task.sentMs - task.submittedMs });
    else if (failure !== null) {
      task.reject(new CoordinatorError(failure.code, failure.message, { violations: failure.violations }));
    }
  }
}

/** Cloning a view clones its whole buffer, which may be a request of megabytes: views become copies of their own. */
function wholeBuffers<T>(value: T): T {
  if (ArrayBuffer.isView(value)) {
    const view = value as unknown as Uint8Array;
    return (view.byteLength === view.buffer.byteLength ? view : view.slice()) as unknown as T;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, wholeBuffers(part as unknown)])) as T;
}
