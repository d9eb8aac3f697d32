/** What a solver may start from: an earlier tick's prices and tasks, else Sinkhorn's potentials, in terms of the reduction. */
import type { HardProblem } from './hard.js';
import type { Reduction } from './reduction.js';
import type { SolverStart } from './solver-outcome.js';
import { priceOfPlace } from './start-prices.js';

export interface WarmStart {
  /** Null: nothing is known. */
  readonly start: SolverStart | null;
  /** `HardProblem.warm` is in it. */
  readonly warm: boolean;
}

/** Garbage in what callers hand in makes a start useless, not an answer wrong: the solvers check what they are given. */
export function startOf(problem: HardProblem, reduction: Reduction): WarmStart {
  const { warm, previous, potentials } = problem;
  const { agents, tasks } = reduction;
  if (agents.length === 0 || tasks.length === 0) return { start: null, warm: false };
  const taskOfAgent = warm?.taskOfAgent ?? previous;
  const columnOfRow = taskOfAgent === null ? null : columnsOf(taskOfAgent, reduction, problem.taskCount);
  const known = warm?.taskPrices ?? null;
  if (known !== null) {
    const columnPrice = new Float64Array(tasks.length);
    let isKnown = false;
    for (let column = 0; column < tasks.length; column++) {
      const value = known[tasks[column]!]!;
      columnPrice[column] = value;
      if (value >= 0 && value < Infinity) isKnown = true;
    }
    if (isKnown) return { start: { columnPrice, columnOfRow }, warm: true };
  }
  if (potentials !== null && !reduction.idleAllowed) {
    return { start: { columnPrice: pricesOf(potentials.column, reduction), columnOfRow }, warm: false };
  }
  if (columnOfRow === null) return { start: null, warm: false };
  return { start: { columnPrice: null, columnOfRow }, warm: warm?.taskOfAgent != null };
}

/** [M] from [m]; NaN where a task is not in the reduction. */
export function taskPricesOf(problem: HardProblem, reduction: Reduction, columnPrice: Float64Array): Float64Array {
  const prices = new Float64Array(problem.taskCount).fill(NaN);
  for (let column = 0; column < reduction.tasks.length; column++) {
    prices[reduction.tasks[column]!] = columnPrice[column]!;
  }
  return prices;
}

function columnsOf(taskOfAgent: Int32Array, { agents, tasks }: Reduction, taskCount: number): Int32Array {
  const columnOfTask = new Int32Array(taskCount).fill(-1);
  for (let column = 0; column < tasks.length; column++) columnOfTask[tasks[column]!] = column;
  // A loop: `from` with a function takes ten times as long.
  const columnOfRow = new Int32Array(agents.length);
  // Also where the index is out of range.
  for (let row = 0; row < agents.length; row++) columnOfRow[row] = columnOfTask[taskOfAgent[agents[row]!]!] ?? -1;
  return columnOfRow;
}

/** Potentials g say prices -g, up to a constant: what leaves as many places with a price as there are agents. */
function pricesOf(potential: Float32Array, reduction: Reduction): Float64Array {
  const prices = Float64Array.from(reduction.tasks, (task) => {
    const value = -potential[task]!;
    return Number.isFinite(value) ? value : 0;
  });
  const floor = priceOfPlace(reduction, prices, reduction.agents.length);
  return prices.map((price) => Math.max(0, price - floor));
}
