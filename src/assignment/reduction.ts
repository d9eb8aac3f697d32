/**
 * Takes everything that is already decided out of a hard assignment, so that the solvers see one dense cost matrix.
 *
 * n agents and m tasks remain (n <= N, m <= M): active, unlocked, with capacity left and at least one available pair.
 * Costs are minimised and float64:
 * - without an idle utility, cost = -(utility + bias + keep bonus), and as many agents as possible must be assigned;
 * - with one, cost = idleUtility - (utility + bias + keep bonus), pairs that are worth less than idling are unavailable,
 *   and no agent has to be assigned. An agent is indifferent at cost 0.
 * An unavailable pair costs +Infinity. A utility or bias that is not finite makes its pair unavailable.
 */
import { CoordinatorError } from '../errors.js';
import type { HardProblem } from './hard.js';

export interface Reduction {
  /** [n] indices of agents in the problem, ascending. */
  readonly agents: Int32Array;
  /** [m] indices of tasks in the problem, ascending. */
  readonly tasks: Int32Array;
  /** [m] free capacity, at least 1, never more than the agents that can reach the task. */
  readonly capacities: Int32Array;
  /** [n,m] row-major. */
  readonly cost: Float64Array;
  /** Every pair is available. */
  readonly dense: boolean;
  /** No available pair costs less, or more; 0 where there is none. */
  readonly lowestCost: number;
  readonly highestCost: number;
  readonly idleAllowed: boolean;
  /** [N] the tasks of locked agents; -1 elsewhere. */
  readonly lockedTasks: Int32Array;
  /** What an assignment of cost 0 is worth: locked pairs, and idleUtility for each other active agent. */
  readonly base: number;
  /** At least every |value| that enters an objective; bounds rounding errors. */
  readonly magnitude: number;
}

/** Utility + bias + keep bonus of one pair; not finite where the pair is forbidden. */
export function pairValue(problem: HardProblem, agent: number, task: number): number {
  const cell = agent * problem.taskCount + task;
  let value = problem.utility[cell]!;
  if (problem.bias !== null) value += problem.bias[cell]!;
  if (problem.previous !== null && problem.previous[agent] === task) value += problem.keepBonus;
  return value;
}

/**
 * The problem without what locks, masks and forbidden pairs decide. O(N M); reads `problem`, keeps nothing of it.
 * Throws REQUEST_INVALID where locks contradict masks, capacities or forbidden pairs.
 */
export function reduceProblem(problem: HardProblem): Reduction {
  const { agentCount, taskCount, idleUtility } = problem;
  const lockedTasks = new Int32Array(agentCount).fill(-1);
  const left = problem.capacities === null ? new Uint32Array(taskCount).fill(1) : problem.capacities.slice();
  const agents = new Int32Array(agentCount);
  let agentsLeft = 0;
  let base = 0;
  let magnitude = Math.abs(idleUtility ?? 0);
  for (let agent = 0; agent < agentCount; agent++) {
    if (problem.agentActive[agent] === 0) continue;
    const lock = problem.locks === null ? -2 : problem.locks[agent]!;
    if (lock >= 0) {
      const value = lockedValue(problem, agent, lock, left);
      lockedTasks[agent] = lock;
      left[lock]!--;
      base += value;
      magnitude = Math.max(magnitude, Math.abs(value));
      continue;
    }
    base += idleUtility ?? 0;
    if (lock === -2) agents[agentsLeft++] = agent;
  }
  const tasks = new Int32Array(taskCount);
  let tasksLeft = 0;
  for (let task = 0; task < taskCount; task++) {
    if (problem.taskActive[task] === 1 && left[task]! > 0) tasks[tasksLeft++] = task;
  }
  const table: Table = {
    agents: agents.subarray(0, agentsLeft),
    tasks: tasks.subarray(0, tasksLeft),
    cost: costsOf(agentsLeft * tasksLeft),
    rowReach: new Int32Array(agentsLeft),
    columnReach: new Int32Array(tasksLeft),
  };
  const range = fillCosts(problem, table);
  if (range.low > range.high) range.low = range.high = 0;
  magnitude = Math.max(magnitude, Math.max(Math.abs(range.low), Math.abs(range.high)) + Math.abs(idleUtility ?? 0));
  const dense = dropUnreachable(table);
  const capacities = new Int32Array(table.tasks.length);
  for (let column = 0; column < capacities.length; column++) {
    capacities[column] = Math.min(left[table.tasks[column]!]!, table.columnReach[column]!);
  }
  const { agents: rows, tasks: columns, cost } = table;
  return {
    agents: rows,
    tasks: columns,
    capacities,
    cost,
    dense,
    lowestCost: range.low,
    highestCost: range.high,
    idleAllowed: idleUtility !== null,
    lockedTasks,
    base,
    magnitude,
  };
}

/** Cells that are kept for the next problem at most: enough for 5120 x 5120. */
const maxSpareCells = 2 ** 25;
/** More than this is given back where the next problem needs less than a sixteenth of it. */
const freelyKeptCells = 2 ** 22;

/** Memory that was touched before: the kernel takes as long to hand out fresh pages as it takes to fill them. */
let spare = new Float64Array(0);

function costsOf(cells: number): Float64Array {
  if (spare.length > freelyKeptCells && 16 * cells < spare.length) spare = new Float64Array(0);
  if (spare.length < cells) return new Float64Array(cells);
  const costs = spare.subarray(0, cells);
  spare = new Float64Array(0);
  return costs;
}

/** Lends the memory of `reduction.cost`, which nobody reads any more, to the next problem of this thread. */
export function recycleCosts(reduction: Reduction): void {
  const whole = new Float64Array(reduction.cost.buffer as ArrayBuffer);
  if (whole.length > spare.length && whole.length <= maxSpareCells) spare = whole;
}

/** The cost of a reduced answer, `columnOfRow` [n] (-1 idle). */
export function costOf({ cost, tasks }: Reduction, columnOfRow: Int32Array): number {
  let total = 0;
  for (let row = 0; row < columnOfRow.length; row++) {
    const column = columnOfRow[row]!;
    if (column >= 0) total += cost[row * tasks.length + column]!;
  }
  return total;
}

/** [N] task or -1 of every agent, from the reduced answer `columnOfRow` [n] (-1 idle) and the locks. */
export function restoreAssignment(reduction: Reduction, columnOfRow: Int32Array): Int32Array {
  const taskOfAgent = reduction.lockedTasks.slice();
  for (let row = 0; row < columnOfRow.length; row++) {
    const column = columnOfRow[row]!;
    if (column >= 0) taskOfAgent[reduction.agents[row]!] = reduction.tasks[column]!;
  }
  return taskOfAgent;
}

/** `objective` and `totalUtility` of an assignment, as hard.ts defines them, summed in agent order. */
export function scoreAssignment(
  problem: HardProblem,
  taskOfAgent: Int32Array,
): { readonly objective: number; readonly totalUtility: number } {
  const idle = problem.idleUtility ?? 0;
  let objective = 0;
  let totalUtility = 0;
  for (let agent = 0; agent < problem.agentCount; agent++) {
    if (problem.agentActive[agent] === 0) continue;
    const task = taskOfAgent[agent]!;
    if (task < 0) {
      objective += idle;
      totalUtility += idle;
      continue;
    }
    const cell = agent * problem.taskCount + task;
    objective += pairValue(problem, agent, task);
    totalUtility += problem.utility[cell]! + (problem.bias === null ? 0 : problem.bias[cell]!);
  }
  return { objective, totalUtility };
}

function lockedValue(problem: HardProblem, agent: number, task: number, left: Uint32Array): number {
  const field = `assignment.locks[${agent}]`;
  if (problem.taskActive[task] !== 1) {
    throw CoordinatorError.field('REQUEST_INVALID', field, 'a task that is not masked', `task ${task}`);
  }
  if (left[task]! === 0) {
    throw CoordinatorError.field('REQUEST_INVALID', field, 'a task with capacity left', `task ${task}`);
  }
  const value = pairValue(problem, agent, task);
  if (!Number.isFinite(value)) {
    throw CoordinatorError.field('REQUEST_INVALID', field, 'an allowed pair', `task ${task}, which is forbidden`);
  }
  return value;
}

interface CostRange {
  low: number;
  high: number;
}

interface Table {
  agents: Int32Array;
  tasks: Int32Array;
  cost: Float64Array;
  /** [n], [m] available pairs of each row and column. */
  readonly rowReach: Int32Array;
  columnReach: Int32Array;
}

/** Fills `cost` and both reaches; returns the extreme costs of available pairs (low > high where there are none). */
function fillCosts(problem: HardProblem, table: Table): CostRange {
  const { taskCount, previous } = problem;
  const { agents, tasks, cost, rowReach, columnReach } = table;
  const width = tasks.length;
  const worst = problem.idleUtility === null ? Number.MAX_VALUE : 0;
  const columnOfTask = new Int32Array(previous === null ? 0 : taskCount).fill(-1);
  if (previous !== null) for (let column = 0; column < width; column++) columnOfTask[tasks[column]!] = column;
  const range: CostRange = { low: Infinity, high: -Infinity };
  let fullRows = 0;
  for (let row = 0; row < agents.length; row++) {
    const agent = agents[row]!;
    const to = row * width;
    let reach = fillRow(problem, agent, table, to, worst, range);
    const kept = previous === null ? -1 : previous[agent]!;
    if (kept >= 0 && kept < taskCount && columnOfTask[kept]! >= 0) {
      const cell = to + columnOfTask[kept]!;
      const value = (problem.idleUtility ?? 0) - pairValue(problem, agent, kept);
      if (cost[cell]! < Infinity) reach--;
      cost[cell] = admit(value, worst, range);
      if (cost[cell] < Infinity) reach++;
    }
    rowReach[row] = reach;
    if (reach === width) fullRows++;
    else for (let column = 0; column < width; column++) if (cost[to + column]! < Infinity) columnReach[column]!++;
  }
  if (fullRows > 0) for (let column = 0; column < width; column++) columnReach[column]! += fullRows;
  return range;
}

/** Writes one row of costs from cell `to` on; returns how many pairs are available. The keep bonus is left out. */
function fillRow(
  problem: HardProblem,
  agent: number,
  table: Table,
  to: number,
  worst: number,
  range: CostRange,
): number {
  const { utility, bias, taskCount } = problem;
  const { tasks, cost } = table;
  const idle = problem.idleUtility ?? 0;
  const width = tasks.length;
  const from = agent * taskCount;
  const straight = bias === null && width === taskCount;
  let reach = width;
  for (let column = 0; ; column++) {
    const { low, high } = range;
    // Stops at a cost that is not within the range so far, which soon is hardly ever the case.
    column = straight
      ? copyWithin(utility, from, cost, to, column, width, idle, low, high)
      : gatherWithin(problem, from, tasks, cost, to, column, idle, low, high);
    if (column === width) return reach;
    const cell = to + column;
    cost[cell] = admit(cost[cell]!, worst, range);
    if (cost[cell] === Infinity) reach--;
  }
}

/** Writes idle - utility from `column` on, up to and with the first that is not between `low` and `high`; returns its column, or `width`. */
function copyWithin(
  utility: Float32Array,
  from: number,
  cost: Float64Array,
  to: number,
  start: number,
  width: number,
  idle: number,
  low: number,
  high: number,
): number {
  let column = start;
  for (; column + 3 < width; column += 4) {
    const at = to + column;
    const a = from + column;
    const first = idle - utility[a]!;
    const second = idle - utility[a + 1]!;
    const third = idle - utility[a + 2]!;
    const fourth = idle - utility[a + 3]!;
    cost[at] = first;
    cost[at + 1] = second;
    cost[at + 2] = third;
    cost[at + 3] = fourth;
    if (first >= low && first <= high && second >= low && second <= high) {
      if (third >= low && third <= high && fourth >= low && fourth <= high) continue;
    }
    break;
  }
  for (; column < width; column++) {
    const value = idle - utility[from + column]!;
    cost[to + column] = value;
    if (!(value >= low && value <= high)) break;
  }
  return column;
}

/** The same from the cells of the `tasks` and with the bias. */
function gatherWithin(
  { utility, bias }: HardProblem,
  from: number,
  tasks: Int32Array,
  cost: Float64Array,
  to: number,
  start: number,
  idle: number,
  low: number,
  high: number,
): number {
  const width = tasks.length;
  let column = start;
  for (; column < width; column++) {
    const cell = from + tasks[column]!;
    const value = idle - (bias === null ? utility[cell]! : utility[cell]! + bias[cell]!);
    cost[to + column] = value;
    if (!(value >= low && value <= high)) break;
  }
  return column;
}

/** The cost of a pair: `value` where that is allowed, and then part of `range`; else Infinity. */
function admit(value: number, worst: number, range: CostRange): number {
  // Also false for NaN.
  if (!(value <= worst && value > -Infinity)) return Infinity;
  if (value < range.low) range.low = value;
  if (value > range.high) range.high = value;
  return value;
}

/** Compacts the table in place to rows and columns with at least one available pair; true where every pair is available. */
function dropUnreachable(table: Table): boolean {
  const { rowReach, columnReach, cost } = table;
  const rows = keep(rowReach);
  const columns = keep(columnReach);
  const width = columnReach.length;
  let available = 0;
  for (const row of rows) available += rowReach[row]!;
  if (rows.length < rowReach.length || columns.length < width) {
    let to = 0;
    for (const row of rows) {
      const from = row * width;
      for (let index = 0; index < columns.length; index++) cost[to++] = cost[from + columns[index]!]!;
    }
    table.cost = cost.subarray(0, to);
    table.agents = table.agents.filter((_, row) => rowReach[row]! > 0);
    table.tasks = table.tasks.filter((_, column) => columnReach[column]! > 0);
    table.columnReach = columnReach.filter((reach) => reach > 0);
  }
  return available === rows.length * columns.length;
}

function keep(reach: Int32Array): Int32Array {
  const kept = new Int32Array(reach.length);
  let count = 0;
  for (let index = 0; index < reach.length; index++) if (reach[index]! > 0) kept[count++] = index;
  return kept.subarray(0, count);
}
