/** The hard assignment of a request: what the solver gets, and its answer with the certificate. */
import { type HardDemands, type HardResult, smallCells } from '../assignment/hard.js';
import type { PosedProblem, Positions } from '../assignment/positions.js';
import type { JobResult } from '../batching/job.js';
import { CoordinatorError } from '../errors.js';
import type { AssignmentProblem, HardAnswer, Problem } from '../problem.js';
import { countActive } from './marginals.js';
import { outputOf } from './outputs.js';

/** `result` gives the utility, where a program computed it, and the duals, where it had them. */
export function hardProblemOf(problem: Problem, result: JobResult | null, budgetMs: number | null): PosedProblem {
  const { assignment } = problem;
  if (assignment === null) throw new CoordinatorError('INTERNAL', 'a hard assignment without an assignment problem');
  return {
    ...demandsOf(problem, assignment, budgetMs),
    utility: utilityOf(problem, result),
    warm:
      problem.warmStart === null
        ? null
        : { taskPrices: problem.warmStart.taskPrices, taskOfAgent: problem.warmStart.taskOfAgent },
    potentials:
      result?.outputs.has('row_potential') === true
        ? { row: outputOf(result, 'row_potential'), column: outputOf(result, 'column_potential') }
        : null,
  };
}

/** `assignment` is the problem's own. */
export function demandsOf(problem: Problem, assignment: AssignmentProblem, budgetMs: number | null): HardDemands {
  return {
    agentCount: problem.agentCount,
    taskCount: problem.taskCount,
    bias: assignment.bias,
    agentActive: problem.agentActive,
    taskActive: problem.taskActive,
    capacities: assignment.capacities,
    idleUtility: assignment.idleUtility,
    previous: assignment.previous,
    keepBonus: assignment.keepBonus,
    locks: assignment.locks,
    solver: assignment.solver,
    budgetMs,
    maxChange: assignment.maxChange,
  };
}

/** The solver's result with unserved tasks and gap = (upper bound - objective) / max(|objective|, 1e-12). */
export function hardAnswerOf(problem: Problem, result: HardResult): HardAnswer {
  const { taskOfAgent, objective, totalUtility, upperBound, solver, changeLimited, taskPrices } = result;
  const load = new Uint32Array(problem.taskCount);
  for (const task of taskOfAgent) if (task >= 0) load[task]!++;
  const capacities = problem.assignment?.capacities ?? null;
  const unservedTasks: number[] = [];
  for (let j = 0; j < load.length; j++) {
    if (problem.taskActive[j] === 1 && load[j]! < (capacities === null ? 1 : capacities[j]!)) unservedTasks.push(j);
  }
  const gap = Math.max(upperBound - objective, 0) / Math.max(Math.abs(objective), 1e-12);
  return { taskOfAgent, unservedTasks, objective, totalUtility, upperBound, gap, solver, changeLimited, taskPrices };
}

/** Share of active agents whose task differs from `previous`; 0 where none was given or nobody is active. */
export function churnOf(problem: Problem, taskOfAgent: Int32Array): number {
  const previous = problem.assignment?.previous ?? null;
  if (previous === null) return 0;
  let changed = 0;
  for (let i = 0; i < taskOfAgent.length; i++) {
    if (problem.agentActive[i] === 1 && taskOfAgent[i] !== previous[i]) changed++;
  }
  return changed / Math.max(countActive(problem.agentActive), 1);
}

function utilityOf(problem: Problem, result: JobResult | null): Float32Array | Positions {
  if (problem.utility !== null) return lentUtility(problem.utility.data);
  if (result?.outputs.has('utility_out') === true) return outputOf(result, 'utility_out');
  return positionsOf(problem);
}

/** Of agents the first e coordinates, e being the tasks' width: copies, as the request's memory may go. */
function positionsOf({ agents, tasks }: Problem): Positions {
  if (agents === null || tasks === null) throw new CoordinatorError('INTERNAL', 'neither a utility nor positions');
  const width = tasks.columns;
  if (agents.columns === width) return { width, agents: agents.data.slice(), tasks: tasks.data.slice() };
  const first = new Float32Array(agents.rows * width);
  for (let i = 0; i < agents.rows; i++)
    for (let k = 0; k < width; k++) first[i * width + k] = agents.data[i * agents.columns + k]!;
  return { width, agents: first, tasks: tasks.data.slice() };
}

/** The solver takes a large utility over; a given one borrows the request's memory, so it is copied. */
function lentUtility(utility: Float32Array): Float32Array {
  return utility.length <= smallCells ? utility : utility.slice();
}
