/** Which solver answers a reduced problem, and for how long it may run. */
import { solveAuction } from './auction.js';
import { sharpeningPasses } from './bound.js';
import { solveExact } from './exact.js';
import { solveGreedy } from './greedy.js';
import { exchangePairs } from './pair-exchange.js';
import type { Reduction } from './reduction.js';
import type { SolveKind, SolveTimes } from './solve-time.js';
import type { SolverOutcome, SolverStart } from './solver-outcome.js';

export interface SolveControl {
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Asked while a solver runs. */
  readonly cancelled: () => boolean;
}

export interface Solved {
  /** [n] column or -1; of greatest cardinality where idling is not allowed. */
  readonly columnOfRow: Int32Array;
  /** [m] at least 0; null where the solver has none. */
  readonly columnPrice: Float64Array | null;
  readonly solver: 'exact' | 'auction' | 'greedy';
}

/** The auction ends by itself with a gap of this share of the objective. */
const targetGap = 1e-5;
/** Passes over the costs that the way from a stopped solver to the answer takes: places for who has none, the bound. */
const closingPasses = 2;
/** Times that the bound is sharpened, where that takes no more than this share of the time: the first gains most. */
const sharpenings = 1;
const sharpeningShare = 0.2;
/** Share of the time that the exact solver may take, and must be expected to end in to be tried: stopped, it leaves the rest to the auction. */
const exactShare = 0.9;
/** Up to so many pairs are sorted for a greedy answer in a millisecond or two. */
const sortedCells = 65_536;
/** A sweep of exchanges takes so many nanoseconds per pair of agents; no more than this share of the time is kept for it. */
const exchangeNs = 3;
const exchangeShare = 0.15;

export class SolverChoice {
  readonly #control: SolveControl;
  readonly #times: SolveTimes;
  /** When the answer must be ready; Infinity: no bound. */
  readonly #deadlineMs: number;
  /** Of the time that is kept, what is for sharpening the bound. */
  #sharpeningMs = 0;

  constructor(control: SolveControl, times: SolveTimes, deadlineMs: number) {
    this.#control = control;
    this.#times = times;
    this.#deadlineMs = deadlineMs;
  }

  /** To the end. */
  exact(reduction: Reduction, start: SolverStart | null): Solved | null {
    const { outcome } = this.#run(reduction, start, 'exact', Infinity);
    return this.#control.cancelled() ? null : { ...outcome, solver: 'exact' };
  }

  /** Until the gap is small or the time is up. */
  auction(reduction: Reduction, start: SolverStart | null): Solved | null {
    const { outcome } = this.#run(reduction, start, 'auction', this.#deadlineMs - this.#closingMs(reduction));
    if (!outcome.complete) this.#improve(reduction, outcome.columnOfRow);
    return this.#control.cancelled() ? null : { ...outcome, solver: 'auction' };
  }

  greedy(reduction: Reduction): Solved | null {
    const beganMs = this.#control.nowMs();
    const columnOfRow = solveGreedy(reduction);
    this.#improve(reduction, columnOfRow);
    if (this.#control.cancelled()) return null;
    this.#times.record('greedy', reduction.agents.length, reduction.tasks.length, this.#control.nowMs() - beganMs);
    return { columnOfRow, columnPrice: null, solver: 'greedy' };
  }

  /**
   * Exact where it fits by measured times, or there is no bound. Stopped all the same, it leaves its prices to the auction, which has
   * what is left; where it does not fit, the auction has it all. With no time at all, a small problem is
   * answered greedily; of a large one even that takes longer than an auction that is stopped at once.
   */
  auto(reduction: Reduction, start: SolverStart | null): Solved | null {
    if (this.#deadlineMs === Infinity) return this.exact(reduction, start);
    const { nowMs, cancelled } = this.#control;
    const stopMs = this.#deadlineMs - this.#closingMs(reduction);
    const rows = reduction.agents.length;
    const width = reduction.tasks.length;
    const kind = isWarm(start) ? 'exact-warm' : 'exact';
    let known = start;
    let stopped: SolverOutcome | null = null;
    // Where it ends, nothing is left to do but for the answer itself.
    const exactMs = exactShare * (this.#deadlineMs - closingPasses * this.#passMs(reduction) - nowMs());
    if (this.#times.expectedMs(kind, rows, width) <= exactMs) {
      const { outcome } = this.#run(reduction, start, 'exact', nowMs() + exactMs);
      if (cancelled()) return null;
      if (outcome.complete) return { ...outcome, solver: 'exact' };
      known = stopped = outcome;
    } else this.#times.recordSkipped(kind, rows, width);
    if (stopMs <= nowMs() && rows * width <= sortedCells) {
      return { columnOfRow: solveGreedy(reduction), columnPrice: null, solver: 'greedy' };
    }
    const { outcome, settled } = this.#run(reduction, known, 'auction', stopMs);
    let { columnOfRow } = outcome;
    if (stopped !== null && costOf(reduction, stopped.columnOfRow) < costOf(reduction, columnOfRow)) {
      columnOfRow = stopped.columnOfRow;
    }
    if (!outcome.complete) this.#improve(reduction, columnOfRow);
    const { columnPrice } = settled || stopped === null ? outcome : stopped;
    return cancelled() ? null : { columnOfRow, columnPrice, solver: 'auction' };
  }

  /** Milliseconds that the way from a stopped solver to the answer takes. */
  #closingMs(reduction: Reduction): number {
    const rows = reduction.agents.length;
    const exchangeMs = 1e-6 * exchangeNs * rows * rows;
    const leftMs = Math.max(0, this.#deadlineMs - this.#control.nowMs());
    const passMs = this.#passMs(reduction);
    const onceMs = sharpeningPasses * passMs;
    this.#sharpeningMs = onceMs * Math.min(sharpenings, Math.floor((sharpeningShare * leftMs) / onceMs));
    return closingPasses * passMs + this.#sharpeningMs + Math.min(exchangeMs, exchangeShare * leftMs);
  }

  #passMs(reduction: Reduction): number {
    return this.#times.expectedMs('pass', reduction.agents.length, reduction.tasks.length);
  }

  #run(
    reduction: Reduction,
    start: SolverStart | null,
    solver: 'exact' | 'auction',
    stopMs: number,
  ): { readonly outcome: SolverOutcome; readonly settled: boolean } {
    const { nowMs, cancelled } = this.#control;
    const beganMs = nowMs();
    const shouldStop = stopMs === Infinity ? cancelled : (): boolean => cancelled() || nowMs() >= stopMs;
    let outcome: SolverOutcome;
    let settled = true;
    if (solver === 'exact') outcome = solveExact(reduction, start, shouldStop);
    else {
      const sold = solveAuction(reduction, start, { shouldStop, targetGap });
      ({ settled } = sold);
      outcome = sold;
    }
    const kind: SolveKind = isWarm(start) ? `${solver}-warm` : solver;
    const rows = reduction.agents.length;
    const width = reduction.tasks.length;
    const tookMs = nowMs() - beganMs;
    if (outcome.complete) this.#times.record(kind, rows, width, tookMs);
    else if (!cancelled()) this.#times.recordStopped(kind, rows, width, tookMs);
    return { outcome, settled };
  }

  #improve(reduction: Reduction, columnOfRow: Int32Array): void {
    const { nowMs, cancelled } = this.#control;
    const stopMs = this.#deadlineMs - this.#passMs(reduction) - this.#sharpeningMs;
    exchangePairs(reduction, columnOfRow, () => cancelled() || nowMs() >= stopMs);
  }
}

function costOf({ cost, tasks }: Reduction, columnOfRow: Int32Array): number {
  let total = 0;
  for (let row = 0; row < columnOfRow.length; row++) {
    const column = columnOfRow[row]!;
    if (column >= 0) total += cost[row * tasks.length + column]!;
  }
  return total;
}

function isWarm(start: SolverStart | null): boolean {
  return start?.columnPrice != null;
}
