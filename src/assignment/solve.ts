/** One hard assignment, start to end, on the calling thread. */
import { boundOfPrices, certifiedUpperBound } from './bound.js';
import type { HardProblem, HardResult } from './hard.js';
import { type Reduction, reduceProblem, restoreAssignment, scoreAssignment } from './reduction.js';
import { SolveTimes } from './solve-time.js';
import { type SolveControl, type Solved, SolverChoice } from './solver-choice.js';
import { startOf, taskPricesOf } from './warm-prices.js';

export type { SolveControl } from './solver-choice.js';

/**
 * Solves `problem`; null where it was cancelled. EXACT runs the exact solver to the end, AUCTION the auction until its gap is small or the
 * budget is used up, GREEDY the greedy one and exchanges of pairs, AUTO what solver-choice.ts says. Exact answers have
 * `upperBound` equal to `objective`. `times` is learnt from and relied on: one for all problems of a thread.
 * Throws REQUEST_INVALID for contradictory locks.
 */
export function solveHard(problem: HardProblem, control: SolveControl, times = new SolveTimes()): HardResult | null {
  const beganMs = control.nowMs();
  const { budgetMs } = problem;
  const reduction = reduceProblem(problem);
  const { start, warm } = startOf(problem, reduction);
  const choice = new SolverChoice(control, times, budgetMs === null ? Infinity : beganMs + budgetMs);
  let solved: Solved | null;
  if (problem.solver === 'EXACT') solved = choice.exact(reduction, start);
  else if (problem.solver === 'AUCTION') solved = choice.auction(reduction, start);
  else if (problem.solver === 'GREEDY') solved = choice.greedy(reduction);
  else solved = choice.auto(reduction, start);
  if (solved === null) return null;
  const taskOfAgent = restoreAssignment(reduction, solved.columnOfRow);
  const { objective, totalUtility } = scoreAssignment(problem, taskOfAgent);
  const boundMs = control.nowMs();
  const upperBound = boundOf(problem, reduction, solved, objective);
  if (solved.solver === 'auction')
    times.record('pass', problem.agentCount, problem.taskCount, control.nowMs() - boundMs);
  return {
    taskOfAgent,
    objective,
    totalUtility,
    upperBound,
    solver: solved.solver,
    taskPrices: solved.columnPrice === null ? null : taskPricesOf(problem, reduction, solved.columnPrice),
    changeLimited: false,
    warmStartUsed: warm && solved.solver !== 'greedy',
  };
}

function boundOf(problem: HardProblem, reduction: Reduction, solved: Solved, objective: number): number {
  if (solved.solver === 'exact') return objective;
  let assigned = 0;
  for (const column of solved.columnOfRow) if (column >= 0) assigned++;
  const { columnPrice } = solved;
  if (columnPrice === null) return certifiedUpperBound(reduction, assigned, objective, problem.potentials);
  return boundOfPrices(reduction, assigned, objective, columnPrice, problem.budgetMs === null);
}
