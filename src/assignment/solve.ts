/** One hard assignment, start to end, on the calling thread. */
import { certifiedUpperBound } from './bound.js';
import { solveExact } from './exact.js';
import { solveGreedy } from './greedy.js';
import type { HardProblem, HardResult } from './hard.js';
import { exchangePairs } from './pair-exchange.js';
import { type Reduction, reduceProblem, restoreAssignment, scoreAssignment } from './reduction.js';
import { boundOfGreedyMs, exactSolveMs, greedySolveMs } from './solve-time.js';

export interface SolveControl {
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Asked while the exact solver runs. */
  readonly cancelled: () => boolean;
}

/**
 * Solves `problem`; null where it was cancelled. EXACT runs the exact solver, GREEDY the greedy one and
 * exchanges of pairs. AUTO runs the exact one
 * where `budgetMs` is null, or where its estimated time fits; it is stopped while there is still time in the budget for
 * the greedy answer and its bound, which is then given (exchanges end when the budget does). Exact answers have `upperBound` equal to `objective`.
 * Throws REQUEST_INVALID for contradictory locks.
 */
export function solveHard(problem: HardProblem, control: SolveControl): HardResult | null {
  const startMs = control.nowMs();
  const reduction = reduceProblem(problem);
  if (problem.solver !== 'GREEDY') {
    const allowedMs = problem.solver === 'AUTO' ? timeForExact(reduction, problem.budgetMs) : Infinity;
    if (allowedMs > 0) {
      const stopMs = startMs + allowedMs;
      const outcome = solveExact(reduction, null, () => control.cancelled() || control.nowMs() >= stopMs);
      if (outcome.complete) {
        const taskOfAgent = restoreAssignment(reduction, outcome.columnOfRow);
        const { objective, totalUtility } = scoreAssignment(problem, taskOfAgent);
        return { taskOfAgent, objective, totalUtility, upperBound: objective, solver: 'exact', ...coldOnly };
      }
      if (control.cancelled()) return null;
    }
  }
  const columnOfRow = solveGreedy(reduction);
  const { solver, budgetMs } = problem;
  const boundMs = boundOfGreedyMs(reduction.agents.length, reduction.tasks.length);
  const deadlineMs = solver === 'AUTO' && budgetMs !== null ? startMs + budgetMs - boundMs : Infinity;
  exchangePairs(reduction, columnOfRow, () => control.cancelled() || control.nowMs() >= deadlineMs);
  const taskOfAgent = restoreAssignment(reduction, columnOfRow);
  const { objective, totalUtility } = scoreAssignment(problem, taskOfAgent);
  let assigned = 0;
  for (const column of columnOfRow) if (column >= 0) assigned++;
  const upperBound = certifiedUpperBound(reduction, assigned, objective, problem.potentials);
  return { taskOfAgent, objective, totalUtility, upperBound, solver: 'greedy', ...coldOnly };
}

const coldOnly = { taskPrices: null, changeLimited: false, warmStartUsed: false } as const;

/** Milliseconds from the start after which the exact solver must stop; 0 where it should not be tried. */
function timeForExact(reduction: Reduction, budgetMs: number | null): number {
  const agents = reduction.agents.length;
  let places = 0;
  for (const capacity of reduction.capacities) places += capacity;
  if (budgetMs === null) return Infinity;
  const allowedMs = budgetMs - greedySolveMs(agents, reduction.tasks.length);
  return exactSolveMs(agents, places) <= allowedMs ? allowedMs : 0;
}
