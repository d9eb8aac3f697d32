/**
 * Hard assignments on worker threads, so that the event loop never waits for one.
 *
 * Small problems travel several to a message and two messages to a thread, in order of arrival. A large one has a thread to
 * itself; where there are several threads, one of them never takes a large problem, so that small ones are not stuck
 * behind it. Time in the queue counts towards a problem's budget. A cancelled problem leaves the queue, or tells the
 * thread to stop; the thread itself is never killed for it. A thread that dies is replaced.
 */
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import { workerUrl } from '../worker-url.js';
import type { HardProblem, HardResult, HardSolver, SolveOptions } from './hard.js';
import { exactSolveMs } from './solve-time.js';
import type { SolveOutcome } from './solver-messages.js';
import { type SolveTask, SolverThread } from './solver-thread.js';

export interface SolverPoolOptions {
  /** At least 1; default 2. */
  readonly threads?: number;
  readonly clock: Clock;
  /** Compiled entry of the threads; for tests. */
  readonly workerEntry?: URL;
}

/** Up to this many cells, capacities expanded, a problem is small: a few milliseconds whatever its utilities. */
const smallCells = 32_768;
/** Small problems per message: enough to make the message cheap, few enough that the first does not wait long for the last. */
const maxPerMessage = 8;
/** A second message keeps the thread busy while the first one's answer travels. */
const maxMessages = 2;
/** After as many threads in a row died before they were ready, what waits is refused instead of waiting for ever. */
const maxFailedStarts = 3;

export function createSolverPool(options: SolverPoolOptions): HardSolver {
  return new SolverPool(options);
}

class SolverPool implements HardSolver {
  readonly #clock: Clock;
  readonly #entry: URL;
  readonly #threads: (SolverThread | null)[];
  readonly #small: SolveTask[] = [];
  readonly #large: SolveTask[] = [];
  /** Threads that have a large problem in work, or one that may kill them: they get nothing else. */
  readonly #exclusive = new Set<SolverThread>();
  #order = 0;
  #failedStarts = 0;
  #pumping = false;
  #closed = false;

  constructor(options: SolverPoolOptions) {
    this.#clock = options.clock;
    this.#entry = options.workerEntry ?? workerUrl(import.meta.url, 'solver-worker.js');
    this.#threads = new Array<SolverThread | null>(Math.max(1, options.threads ?? 2)).fill(null);
    this.#startThreads();
  }

  solve(problem: HardProblem, { signal }: SolveOptions): Promise<HardResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new CoordinatorError('DRAINING', 'the solver is closed'));
        return;
      }
      if (signal.aborted) {
        reject(new CoordinatorError('CANCELLED', 'cancelled before the assignment was solved'));
        return;
      }
      const small = expandedCells(problem) <= smallCells;
      const settle = (): boolean => {
        if (task.settled) return false;
        task.settled = true;
        signal.removeEventListener('abort', abort);
        return true;
      };
      const task: SolveTask = {
        problem,
        order: this.#order++,
        submittedMs: this.#clock.nowMs(),
        retained: small,
        crashes: 0,
        settled: false,
        resolve: (result) => {
          if (settle()) resolve(result);
        },
        reject: (error) => {
          if (settle()) reject(error);
        },
      };
      const abort = (): void => {
        this.#withdraw(task);
        task.reject(new CoordinatorError('CANCELLED', 'cancelled while the assignment was solved'));
      };
      signal.addEventListener('abort', abort, { once: true });
      (task.retained ? this.#small : this.#large).push(task);
      this.#schedulePump();
    });
  }

  /** Before anything was measured: the time that the estimate of solve-time.ts gives, behind what waits. */
  expectedMs(agentCount: number, taskCount: number): number {
    const waiting = this.#small.length + this.#large.length;
    return exactSolveMs(agentCount, taskCount) * (1 + waiting / this.#threads.length);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const waiting = [...this.#small.splice(0), ...this.#large.splice(0)];
    const lost = await Promise.all(this.#threads.map(async (thread) => (thread === null ? [] : thread.close())));
    for (const task of [...waiting, ...lost.flat()]) {
      task.reject(new CoordinatorError('DRAINING', 'the solver was closed before the assignment was solved'));
    }
  }

  /** Problems that come in one turn of the event loop are sent together. */
  #schedulePump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    queueMicrotask(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#closed) return;
    this.#startThreads();
    while (this.#sendRound());
  }

  /** Offers each thread one message, idle threads first; false where none was sent. */
  #sendRound(): boolean {
    const threads = this.#threads.filter((thread) => thread?.ready === true && !this.#exclusive.has(thread));
    const ready = threads.filter((thread) => thread !== null).sort((left, right) => left.messages - right.messages);
    let sent = false;
    let reserved = false;
    for (const thread of ready) {
      const large = this.#large[0];
      const small = this.#small[0];
      if (large !== undefined && !reserved && this.#mayStartLarge() && large.order < (small?.order ?? Infinity)) {
        // Where no thread is idle, the least busy one gets no more until it is.
        reserved = thread.messages > 0;
        if (reserved) continue;
        this.#large.shift();
        this.#send(thread, [large], true);
      } else if (small !== undefined && thread.messages < (small.crashes > 0 ? 1 : maxMessages)) {
        const share = Math.ceil(this.#small.length / ready.length);
        const count = small.crashes > 0 ? 1 : Math.min(share, maxPerMessage);
        this.#send(thread, this.#small.splice(0, count), small.crashes > 0);
      } else continue;
      sent = true;
    }
    return sent;
  }

  #send(thread: SolverThread, tasks: readonly SolveTask[], exclusive: boolean): void {
    if (exclusive) this.#exclusive.add(thread);
    thread.send(tasks, this.#clock.nowMs());
  }

  #mayStartLarge(): boolean {
    return this.#exclusive.size < Math.max(1, this.#threads.length - 1);
  }

  #withdraw(task: SolveTask): void {
    const queue = task.retained ? this.#small : this.#large;
    const at = queue.indexOf(task);
    if (at >= 0) queue.splice(at, 1);
    else for (const thread of this.#threads) thread?.cancel(task);
  }

  #startThreads(): void {
    for (let index = 0; index < this.#threads.length; index++) this.#threads[index] ??= this.#startThread(index);
  }

  #startThread(index: number): SolverThread {
    const thread: SolverThread = new SolverThread(this.#entry, {
      ready: () => {
        this.#failedStarts = 0;
        this.#pump();
      },
      done: (outcomes, tasks) => {
        this.#exclusive.delete(thread);
        this.#pump();
        outcomes.forEach((outcome, position) => this.#settle(tasks[position]!, outcome));
      },
      died: (reason, tasks) => {
        this.#exclusive.delete(thread);
        this.#threads[index] = null;
        if (!thread.wasReady) this.#failedStarts++;
        this.#recover(reason, tasks);
      },
    });
    return thread;
  }

  #settle(task: SolveTask, outcome: SolveOutcome): void {
    const { result, failure } = outcome;
    if (result !== null) {
      task.resolve(result);
    } else if (failure !== null) {
      task.reject(new CoordinatorError(failure.code, failure.message, { violations: failure.violations }));
    } else {
      task.reject(new CoordinatorError('CANCELLED', 'cancelled while the assignment was solved'));
    }
  }

  /** Small problems of a dead thread are tried once more, one by one: only the one that kills threads is lost. */
  #recover(reason: string, tasks: readonly SolveTask[]): void {
    const error = new CoordinatorError('INTERNAL', `the solver thread died: ${reason}`);
    const again: SolveTask[] = [];
    for (const task of tasks) {
      task.crashes++;
      if (task.retained && task.crashes === 1 && !task.settled) again.push(task);
      else task.reject(error);
    }
    this.#small.unshift(...again.sort((left, right) => left.order - right.order));
    if (this.#failedStarts < maxFailedStarts) {
      this.#schedulePump();
      return;
    }
    // The next problem starts threads again.
    this.#failedStarts = 0;
    for (const task of [...this.#small.splice(0), ...this.#large.splice(0)]) task.reject(error);
  }
}

/** N times the greater of M and the joint capacity: the most cells that the exact solver may see. */
function expandedCells(problem: HardProblem): number {
  const { agentCount, taskCount, capacities } = problem;
  let places = 0;
  if (capacities !== null) for (const capacity of capacities) places += Math.min(capacity, agentCount);
  return agentCount * Math.max(taskCount, places);
}
