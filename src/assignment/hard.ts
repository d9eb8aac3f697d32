/** The hard assignment's problem and answer, shared by the solvers, the worker threads and the coordinator. */
import type { Solver } from '../problem.js';

/** Plain data, cloned or transferred to a solver thread. */
export interface HardProblem {
  readonly agentCount: number;
  readonly taskCount: number;
  /** [N,M] utility in the raw unit; -Infinity = forbidden. Rows of inactive agents are not read. */
  readonly utility: Float32Array;
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
  /** Time the exact solver may take (AUTO only); null: without a bound. */
  readonly budgetMs: number | null;
  /** Sinkhorn duals f [N], g [M] in units of utility; null: the bound starts from zero duals. */
  readonly potentials: { readonly row: Float32Array; readonly column: Float32Array } | null;
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
  readonly solver: 'exact' | 'greedy';
}

/** N = M = `count` without any constraint; takes `utility` [N,M] over. */
export function plainHardProblem(count: number, utility: Float32Array, solver: Solver): HardProblem {
  const active = new Uint8Array(count).fill(1);
  return {
    agentCount: count,
    taskCount: count,
    utility,
    bias: null,
    agentActive: active,
    taskActive: active,
    capacities: null,
    idleUtility: null,
    previous: null,
    keepBonus: 0,
    locks: null,
    solver,
    budgetMs: null,
    potentials: null,
  };
}

/** What the coordinator needs: solves off the event loop. */
export interface HardSolver {
  /** Takes ownership of `problem.utility` (it may be transferred). Rejects with CANCELLED when the signal aborts. */
  solve(problem: HardProblem, signal: AbortSignal): Promise<HardResult>;
  close(): Promise<void>;
}
