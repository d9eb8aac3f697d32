/** The hard assignment's problem and answer, shared by the solvers, the worker threads and the coordinator. */
import type { CancelSignal } from '../cancellation.js';
import type { Solver } from '../problem.js';
import type { PosedProblem } from './positions.js';

/** What is asked of a hard assignment, wherever the utilities of its pairs come from. Plain data. */
export interface HardDemands {
  readonly agentCount: number;
  readonly taskCount: number;
  /** [N,M] added to the utility, -Infinity = forbidden; null: none. */
  readonly bias: Float32Array | null;
  readonly agentActive: Uint8Array;
  readonly taskActive: Uint8Array;
  /** [M]; null: 1 each. */
  readonly capacities: Uint32Array | null;
  readonly idleUtility: number | null;
  /** [N] task or -1; null: not given. The bonus applies to allowed pairs only. */
  readonly previous: Int32Array | null;
  readonly keepBonus: number;
  /** [N] -2 free, -1 idle, j; null: all free. Not contradictory. Locks of inactive agents are ignored. */
  readonly locks: Int32Array | null;
  readonly solver: Solver;
  /** Time that the solvers may take (AUTO and AUCTION); null: without a bound. */
  readonly budgetMs: number | null;
  /**
   * Largest share of active agents whose task may differ from `previous`, with which alone it has a meaning; null: no limit. Agents that cannot keep
   * theirs (masked, forbidden, locked elsewhere, too many for it) change all the same; where these are more, no other changes.
   * The limit goes before greatest cardinality: without an idle utility, `upperBound` then holds for all assignments within the
   * limit that assign at least as many agents as the answer.
   */
  readonly maxChange: number | null;
}

/** As the solvers have it; on its way to them it is a PosedProblem. */
export interface HardProblem extends HardDemands {
  /** [N,M] utility in the raw unit; -Infinity = forbidden. Rows of inactive agents are not read. */
  readonly utility: Float32Array;
  /** Prices and tasks of the last tick; null: a cold start. Whatever they hold, the answer is as right as without them. */
  readonly warm: HardWarmStart | null;
  /** Sinkhorn duals f [N], g [M] in units of utility; null: the bound starts from zero duals. */
  readonly potentials: { readonly row: Float32Array; readonly column: Float32Array } | null;
}

/** Plain data, lined up with the problem's agents and tasks. */
export interface HardWarmStart {
  /** [M] dual prices in units of utility; NaN where not known (a task that is new). Null: none. */
  readonly taskPrices: Float64Array | null;
  /** [N] task that the agent had, or -1. Null: not known. */
  readonly taskOfAgent: Int32Array | null;
}

export interface HardResult {
  /** [N], -1 idle. */
  readonly taskOfAgent: Int32Array;
  /** utility + bias + keep bonus over the pairs, + idleUtility times the idle active agents where given. */
  readonly objective: number;
  /** The same without the keep bonus. */
  readonly totalUtility: number;
  /** Never below the objective of any allowed assignment (of greatest cardinality where there is no idle utility). */
  readonly upperBound: number;
  /** `exact` only where proven optimal; `auction` also where an exact solver was stopped, or `maxChange` left a gap. */
  readonly solver: 'exact' | 'auction' | 'greedy' | 'sparse-exact' | 'sparse-auction';
  /** [M] dual prices in units of utility, at least 0, for the next tick's warm start; null where the solver has none. */
  readonly taskPrices: Float64Array | null;
  /** `maxChange` kept the answer from being better. */
  readonly changeLimited: boolean;
  /** Whether `warm` was used. */
  readonly warmStartUsed: boolean;
}

/** Everybody and everything there, one agent to a task, and no constraint. */
export function plainDemands(agentCount: number, taskCount: number, solver: Solver): HardDemands {
  return {
    agentCount,
    taskCount,
    bias: null,
    agentActive: new Uint8Array(agentCount).fill(1),
    taskActive: new Uint8Array(taskCount).fill(1),
    capacities: null,
    idleUtility: null,
    previous: null,
    keepBonus: 0,
    locks: null,
    solver,
    budgetMs: null,
    maxChange: null,
  };
}

/** N = M = `count` without any constraint; takes `utility` [N,M] over. */
export function plainHardProblem(count: number, utility: Float32Array, solver: Solver): HardProblem {
  return { ...plainDemands(count, count, solver), utility, warm: null, potentials: null };
}

export interface SolveOptions {
  /** Rejects with CANCELLED when it aborts. */
  readonly signal: CancelSignal;
  /** On the injected clock's scale; Infinity: none. Waiting problems are solved in its order. */
  readonly deadlineMs?: number;
}

/** Problems of up to so many pairs are small: the solver copies their utility, and takes over that of larger ones. */
export const smallCells = 32_768;

/** What the coordinator needs: solves off the event loop. */
export interface HardSolver {
  /** Nothing of `problem` may change until it is answered. Takes ownership of a `problem.utility` of more than `smallCells` (it may be transferred). */
  solve(problem: PosedProblem, options: SolveOptions): Promise<HardResult>;
  /** Milliseconds from now until a problem of this size, handed in now, would be solved, by measured times and what waits. */
  expectedMs(agentCount: number, taskCount: number): number;
  /** How many problems of this size are solved side by side, as things are now. */
  threadsFor(agentCount: number, taskCount: number): number;
  close(): Promise<void>;
}
