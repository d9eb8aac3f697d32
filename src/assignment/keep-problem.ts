/**
 * A hard assignment in which changes count: who keeps the previous task (or keeps idling), who cannot, and a reduction
 * whose solutions pay `bonus` for every change.
 *
 * Every agent that is not locked may idle, for its idle utility; where there is none, for minus so much that one more agent
 * with a task is worth more than all utilities together. Unlike in reduction.ts, pairs that are worth less than idling stay: keeping one may be all that the limit allows.
 */
import type { HardProblem } from './hard.js';
import { pairValue, type Reduction } from './reduction.js';

/** `keepColumn` of rows that cannot keep what they had; -1: they keep idling. */
export const cannotKeep = -2;

export class KeepProblem {
  #reduction: Reduction;
  /** [n] */
  readonly keepColumn: Int32Array;
  /** What idling is thought to be worth. */
  readonly idleValue: number;
  /** Changes that rows may make. */
  readonly allowed: number;
  /** Rows that keep by idling. */
  readonly idlers: number;
  readonly #problem: HardProblem;
  /** [n] cost of the pair that is kept, without a bonus. */
  readonly #keepCost: Float64Array;
  #bonus = 0;

  /** `base` is what reduceProblem made of `problem`; `limit` agents may change, or as many as must, if that is more. */
  constructor(problem: HardProblem, base: Reduction, limit: number) {
    this.#problem = problem;
    const { agentCount, taskCount, idleUtility, locks } = problem;
    const previous = problem.previous!;
    const left = Array.from({ length: taskCount }, (_, task) => problem.capacities?.[task] ?? 1);
    for (const task of base.lockedTasks) if (task >= 0) left[task]!--;
    const tasks = Int32Array.from(left.keys()).filter((task) => problem.taskActive[task] === 1 && left[task]! > 0);
    const columnOfTask = new Int32Array(taskCount).fill(-1);
    tasks.forEach((task, column) => (columnOfTask[task] = column));
    let changed = 0;
    const open: number[] = [];
    for (let agent = 0; agent < agentCount; agent++) {
      if (problem.agentActive[agent] === 0) continue;
      const lock = locks === null ? -2 : locks[agent]!;
      if (lock !== -2) {
        if (lock !== previous[agent]) changed++;
      } else if (tasks.some((task) => Number.isFinite(pairValue(problem, agent, task)))) open.push(agent);
      else if (previous[agent] !== -1) changed++;
    }
    const agents = Int32Array.from(open);
    const rows = agents.length;
    const width = tasks.length;
    this.keepColumn = new Int32Array(rows);
    this.#keepCost = new Float64Array(rows);
    this.idleValue = idleUtility ?? -2 * (rows + 1) * Math.max(base.magnitude, Number.MIN_VALUE / Number.EPSILON);
    const cost = new Float64Array(rows * width);
    let dense = true;
    let lowestCost = Infinity;
    let highestCost = -Infinity;
    const wanted = new Int32Array(width);
    for (let row = 0; row < rows; row++) {
      this.#fillRow(cost, row, agents[row]!, tasks, 0);
      for (let column = 0; column < width; column++) {
        const value = cost[row * width + column]!;
        if (value === Infinity) dense = false;
        else {
          if (value < lowestCost) lowestCost = value;
          if (value > highestCost) highestCost = value;
        }
      }
      const task = previous[agents[row]!]!;
      const column = task < 0 ? -1 : (columnOfTask[task] ?? -1);
      this.#keepCost[row] = column < 0 ? 0 : cost[row * width + column]!;
      this.keepColumn[row] = task === -1 ? -1 : column < 0 || this.#keepCost[row] === Infinity ? cannotKeep : column;
      if (column >= 0 && this.keepColumn[row] === column) wanted[column]!++;
    }
    let forced = changed + this.keepColumn.filter((column) => column === cannotKeep).length;
    for (let column = 0; column < width; column++) forced += Math.max(0, wanted[column]! - left[tasks[column]!]!);
    this.allowed = Math.max(limit, forced) - changed;
    this.idlers = this.keepColumn.filter((column) => column === -1).length;
    const capacities = Int32Array.from(tasks, (task) => Math.min(left[task]!, rows));
    const { lockedTasks } = base;
    if (lowestCost > highestCost) lowestCost = highestCost = 0;
    const magnitude = Math.max(base.magnitude, Math.abs(this.idleValue), Math.abs(lowestCost), Math.abs(highestCost));
    this.#reduction = {
      agents,
      tasks,
      capacities,
      cost,
      dense,
      lowestCost,
      highestCost,
      idleAllowed: true,
      lockedTasks,
      base: 0,
      magnitude,
    };
  }

  /** At the bonus of now; its costs change with the bonus. */
  get reduction(): Reduction {
    return this.#reduction;
  }

  /** Makes keeping worth `bonus` more than changing. */
  setBonus(bonus: number): void {
    const { agents, tasks, cost, lowestCost, highestCost, magnitude } = this.#reduction;
    const change = bonus - this.#bonus;
    this.#reduction = {
      ...this.#reduction,
      lowestCost: lowestCost - Math.abs(change),
      highestCost: highestCost + Math.abs(change),
      magnitude: magnitude + Math.abs(change),
    };
    this.#bonus = bonus;
    for (let row = 0; row < agents.length; row++) {
      const column = this.keepColumn[row]!;
      if (column >= 0) cost[row * tasks.length + column] = this.#keepCost[row]! - bonus;
      else if (column === -1) this.#fillRow(cost, row, agents[row]!, tasks, bonus);
    }
  }

  /** What `row` gains over idling by `column` (-1: nothing), without the bonus. */
  gain(row: number, column: number): number {
    if (column < 0) return 0;
    if (column === this.keepColumn[row]) return -this.#keepCost[row]!;
    const { cost, tasks } = this.reduction;
    const charged = this.keepColumn[row] === -1 ? this.#bonus : 0;
    return charged - cost[row * tasks.length + column]!;
  }

  gainOf(columnOfRow: Int32Array): number {
    let total = 0;
    for (let row = 0; row < columnOfRow.length; row++) total += this.gain(row, columnOfRow[row]!);
    return total;
  }

  changesOf(columnOfRow: Int32Array): number {
    let changes = 0;
    for (let row = 0; row < columnOfRow.length; row++) if (columnOfRow[row] !== this.keepColumn[row]) changes++;
    return changes;
  }

  /** [n] Everybody keeps what can be kept; of those who cannot all keep a task, those who gain most by it. */
  keepAll(): Int32Array {
    const columnOfRow = this.keepColumn.map((column) => Math.max(column, -1));
    const left = this.reduction.capacities.slice();
    const order = Uint32Array.from(columnOfRow.keys());
    order.sort(
      (one, other) => this.gain(other, columnOfRow[other]!) - this.gain(one, columnOfRow[one]!) || one - other,
    );
    for (const row of order) {
      const column = columnOfRow[row]!;
      if (column >= 0 && --left[column]! < 0) columnOfRow[row] = -1;
    }
    return columnOfRow;
  }

  /** [n] the same assignment in columns of this reduction. */
  columnsOf(taskOfAgent: Int32Array): Int32Array {
    const { agents, tasks } = this.reduction;
    const columnOfTask = new Map<number, number>();
    tasks.forEach((task, column) => columnOfTask.set(task, column));
    return Int32Array.from(agents, (agent) => columnOfTask.get(taskOfAgent[agent]!) ?? -1);
  }

  #fillRow(cost: Float64Array, row: number, agent: number, tasks: Int32Array, charged: number): void {
    const width = tasks.length;
    for (let column = 0; column < width; column++) {
      const value = pairValue(this.#problem, agent, tasks[column]!);
      cost[row * width + column] = Number.isFinite(value) ? this.idleValue - value + charged : Infinity;
    }
  }
}
