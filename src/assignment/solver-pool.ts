/**
 * Hard assignments on worker threads, so that the event loop never waits for one.
 *
 * Problems that wait are solved in order of deadline, and none waits for ever: one without a deadline is treated as if it had one `patienceMs`
 * after its arrival. Those whose deadline has passed are rejected before they cost anything.
 *
 * Small problems travel several to a message and two messages to a thread. A large one has a thread to
 * itself; where there are several threads, long ones never have all of them, and no large ones do while small ones come
 * (thread-reservation.ts), so that small ones are not stuck behind them. Time in the queue counts towards a problem's budget. A cancelled problem leaves the queue, or tells the
 * thread to stop; the thread itself is never killed for it. A thread that dies is replaced.
 */
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import { workerUrl } from '../worker-url.js';
import { type HardResult, type HardSolver, smallCells, type SolveOptions } from './hard.js';
import type { PosedProblem } from './positions.js';
import { isBefore, SolveQueue } from './solve-queue.js';
import { SolveTimes } from './solve-time.js';
import type { SolveOutcome } from './solver-messages.js';
import { type SolveTask, SolverThread } from './solver-thread.js';
import { longMs, ThreadReservation } from './thread-reservation.js';

export interface SolverPoolOptions {
  /** At least 1; default 2. */
  readonly threads?: number;
  readonly clock: Clock;
  /** Compiled entry of the threads; for tests. */
  readonly workerEntry?: URL;
}

/** A problem without a deadline is as urgent as one that arrives with so much time left; a problem with more gains nothing by it. */
const patienceMs = 2000;
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
  readonly #small = new SolveQueue();
  readonly #large = new SolveQueue();
  readonly #times = new SolveTimes();
  /** Threads that have a large problem in work, or one that may kill them: they get nothing else. With that problem. */
  readonly #exclusive = new Map<SolverThread, SolveTask>();
  readonly #reservation: ThreadReservation;
  /** Looks again when the reservation ends; null where nothing waits for that. */
  #cancelWake: (() => void) | null = null;
  #order = 0;
  #failedStarts = 0;
  #pumping = false;
  #closed = false;

  constructor(options: SolverPoolOptions) {
    this.#clock = options.clock;
    this.#entry = options.workerEntry ?? workerUrl(import.meta.url, 'solver-worker.js');
    this.#threads = new Array<SolverThread | null>(Math.max(1, options.threads ?? 2)).fill(null);
    this.#reservation = new ThreadReservation(this.#threads.length);
    this.#startThreads();
  }

  solve(problem: PosedProblem, { signal, deadlineMs = Infinity }: SolveOptions): Promise<HardResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new CoordinatorError('DRAINING', 'the solver is closed'));
        return;
      }
      if (signal.aborted) {
        reject(new CoordinatorError('CANCELLED', 'cancelled before the assignment was solved'));
        return;
      }
      const { agentCount, taskCount } = problem;
      const nowMs = this.#clock.nowMs();
      const settle = (): boolean => {
        if (task.settled) return false;
        task.settled = true;
        signal.removeEventListener('abort', abort);
        return true;
      };
      const task: SolveTask = {
        problem,
        order: this.#order++,
        submittedMs: nowMs,
        deadlineMs,
        urgencyMs: Math.min(deadlineMs, nowMs + patienceMs),
        expectedMs: Math.min(this.#times.expectedMs('solve', agentCount, taskCount), problem.budgetMs ?? Infinity),
        retained: agentCount * taskCount <= smallCells,
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
      if (task.retained) this.#reservation.observeSmall(nowMs);
      this.#queueOf(task).add(task);
      this.#schedulePump();
    });
  }

  /** What such problems took lately, after a thread has become free: what is in work, then what waits, spread over the threads. */
  expectedMs(agentCount: number, taskCount: number): number {
    const nowMs = this.#clock.nowMs();
    const busyMs = this.#threads.map((thread) => {
      if (thread === null) return 0;
      let remainingMs = 0;
      for (const task of thread.inWork()) remainingMs += task.expectedMs;
      const running = thread.inWork()[0];
      return running === undefined ? 0 : Math.max(0, remainingMs - (nowMs - thread.busySinceMs));
    });
    const waitingMs = this.#small.expectedMs() + this.#large.expectedMs();
    return levelOf(busyMs, waitingMs) + this.#times.expectedMs('solve', agentCount, taskCount);
  }

  threadsFor(agentCount: number, taskCount: number): number {
    const expectedMs = this.#times.expectedMs('solve', agentCount, taskCount);
    return this.#reservation.threadsFor(agentCount * taskCount, expectedMs, this.#clock.nowMs());
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelWake?.();
    const waiting = this.#takeAll();
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
    const nowMs = this.#clock.nowMs();
    for (const task of [...this.#small.takeExpired(nowMs), ...this.#large.takeExpired(nowMs)]) {
      task.reject(new CoordinatorError('DEADLINE_EXPIRED', 'the deadline passed before the assignment was solved'));
    }
    while (this.#sendRound());
    this.#wakeForLarge(nowMs);
  }

  /** A large problem that waits only for the reservation's end is looked at again then. */
  #wakeForLarge(nowMs: number): void {
    const { endsMs } = this.#reservation;
    if (this.#cancelWake !== null || this.#large.length === 0 || endsMs <= nowMs) return;
    this.#cancelWake = this.#clock.after(endsMs - nowMs, () => {
      this.#cancelWake = null;
      this.#pump();
    });
  }

  #queueOf(task: SolveTask): SolveQueue {
    return task.retained ? this.#small : this.#large;
  }

  #takeAll(): SolveTask[] {
    return [...this.#small.take(this.#small.length), ...this.#large.take(this.#large.length)];
  }

  /** Offers each thread one message, idle threads first; false where none was sent. */
  #sendRound(): boolean {
    const threads = this.#threads.filter((thread) => thread?.ready === true && !this.#exclusive.has(thread));
    const ready = threads.filter((thread) => thread !== null).sort((left, right) => left.messages - right.messages);
    let sent = false;
    let reserved = false;
    for (const thread of ready) {
      const large = this.#large.first;
      const small = this.#small.first;
      const largeFirst = large !== undefined && (small === undefined || isBefore(large, small));
      if (largeFirst && !reserved && this.#mayStart(large)) {
        // Where no thread is idle, the least busy one gets no more until it is.
        reserved = thread.messages > 0;
        if (reserved) continue;
        this.#send(thread, this.#large.take(1), true);
      } else if (small !== undefined && thread.messages < (small.crashes > 0 ? 1 : maxMessages)) {
        const share = Math.ceil(this.#small.length / ready.length);
        const count = small.crashes > 0 ? 1 : Math.min(share, maxPerMessage);
        this.#send(thread, this.#small.take(count), small.crashes > 0);
      } else continue;
      sent = true;
    }
    return sent;
  }

  #send(thread: SolverThread, tasks: readonly SolveTask[], exclusive: boolean): void {
    if (exclusive) this.#exclusive.set(thread, tasks[0]!);
    thread.send(tasks, this.#clock.nowMs());
  }

  #mayStart(large: SolveTask): boolean {
    let longCount = 0;
    for (const { expectedMs } of this.#exclusive.values()) if (expectedMs >= longMs) longCount++;
    return this.#reservation.mayStart(large.expectedMs, this.#exclusive.size, longCount, this.#clock.nowMs());
  }

  #withdraw(task: SolveTask): void {
    if (this.#queueOf(task).remove(task)) return;
    for (const thread of this.#threads) thread?.cancel(task);
  }

  #startThreads(): void {
    for (let index = 0; index < this.#threads.length; index++) this.#threads[index] ??= this.#startThread(index);
  }

  #startThread(index: number): SolverThread {
    const thread: SolverThread = new SolverThread(
      this.#entry,
      {
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
      },
      () => this.#clock.nowMs(),
    );
    return thread;
  }

  #settle(task: SolveTask, outcome: SolveOutcome): void {
    const { result, failure, tookMs } = outcome;
    if (result !== null) {
      this.#times.record('solve', task.problem.agentCount, task.problem.taskCount, tookMs);
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
    for (const task of tasks) {
      task.crashes++;
      if (task.retained && task.crashes === 1 && !task.settled) this.#small.add(task);
      else task.reject(error);
    }
    if (this.#failedStarts < maxFailedStarts) {
      this.#schedulePump();
      return;
    }
    // The next problem starts threads again.
    this.#failedStarts = 0;
    for (const task of this.#takeAll()) task.reject(error);
  }
}

/** When the first of several threads is free, busy for `busyMs` each, after `waitingMs` of other work was given to whichever is free first. */
function levelOf(busyMs: readonly number[], waitingMs: number): number {
  const ascending = [...busyMs].sort((left, right) => left - right);
  let poured = 0;
  for (let count = 1; count < ascending.length; count++) {
    const room = (ascending[count]! - ascending[count - 1]!) * count;
    if (poured + room >= waitingMs) return ascending[count - 1]! + (waitingMs - poured) / count;
    poured += room;
  }
  return ascending.at(-1)! + (waitingMs - poured) / ascending.length;
}
