/** Which solver answers a reduced problem, and for how long it may run. */
import { solveAuction } from './auction.js';
import { sharpeningPasses } from './bound.js';
import { contentionOf } from './contention.js';
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
/** Share of the time that the exact solver may take where it is expected to end. */
const endShare = 0.9;
/** The exact solver is stopped with a better answer than the auction's, and a better bound, if it had this share of its time (by measurement). */
const leastShare = 0.4;
/** And if the auction would not take so many times less: thousands of agents in the plane are quicker by prices from a sample. */
const muchLonger = 2;
/** Up to so many pairs are sorted for a greedy answer in a millisecond or two. */
const sortedCells = 65_536;
/** A sweep of exchanges takes so many nanoseconds per pair of agents; no more than this share of the time is kept for it. */
const exchangeNs = 5;
const exchangeShare = 0.3;

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
    const outcome = this.#run(reduction, start, 'exact', Infinity);
    return this.#control.cancelled() ? null : { ...outcome, solver: 'exact' };
  }

  /** Until the gap is small or the time is up. */
  auction(reduction: Reduction, start: SolverStart | null): Solved | null {
    const outcome = this.#run(reduction, start, 'auction', this.#deadlineMs - this.#closingMs(reduction));
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
   * By times measured for its size, contention and warmth exact where that ends in time, or gets far in it and the auction would not end much
   * earlier; else the auction. With no time at all, a small problem is answered greedily; of a large one even that takes longer than an auction
   * that is stopped at once.
   */
  auto(reduction: Reduction, start: SolverStart | null): Solved | null {
    if (this.#deadlineMs === Infinity) return this.exact(reduction, start);
    const { nowMs, cancelled } = this.#control;
    const rows = reduction.agents.length;
    const width = reduction.tasks.length;
    let stopMs = this.#deadlineMs - this.#closingMs(reduction);
    const beganMs = nowMs();
    if (stopMs <= beganMs && rows * width <= sortedCells) {
      return { columnOfRow: solveGreedy(reduction), columnPrice: null, solver: 'greedy' };
    }
    const warm = isWarm(start);
    const contention = contentionOf(reduction);
    const exactMs = this.#times.expectedMs(warm ? 'exact-warm' : 'exact', rows, width, contention);
    // Where it ends, nothing is left to do but for the answer itself.
    const fitsMs = endShare * (this.#deadlineMs - closingPasses * this.#passMs(reduction) - beganMs);
    if (exactMs <= fitsMs) stopMs = Math.max(stopMs, beganMs + fitsMs);
    else {
      const auctionMs = this.#times.expectedMs(warm ? 'auction-warm' : 'auction', rows, width, contention);
      if (leastShare * exactMs > stopMs - beganMs || muchLonger * auctionMs < exactMs) {
        this.#times.recordSkipped(warm ? 'exact-warm' : 'exact', rows, width, contention);
        return this.auction(reduction, start);
      }
    }
    const outcome = this.#run(reduction, start, 'exact', stopMs);
    if (outcome.complete) return { ...outcome, solver: 'exact' };
    this.#improve(reduction, outcome.columnOfRow);
    return cancelled() ? null : { ...outcome, solver: 'auction' };
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

  #run(reduction: Reduction, start: SolverStart | null, solver: 'exact' | 'auction', stopMs: number): SolverOutcome {
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
    if (outcome.complete) this.#times.record(kind, rows, width, tookMs, contentionOf(reduction));
    else if (!cancelled()) this.#times.recordStopped(kind, rows, width, tookMs, contentionOf(reduction));
    return outcome;
  }

  #improve(reduction: Reduction, columnOfRow: Int32Array): void {
    const { nowMs, cancelled } = this.#control;
    const stopMs = this.#deadlineMs - this.#passMs(reduction) - this.#sharpeningMs;
    exchangePairs(reduction, columnOfRow, () => cancelled() || nowMs() >= stopMs);
  }
}

function isWarm(start: SolverStart | null): boolean {
  return start?.columnPrice != null;
}
