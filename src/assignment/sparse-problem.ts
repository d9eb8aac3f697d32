/**
 * A hard assignment without a matrix of all pairs: where the values of pairs come from, and what locks and masks leave of
 * the problem. Memory is linear in what the request holds.
 */
import { CoordinatorError } from '../errors.js';
import type { HardDemands } from './hard.js';
import { rangeAboveIdling, type ValueRange } from './idling.js';
import { type Bonus, DistanceMarket, type Market, type RowFiller, ScanMarket } from './sparse-market.js';
import { PointTree } from './point-tree.js';

/** Plain data. Rows of inactive agents and tasks are not read. */
export interface SparseProblem extends HardDemands {
  readonly values: PairValues;
  /** [M] of the last tick, NaN where not known; null: a cold start. */
  readonly taskPrices: Float64Array | null;
}

/** Where U comes from. */
export type PairValues =
  | {
      /** U_ij = -|a_i[0:width] - t_j|. */
      readonly kind: 'distance';
      /** [N,stride] */
      readonly agents: Float32Array;
      readonly stride: number;
      /** [M,width] */
      readonly tasks: Float32Array;
      readonly width: number;
    }
  | {
      /** U_ij = a_i . t_j of vectors [N,width], [M,width]. */
      readonly kind: 'product';
      readonly agents: Float32Array;
      readonly tasks: Float32Array;
      readonly width: number;
    }
  /** [N,M] */
  | { readonly kind: 'given'; readonly utility: Float32Array };

/** Coordinates up to which a tree finds what is near faster than a scan does. */
const widestTree = 3;

/** Vectors a W / sqrt(d) whose products with tasks are eq. (2): agents [N,d], weight [d,e] -> [N,e]. */
export function bilinearVectors(
  agents: Float32Array,
  agentActive: Uint8Array,
  weight: Float32Array,
  d: number,
  e: number,
): Float32Array {
  const vectors = new Float32Array(agentActive.length * e);
  const sums = new Float64Array(e);
  const unit = 1 / Math.sqrt(d);
  for (let agent = 0; agent < agentActive.length; agent++) {
    if (agentActive[agent] !== 1) continue;
    sums.fill(0);
    for (let c = 0; c < d; c++) {
      const state = agents[agent * d + c]!;
      for (let k = 0; k < e; k++) sums[k] = sums[k]! + state * weight[c * e + k]!;
    }
    for (let k = 0; k < e; k++) vectors[agent * e + k] = sums[k]! * unit;
  }
  return vectors;
}

/** Utility + bias of a pair, without the keep bonus; not finite where forbidden. */
export function pairUtility(problem: SparseProblem, agent: number, task: number): number {
  const { values, bias, taskCount } = problem;
  const cell = agent * taskCount + task;
  const added = bias === null ? 0 : bias[cell]!;
  if (values.kind === 'given') return values.utility[cell]! + added;
  let sum = 0;
  if (values.kind === 'product') {
    const { width, agents, tasks } = values;
    for (let c = 0; c < width; c++) sum += agents[agent * width + c]! * tasks[task * width + c]!;
    return sum + added;
  }
  for (let c = 0; c < values.width; c++) {
    const difference = values.tasks[task * values.width + c]! - values.agents[agent * values.stride + c]!;
    sum += difference * difference;
  }
  return added - Math.sqrt(sum);
}

/** What is left to decide. */
export interface SparseReduction {
  /** Free, active agents; active tasks with room; ascending. */
  readonly agents: Int32Array;
  readonly tasks: Int32Array;
  /** [tasks.length] places left, at most agents.length. */
  readonly places: Int32Array;
  /** Sum of the places. */
  readonly room: number;
  /** [N] -1 where not locked to a task. */
  readonly lockedTasks: Int32Array;
  /** Objective of the locked pairs and of the agents locked idle. */
  readonly base: number;
}

/** Throws REQUEST_INVALID where locks contradict each other. */
export function reduceSparse(problem: SparseProblem): SparseReduction {
  const { agentCount, taskCount, locks, idleUtility } = problem;
  const left = new Int32Array(taskCount);
  for (let task = 0; task < taskCount; task++) {
    if (problem.taskActive[task] !== 1) continue;
    left[task] = problem.capacities === null ? 1 : Math.min(problem.capacities[task]!, agentCount);
  }
  const lockedTasks = new Int32Array(agentCount).fill(-1);
  const agents = new Int32Array(agentCount);
  let count = 0;
  let base = 0;
  for (let agent = 0; agent < agentCount; agent++) {
    if (problem.agentActive[agent] !== 1) continue;
    const lock = locks === null ? -2 : locks[agent]!;
    if (lock === -2) {
      agents[count++] = agent;
    } else if (lock === -1) {
      base += idleUtility ?? 0;
    } else {
      const value = pairUtility(problem, agent, lock) + keepBonusOf(problem, agent, lock);
      if (left[lock] === 0 || !Number.isFinite(value)) {
        const field = `assignment.locks[${agent}]`;
        throw CoordinatorError.field('REQUEST_INVALID', field, 'an allowed task with room', String(lock));
      }
      left[lock] = left[lock]! - 1;
      lockedTasks[agent] = lock;
      base += value;
    }
  }
  const tasks = new Int32Array(taskCount);
  let taskTotal = 0;
  let room = 0;
  for (let task = 0; task < taskCount; task++) if (left[task]! > 0) tasks[taskTotal++] = task;
  const places = new Int32Array(taskTotal);
  for (let at = 0; at < taskTotal; at++) {
    places[at] = Math.min(left[tasks[at]!]!, count);
    room += places[at]!;
  }
  return { agents: agents.slice(0, count), tasks: tasks.slice(0, taskTotal), places, room, lockedTasks, base };
}

export function keepBonusOf(problem: SparseProblem, agent: number, task: number): number {
  return problem.previous !== null && problem.previous[agent] === task ? problem.keepBonus : 0;
}

/** Objective and utility of an assignment [N] (-1 idle), locks included. */
export function scoreSparse(
  problem: SparseProblem,
  taskOfAgent: Int32Array,
): { readonly objective: number; readonly totalUtility: number; readonly size: number } {
  const idle = problem.idleUtility ?? 0;
  let objective = 0;
  let totalUtility = 0;
  let size = 0;
  for (let agent = 0; agent < problem.agentCount; agent++) {
    if (problem.agentActive[agent] !== 1) continue;
    const task = taskOfAgent[agent]!;
    const value = task < 0 ? idle : pairUtility(problem, agent, task);
    totalUtility += value;
    const valueWithBonus = task < 0 ? value : value + keepBonusOf(problem, agent, task);
    objective += valueWithBonus;
    size += Math.abs(valueWithBonus);
  }
  return { objective, totalUtility, size };
}

/** `agents` bid for `tasks`, or the other way round; `extraBonus` is added to the keep bonus. */
export function marketOf(
  problem: SparseProblem,
  agents: Int32Array,
  tasks: Int32Array,
  tasksBid: boolean,
  extraBonus = 0,
): Market {
  const { values, bias } = problem;
  const bonus = bonusOf(problem, tasksBid, extraBonus);
  if (values.kind === 'distance' && values.width <= widestTree && bias === null) {
    const { width, stride } = values;
    const tree = tasksBid
      ? new PointTree(values.agents, stride, width, agents)
      : new PointTree(values.tasks, width, width, tasks);
    const bidders = tasksBid ? tasks : agents;
    const from = tasksBid ? values.tasks : values.agents;
    const step = tasksBid ? width : stride;
    const places = new Float64Array((tasksBid ? problem.taskCount : problem.agentCount) * width);
    for (const bidder of bidders) {
      for (let c = 0; c < width; c++) places[bidder * width + c] = from[bidder * step + c]!;
    }
    return new DistanceMarket(tree, places, tasksBid ? problem.agentCount : problem.taskCount, bonus);
  }
  const positionOf = new Int32Array(tasksBid ? problem.agentCount : problem.taskCount).fill(-1);
  const objects = tasksBid ? agents : tasks;
  for (let at = 0; at < objects.length; at++) positionOf[objects[at]!] = at;
  const fill = rowFiller(problem, tasksBid);
  if (bonus === null) return new ScanMarket(objects, fill);
  return new ScanMarket(objects, (bidder, all, row) => {
    fill(bidder, all, row);
    for (let at = bonus.start[bidder]!; at < bonus.start[bidder + 1]!; at++) {
      const position = positionOf[bonus.objects[at]!]!;
      if (position >= 0) row[position] = row[position]! + bonus.amount;
    }
  });
}

function bonusOf(
  { previous, keepBonus, agentCount, taskCount }: SparseProblem,
  tasksBid: boolean,
  extra: number,
): Bonus | null {
  const amount = keepBonus + extra;
  if (previous === null || amount === 0) return null;
  const bidders = tasksBid ? taskCount : agentCount;
  const start = new Int32Array(bidders + 1);
  for (let agent = 0; agent < agentCount; agent++) {
    const task = previous[agent]!;
    if (task >= 0) start[(tasksBid ? task : agent) + 1]!++;
  }
  for (let bidder = 0; bidder < bidders; bidder++) start[bidder + 1] = start[bidder + 1]! + start[bidder]!;
  const next = start.slice();
  const objects = new Int32Array(start[bidders]!);
  for (let agent = 0; agent < agentCount; agent++) {
    const task = previous[agent]!;
    if (task >= 0) objects[next[tasksBid ? task : agent]!++] = tasksBid ? agent : task;
  }
  return { amount, start, objects };
}

function rowFiller({ values, bias, taskCount }: SparseProblem, tasksBid: boolean): RowFiller {
  const base = valueFiller(values, taskCount, tasksBid);
  if (bias === null) return base;
  return (bidder, objects, row) => {
    base(bidder, objects, row);
    for (let at = 0; at < objects.length; at++) {
      const cell = tasksBid ? objects[at]! * taskCount + bidder : bidder * taskCount + objects[at]!;
      row[at] = row[at]! + bias[cell]!;
    }
  };
}

function valueFiller(values: PairValues, taskCount: number, tasksBid: boolean): RowFiller {
  if (values.kind === 'given') {
    const { utility } = values;
    if (tasksBid) {
      return (task, agents, row) => {
        for (let at = 0; at < agents.length; at++) row[at] = utility[agents[at]! * taskCount + task]!;
      };
    }
    return (agent, tasks, row) => {
      const from = agent * taskCount;
      for (let at = 0; at < tasks.length; at++) row[at] = utility[from + tasks[at]!]!;
    };
  }
  const { width } = values;
  const agentStride = values.kind === 'distance' ? values.stride : width;
  const [mine, myStride] = tasksBid ? [values.tasks, width] : [values.agents, agentStride];
  const [theirs, theirStride] = tasksBid ? [values.agents, agentStride] : [values.tasks, width];
  const isDistance = values.kind === 'distance';
  const own = new Float64Array(width);
  return (bidder, objects, row) => {
    for (let c = 0; c < width; c++) own[c] = mine[bidder * myStride + c]!;
    if (isDistance) squaredDistances(own, theirs, theirStride, objects, row);
    else products(own, theirs, theirStride, objects, row);
  };
}

function squaredDistances(
  own: Float64Array,
  theirs: Float32Array,
  stride: number,
  objects: Int32Array,
  row: Float64Array,
): void {
  const width = own.length;
  for (let at = 0; at < objects.length; at++) {
    const from = objects[at]! * stride;
    let sum = 0;
    for (let c = 0; c < width; c++) {
      const difference = theirs[from + c]! - own[c]!;
      sum += difference * difference;
    }
    row[at] = -Math.sqrt(sum);
  }
}

function products(
  own: Float64Array,
  theirs: Float32Array,
  stride: number,
  objects: Int32Array,
  row: Float64Array,
): void {
  const width = own.length;
  const whole = width - (width % 4);
  for (let at = 0; at < objects.length; at++) {
    const from = objects[at]! * stride;
    // Four sums of their own: one sum would wait for itself at every addition.
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    let k = 0;
    for (; k < whole; k += 4) {
      a += theirs[from + k]! * own[k]!;
      b += theirs[from + k + 1]! * own[k + 1]!;
      c += theirs[from + k + 2]! * own[k + 2]!;
      d += theirs[from + k + 3]! * own[k + 3]!;
    }
    for (; k < width; k++) a += theirs[from + k]! * own[k]!;
    row[at] = a + b + (c + d);
  }
}

/** Of all pairs, or wider; null where one is not worth more than idling. O((N + M) width), with given utilities or a bias O(N M). */
export function sparseRange(problem: SparseProblem): ValueRange | null {
  const { values, agentActive, taskActive, bias } = problem;
  if (values.kind === 'given') return rangeAboveIdling({ ...problem, utility: values.utility });
  const added =
    bias === null
      ? { low: 0, high: 0, dense: true }
      : rangeAboveIdling({ ...problem, utility: bias, bias: null, idleUtility: null });
  if (added === null) return null;
  // The bonus counts twice where there is a bias: wider is as good.
  const bonus = problem.previous === null ? 0 : problem.keepBonus;
  const { width, agents, tasks } = values;
  const stride = values.kind === 'distance' ? values.stride : width;
  let most = 0;
  if (values.kind === 'distance') {
    for (let c = 0; c < width; c++) {
      const [first, second] = [extent(agents, agentActive, stride, c), extent(tasks, taskActive, width, c)];
      most += Math.max(first.high - second.low, second.high - first.low, 0) ** 2;
    }
    most = Math.sqrt(most);
  } else most = longest(agents, agentActive, width) * longest(tasks, taskActive, width);
  // Rounding of what was summed up.
  const low = -most * (1 + 1e-9);
  const high = values.kind === 'distance' ? 0 : -low;
  return {
    low: low + added.low + Math.min(bonus, 0),
    high: high + added.high + Math.max(bonus, 0),
    dense: added.dense,
  };
}

function extent(
  points: Float32Array,
  active: Uint8Array,
  stride: number,
  coordinate: number,
): { readonly low: number; readonly high: number } {
  let low = Infinity;
  let high = -Infinity;
  for (let at = 0; at < active.length; at++) {
    if (active[at] !== 1) continue;
    const value = points[at * stride + coordinate]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
}

/** The greatest norm of the active vectors. */
function longest(vectors: Float32Array, active: Uint8Array, width: number): number {
  let most = 0;
  for (let at = 0; at < active.length; at++) {
    if (active[at] !== 1) continue;
    let sum = 0;
    for (let c = 0; c < width; c++) sum += vectors[at * width + c]! ** 2;
    most = Math.max(most, sum);
  }
  return Math.sqrt(most);
}
