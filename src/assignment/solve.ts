/** One hard assignment, start to end, on the calling thread. */
import type { Solver } from '../problem.js';
import { boundOfPrices, certifiedUpperBound, sharpeningPasses } from './bound.js';
import type { HardProblem, HardResult } from './hard.js';
import { idlingNeverPays, rangeAboveIdling, withIdling } from './idling.js';
import { changeLimitOf, limitChanges } from './hysteresis.js';
import { type Reduction, recycleCosts, reduceProblem, restoreAssignment, scoreAssignment } from './reduction.js';
import { SolveTimes } from './solve-time.js';
import { type SolveControl, type Solved, SolverChoice } from './solver-choice.js';
import type { SolverStart } from './solver-outcome.js';
import { startOf, taskPricesOf } from './warm-prices.js';

/** Share of the budget for the answer without a limit of changes, where there is one, and of what is left for each try to meet it. */
const freeShare = 0.5;
const roundShare = 0.4;
/**
 * Passes over the costs that such a try takes at least, however soon it is stopped, and that come before the first and after the last one:
 * no try is begun that would end late, and time is kept for what has to be done anyway.
 */
const roundPasses = 3;
const limitPasses = 8;
/** A gap of this share is rounding. */
const provenShare = 1e-9;

export type { SolveControl } from './solver-choice.js';

/**
 * Solves `problem`; null where it was cancelled. EXACT runs the exact solver to the end, AUCTION the auction until its gap is small or the
 * budget is used up, GREEDY the greedy one and exchanges of pairs, AUTO what solver-choice.ts says. Exact answers have
 * `upperBound` equal to `objective`; all is as right as float64 has it at the largest value. `times` is learnt from and relied on: one for all problems of a thread.
 * Throws REQUEST_INVALID for contradictory locks.
 */
export function solveHard(problem: HardProblem, control: SolveControl, times = new SolveTimes()): HardResult | null {
  if (problem.idleUtility === null || !idlingNeverPays(problem, rangeAboveIdling(problem))) {
    return solvePosed(problem, control, times);
  }
  const result = solvePosed({ ...problem, idleUtility: null }, control, times);
  return result && withIdling(result, scoreAssignment(problem, result.taskOfAgent));
}

function solvePosed(problem: HardProblem, control: SolveControl, times: SolveTimes): HardResult | null {
  const beganMs = control.nowMs();
  const { budgetMs } = problem;
  const reduction = reduceProblem(problem);
  const { start, warm } = startOf(problem, reduction);
  const deadlineMs = budgetMs === null || problem.solver === 'EXACT' ? Infinity : beganMs + budgetMs;
  const limit = changeLimitOf(problem);
  const passMs = times.expectedMs('pass', reduction.agents.length, reduction.tasks.length);
  const freeDeadlineMs =
    limit === null || deadlineMs === Infinity
      ? deadlineMs
      : Math.min(beganMs + freeShare * (deadlineMs - beganMs), deadlineMs - limitPasses * passMs);
  const solved = solveBy(problem.solver, new SolverChoice(control, times, freeDeadlineMs), reduction, start);
  if (solved === null) return null;
  const taskOfAgent = restoreAssignment(reduction, solved.columnOfRow);
  const { objective, totalUtility } = scoreAssignment(problem, taskOfAgent);
  const upperBound = boundOf(problem, reduction, solved, objective, control, times, freeDeadlineMs);
  const free: HardResult = {
    taskOfAgent,
    objective,
    totalUtility,
    upperBound,
    solver: solved.solver,
    taskPrices: solved.columnPrice === null ? null : taskPricesOf(problem, reduction, solved.columnPrice),
    changeLimited: false,
    warmStartUsed: warm && solved.solver !== 'greedy',
  };
  const result = limit === null ? free : limited(problem, reduction, free, limit, control, times, deadlineMs);
  recycleCosts(reduction);
  return result;
}

function solveBy(solver: Solver, choice: SolverChoice, reduction: Reduction, start: SolverStart | null): Solved | null {
  if (solver === 'EXACT') return choice.exact(reduction, start);
  if (solver === 'AUCTION') return choice.auction(reduction, start);
  if (solver === 'GREEDY') return choice.greedy(reduction);
  return choice.auto(reduction, start);
}

/** `free` where it changes no more than `limit` agents, else the best that does not. */
function limited(
  problem: HardProblem,
  reduction: Reduction,
  free: HardResult,
  limit: number,
  control: SolveControl,
  times: SolveTimes,
  deadlineMs: number,
): HardResult | null {
  const shouldStop = (): boolean => control.cancelled() || control.nowMs() >= deadlineMs;
  const roundMs = roundPasses * times.expectedMs('pass', reduction.agents.length, reduction.tasks.length);
  const maySolve = (): boolean =>
    !control.cancelled() && (deadlineMs === Infinity || control.nowMs() + roundMs < deadlineMs);
  const solve = (kept: Reduction, start: SolverStart | null): Solved | null => {
    const nowMs = control.nowMs();
    const stopMs = deadlineMs === Infinity ? Infinity : nowMs + roundShare * (deadlineMs - nowMs);
    return solveBy(problem.solver, new SolverChoice(control, times, stopMs), kept, start);
  };
  const answer = limitChanges(problem, reduction, limit, free.taskOfAgent, free.upperBound, {
    solve,
    maySolve,
    shouldStop,
  });
  if (control.cancelled()) return null;
  if (answer === null) return free;
  const { taskOfAgent } = answer;
  const { objective, totalUtility } = scoreAssignment(problem, taskOfAgent);
  const upperBound = Math.max(objective, answer.upperBound);
  const proven = upperBound - objective <= provenShare * Math.max(Math.abs(objective), Math.abs(upperBound));
  const solver = free.solver === 'exact' && !proven ? 'auction' : free.solver;
  return { ...free, taskOfAgent, objective, totalUtility, upperBound, solver, changeLimited: true };
}

/** The time it takes to read all costs is learnt from it. */
function boundOf(
  problem: HardProblem,
  reduction: Reduction,
  solved: Solved,
  objective: number,
  control: SolveControl,
  times: SolveTimes,
  deadlineMs: number,
): number {
  if (solved.solver === 'exact') return objective;
  let assigned = 0;
  for (const column of solved.columnOfRow) if (column >= 0) assigned++;
  const { columnPrice } = solved;
  if (columnPrice === null) return certifiedUpperBound(reduction, assigned, objective, problem.potentials);
  const rows = reduction.agents.length;
  const width = reduction.tasks.length;
  const beganMs = control.nowMs();
  let passMs = -1;
  const maySharpen = (): boolean => {
    const nowMs = control.nowMs();
    if (passMs < 0) passMs = nowMs - beganMs;
    return deadlineMs === Infinity || nowMs + sharpeningPasses * passMs < deadlineMs;
  };
  const bound = boundOfPrices(reduction, assigned, objective, columnPrice, maySharpen);
  times.record('pass', rows, width, passMs < 0 ? control.nowMs() - beganMs : passMs);
  return bound;
}
