/** One solver thread as the pool sees it: its worker, and what is in work there. */
import { Worker } from 'node:worker_threads';
import { processMs } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import type { HardResult } from './hard.js';
import type { PosedProblem } from './positions.js';
import {
  type SolveItem,
  type SolveMessage,
  type SolveOutcome,
  type SolverReply,
  type SolverThreadData,
  slotCount,
} from './solver-messages.js';
import { SolverSlots } from './solver-slots.js';

/** A problem on its way to an answer. */
export interface SolveTask {
  readonly problem: PosedProblem;
  readonly order: number;
  readonly submittedMs: number;
  /** Not begun after this; Infinity: no deadline. */
  readonly deadlineMs: number;
  /** Waiting problems are solved in this order, equal ones in `order`. */
  readonly urgencyMs: number;
  /** How long a thread is expected to be busy with it. */
  readonly expectedMs: number;
  /** The problem stays here while a thread works on a copy: after a crash it can be tried again, alone. */
  readonly retained: boolean;
  /** How often a thread died with it in work. */
  crashes: number;
  /** Answered, failed or cancelled: nothing more may happen to it. */
  settled: boolean;
  readonly resolve: (result: HardResult) => void;
  readonly reject: (error: CoordinatorError) => void;
}

export interface SolverThreadEvents {
  ready(): void;
  /** A message's outcomes have come. */
  done(outcomes: readonly SolveOutcome[], tasks: readonly SolveTask[]): void;
  /** The worker is gone with these tasks in work. Not called after `close`. */
  died(reason: string, tasks: readonly SolveTask[]): void;
}

export class SolverThread {
  readonly #worker: Worker;
  readonly #cancelFlags = new Int32Array(new SharedArrayBuffer(4 * slotCount));
  readonly #memory = new SolverSlots();
  readonly #slots = new Array<SolveTask | null>(slotCount).fill(null);
  #messages = 0;
  #busySinceMs = 0;
  #ready = false;
  #closed = false;

  constructor(entry: URL, events: SolverThreadEvents, nowMs: () => number) {
    const data: SolverThreadData = { cancelFlags: this.#cancelFlags, slots: this.#memory.memory };
    this.#worker = new Worker(entry, { workerData: data, name: 'solver' });
    let reason = 'exited';
    this.#worker.on('message', (reply: SolverReply) => {
      if (reply === 'ready') {
        this.#ready = true;
        events.ready();
        return;
      }
      this.#messages--;
      this.#busySinceMs = nowMs();
      const outcomes = reply.map((answer): SolveOutcome =>
        typeof answer === 'number' ? { slot: answer, failure: null, ...this.#memory.readResult(answer) } : answer,
      );
      events.done(
        outcomes,
        outcomes.map(({ slot }) => this.#release(slot)),
      );
    });
    this.#worker.on('error', (error) => {
      reason = error.message;
    });
    this.#worker.on('exit', (code) => {
      if (this.#closed) return;
      this.#closed = true;
      events.died(`${reason} (code ${code})`, this.inWork());
    });
  }

  /** Started up and alive. */
  get ready(): boolean {
    return this.#ready && !this.#closed;
  }

  /** Whether it ever started up. */
  get wasReady(): boolean {
    return this.#ready;
  }

  /** Messages not yet answered. */
  get messages(): number {
    return this.#messages;
  }

  /** Since when it has been at the oldest message that is not answered; the clock's scale. Only where there is one. */
  get busySinceMs(): number {
    return this.#busySinceMs;
  }

  /** The problems in work. */
  inWork(): SolveTask[] {
    return this.#slots.filter((task) => task !== null);
  }

  /**
   * Sends `tasks` as one message. At most `slotCount` problems are in work at a time. Retained problems, and those with positions for utilities,
   * are copied to shared memory where they fit; the utility of one that is not retained is transferred.
   */
  send(tasks: readonly SolveTask[], nowMs: number): void {
    const sentMs = processMs();
    const transfer: ArrayBuffer[] = [];
    const items = tasks.map((task): SolveItem | number => {
      const slot = this.#occupy(task);
      const { budgetMs } = task.problem;
      const remainingMs = budgetMs === null ? null : budgetMs - (nowMs - task.submittedMs);
      const isCopied = task.retained || !(task.problem.utility instanceof Float32Array);
      if (isCopied && this.#memory.writeProblem(slot, task.problem, remainingMs)) return slot;
      const problem = wholeBuffers(task.problem);
      const { utility } = problem;
      if (!isCopied && utility instanceof Float32Array && utility.buffer instanceof ArrayBuffer)
        transfer.push(utility.buffer);
      return { slot, problem: { ...problem, budgetMs: remainingMs } };
    });
    if (this.#messages++ === 0) this.#busySinceMs = nowMs;
    this.#worker.postMessage({ sentMs, items } satisfies SolveMessage, transfer);
  }

  /** Tells the thread that nobody waits for `task` any more. */
  cancel(task: SolveTask): void {
    const slot = this.#slots.indexOf(task);
    if (slot >= 0) Atomics.store(this.#cancelFlags, slot, 1);
  }

  /** The tasks that were in work. */
  async close(): Promise<readonly SolveTask[]> {
    this.#closed = true;
    const lost = this.inWork();
    await this.#worker.terminate();
    return lost;
  }

  #occupy(task: SolveTask): number {
    const slot = this.#slots.indexOf(null);
    if (slot < 0) throw new CoordinatorError('INTERNAL', `a solver thread takes ${slotCount} problems at a time`);
    this.#slots[slot] = task;
    Atomics.store(this.#cancelFlags, slot, 0);
    return slot;
  }

  #release(slot: number): SolveTask {
    const task = this.#slots[slot];
    if (task === null || task === undefined)
      throw new CoordinatorError('INTERNAL', `no problem in solver slot ${slot}`);
    this.#slots[slot] = null;
    return task;
  }
}

/** Cloning a view clones its whole buffer, which may be a request of megabytes: views become copies of their own. */
function wholeBuffers(problem: PosedProblem): PosedProblem {
  const { utility, potentials, warm } = problem;
  return {
    ...problem,
    utility:
      utility instanceof Float32Array
        ? whole(utility)
        : { ...utility, agents: whole(utility.agents), tasks: whole(utility.tasks) },
    bias: problem.bias === null ? null : whole(problem.bias),
    agentActive: whole(problem.agentActive),
    taskActive: whole(problem.taskActive),
    capacities: problem.capacities === null ? null : whole(problem.capacities),
    previous: problem.previous === null ? null : whole(problem.previous),
    locks: problem.locks === null ? null : whole(problem.locks),
    warm:
      warm === null ? null : { taskPrices: wholeOrNull(warm.taskPrices), taskOfAgent: wholeOrNull(warm.taskOfAgent) },
    potentials: potentials === null ? null : { row: whole(potentials.row), column: whole(potentials.column) },
  };
}

function wholeOrNull<T extends Float64Array | Int32Array>(view: T | null): T | null {
  return view === null ? null : whole(view);
}

function whole<T extends Float32Array | Float64Array | Uint8Array | Uint32Array | Int32Array>(view: T): T {
  return view.byteLength === view.buffer.byteLength ? view : (view.slice() as T);
}
