/** Which solver answers a reduced problem, and for how long it may run. */
import { solveAuction } from './auction.js';
import { augmentToGreatest } from './augmentation.js';
import { solveExact } from './exact.js';
import { fillFree, solveGreedy } from './greedy.js';
import { exchangePairs } from './pair-exchange.js';
import type { Reduction } from './reduction.js';
import type { SolveKind, SolveTimes } from './solve-time.js';
import type { SolverOutcome, SolverStart } from './solver-outcome.js';
import { startPrices } from './start-prices.js';

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
const closingPasses = 3;
/** Passes that an auction needs to be worth beginning. */
const auctionPasses = 6;
/** Share of the time that the exact solver may take, where it is not alone: after it the auction has the rest. */
const exactShare = 0.65;
/** Up to so many pairs are sorted for a greedy answer in a millisecond or two. */
const sortedCells = 65_536;
/** Objectives of stopped solvers are improved by exchanges as long as there is time. */

export class SolverChoice {
  readonly #control: SolveControl;
  readonly #times: SolveTimes;
  /** When the answer must be ready; Infinity: no bound. */
  readonly #deadlineMs: number;

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
   * the rest of the time; where it does not fit, the auction has it all. With no time for that, what is quickest.
   */
  auto(reduction: Reduction, start: SolverStart | null): Solved | null {
    if (this.#deadlineMs === Infinity) return this.exact(reduction, start);
    const { nowMs, cancelled } = this.#control;
    const stopMs = this.#deadlineMs - this.#closingMs(reduction);
    const leftMs = stopMs - nowMs();
    const rows = reduction.agents.length;
    const width = reduction.tasks.length;
    const kind = isWarm(start) ? 'exact-warm' : 'exact';
    let known = start;
    if (this.#times.expectedMs(kind, rows, width) <= leftMs) {
      const { outcome } = this.#run(reduction, start, 'exact', nowMs() + exactShare * leftMs);
      if (cancelled()) return null;
      if (outcome.complete) return { ...outcome, solver: 'exact' };
      known = outcome;
    } else this.#times.recordSkipped(kind, rows, width);
    if (stopMs - nowMs() < auctionPasses * this.#times.expectedMs('pass', rows, width))
      return this.#quickest(reduction);
    const { outcome } = this.#run(reduction, known, 'auction', stopMs);
    if (!outcome.complete) this.#improve(reduction, outcome.columnOfRow);
    return cancelled() ? null : { ...outcome, solver: 'auction' };
  }

  /** Milliseconds that closing takes. */
  #closingMs(reduction: Reduction): number {
    return closingPasses * this.#times.expectedMs('pass', reduction.agents.length, reduction.tasks.length);
  }

  #run(
    reduction: Reduction,
    start: SolverStart | null,
    solver: 'exact' | 'auction',
    stopMs: number,
  ): { readonly outcome: SolverOutcome } {
    const { nowMs, cancelled } = this.#control;
    const beganMs = nowMs();
    const shouldStop = stopMs === Infinity ? cancelled : (): boolean => cancelled() || nowMs() >= stopMs;
    const outcome =
      solver === 'exact'
        ? solveExact(reduction, start, shouldStop)
        : solveAuction(reduction, start, { shouldStop, targetGap });
    const kind: SolveKind = isWarm(start) ? `${solver}-warm` : solver;
    const rows = reduction.agents.length;
    const width = reduction.tasks.length;
    const tookMs = nowMs() - beganMs;
    if (outcome.complete) this.#times.record(kind, rows, width, tookMs);
    else if (!cancelled()) this.#times.recordStopped(kind, rows, width, tookMs);
    return { outcome };
  }

  #quickest(reduction: Reduction): Solved {
    const rows = reduction.agents.length;
    if (rows * reduction.tasks.length <= sortedCells) {
      return { columnOfRow: solveGreedy(reduction), columnPrice: null, solver: 'greedy' };
    }
    const columnOfRow = new Int32Array(rows).fill(-1);
    const left = reduction.capacities.slice();
    if (reduction.idleAllowed) fillFree(reduction, columnOfRow, left);
    else augmentToGreatest(reduction, columnOfRow, left);
    return { columnOfRow, columnPrice: startPrices(reduction, null, rows), solver: 'greedy' };
  }

  #improve(reduction: Reduction, columnOfRow: Int32Array): void {
    const { nowMs, cancelled } = this.#control;
    const stopMs = this.#deadlineMs - this.#times.expectedMs('pass', reduction.agents.length, reduction.tasks.length);
    exchangePairs(reduction, columnOfRow, () => cancelled() || nowMs() >= stopMs);
  }
}

function isWarm(start: SolverStart | null): boolean {
  return start?.columnPrice != null;
}
