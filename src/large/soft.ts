/**
 * The top of a soft plan where the plan itself is too large: Sinkhorn in the log domain over each agent's best pairs, with the marginals and
 * slack of the dense plan. What is not among them has mass 0, and the marginal errors say what that costs.
 */
import { marketOf, pairUtility, type SparseProblem } from '../assignment/sparse-problem.js';
import { forbiddenUtility } from '../operators/signature.js';
import type { Slack } from '../planning/marginals.js';
import type { SoftAnswer } from '../problem.js';

export interface SoftInputs {
  readonly temperature: number;
  readonly iterations: number;
  readonly topK: number;
  /** [M] */
  readonly columnMass: Float32Array;
  readonly slack: Slack;
  /** The utility is divided by its standard deviation. */
  readonly isScaled: boolean;
}

export interface LargeSoft {
  readonly answer: SoftAnswer;
  /** [M] Sinkhorn's g in units of utility; 0 where dead. */
  readonly columnPotential: Float32Array;
}

/** Pairs of an agent: at least these, and as many times what is asked for. */
const leastPairs = 32;
const pairsPerAnswer = 4;
/** The standard deviation is taken over about this many pairs. */
const mostSpreadPairs = 1_000_000;
/** Relative to the mean, this small a deviation is rounding. */
const noise = 1e-6;

/** `look` is called now and then, and may throw. */
export function softTop(problem: SparseProblem, inputs: SoftInputs, look: () => void): LargeSoft {
  const agents = indicesOf(problem.agentActive);
  const tasks = indicesOf(problem.taskActive);
  const pairs = Math.min(Math.max(leastPairs, pairsPerAnswer * inputs.topK), Math.max(tasks.length, 1));
  const market = marketOf(problem, agents, tasks, false);
  const columns = new Int32Array(agents.length * pairs);
  const values = new Float64Array(agents.length * pairs).fill(-Infinity);
  const foundAt = new Int32Array(pairs);
  const foundValues = new Float64Array(pairs);
  for (let row = 0; row < agents.length; row++) {
    if ((row & 255) === 0) look();
    const count = market.best(agents[row]!, pairs, foundAt, foundValues, 0);
    for (let at = 0; at < count; at++) {
      columns[row * pairs + at] = market.objectAt[foundAt[at]!]!;
      values[row * pairs + at] = foundValues[at]!;
    }
  }
  const unit = inputs.temperature * (inputs.isScaled ? spreadOf(problem, agents, tasks, look) : 1);
  const sinkhorn = new SparseSinkhorn(problem, inputs, agents, pairs, columns, values, unit);
  for (let iteration = 0; iteration < inputs.iterations; iteration++) {
    look();
    sinkhorn.step();
  }
  return sinkhorn.answer(unit);
}

class SparseSinkhorn {
  readonly #problem: SparseProblem;
  readonly #inputs: SoftInputs;
  readonly #agents: Int32Array;
  readonly #pairs: number;
  readonly #columns: Int32Array;
  /** Utility over temperature. */
  readonly #logits: Float64Array;
  readonly #f: Float64Array;
  readonly #g: Float64Array;
  readonly #top: Float64Array;
  readonly #sum: Float64Array;
  readonly #logMass: Float64Array;
  readonly #idle: number;
  readonly #unserved: number;
  readonly #room: number;
  #f0 = 0;
  #g0 = 0;

  constructor(
    problem: SparseProblem,
    inputs: SoftInputs,
    agents: Int32Array,
    pairs: number,
    columns: Int32Array,
    values: Float64Array,
    unit: number,
  ) {
    this.#problem = problem;
    this.#inputs = inputs;
    this.#agents = agents;
    this.#pairs = pairs;
    this.#columns = columns;
    for (let at = 0; at < values.length; at++) values[at] = values[at]! / unit;
    this.#logits = values;
    const { taskCount } = problem;
    this.#f = new Float64Array(agents.length);
    this.#g = new Float64Array(taskCount);
    this.#top = new Float64Array(taskCount);
    this.#sum = new Float64Array(taskCount);
    this.#logMass = Float64Array.from(inputs.columnMass, (mass) => (mass > 0 ? Math.log(mass) : -Infinity));
    let room = 0;
    for (const mass of inputs.columnMass) room += mass;
    this.#room = room;
    const { slack } = inputs;
    this.#idle = slack.exists && slack.idle > forbiddenUtility ? slack.idle / unit : -Infinity;
    this.#unserved = slack.exists && slack.unserved > forbiddenUtility ? slack.unserved / unit : -Infinity;
  }

  /** Rows first, columns last. */
  step(): void {
    const { exists } = this.#inputs.slack;
    const rows = this.#agents.length;
    const g0 = this.#g0;
    for (let row = 0; row < rows; row++) {
      const from = row * this.#pairs;
      const to = from + this.#pairs;
      let top = this.#idle + g0;
      for (let at = from; at < to; at++) top = Math.max(top, this.#logits[at]! + this.#g[this.#columns[at]!]!);
      if (top === -Infinity) {
        this.#f[row] = -Infinity;
        continue;
      }
      let sum = Math.exp(this.#idle + g0 - top);
      for (let at = from; at < to; at++) sum += Math.exp(this.#logits[at]! + this.#g[this.#columns[at]!]! - top);
      this.#f[row] = -top - Math.log(sum);
    }
    if (exists) this.#f0 = this.#slackRow();
    this.#columnStep(exists);
    if (exists) this.#g0 = this.#slackColumn();
  }

  #slackRow(): number {
    let top = this.#g0;
    for (let j = 0; j < this.#g.length; j++) {
      if (this.#logMass[j]! > -Infinity) top = Math.max(top, this.#unserved + this.#g[j]!);
    }
    let sum = Math.exp(this.#g0 - top);
    for (let j = 0; j < this.#g.length; j++) {
      if (this.#logMass[j]! > -Infinity) sum += Math.exp(this.#unserved + this.#g[j]! - top);
    }
    return Math.log(this.#room) - top - Math.log(sum);
  }

  #slackColumn(): number {
    let top = this.#f0;
    for (const f of this.#f) top = Math.max(top, this.#idle + f);
    let sum = Math.exp(this.#f0 - top);
    for (const f of this.#f) sum += Math.exp(this.#idle + f - top);
    return Math.log(Math.max(this.#agents.length, 1e-300)) - top - Math.log(sum);
  }

  #columnStep(exists: boolean): void {
    const top = this.#top.fill(exists ? this.#unserved + this.#f0 : -Infinity);
    const columns = this.#columns;
    const logits = this.#logits;
    for (let row = 0, at = 0; row < this.#f.length; row++) {
      const f = this.#f[row]!;
      for (let end = at + this.#pairs; at < end; at++) {
        const z = logits[at]! + f;
        if (z > top[columns[at]!]!) top[columns[at]!] = z;
      }
    }
    const sum = this.#sum;
    for (let j = 0; j < sum.length; j++) {
      sum[j] = exists && top[j]! > -Infinity ? Math.exp(this.#unserved + this.#f0 - top[j]!) : 0;
    }
    for (let row = 0, at = 0; row < this.#f.length; row++) {
      const f = this.#f[row]!;
      for (let end = at + this.#pairs; at < end; at++) {
        const j = columns[at]!;
        if (logits[at]! > -Infinity && top[j]! > -Infinity) sum[j] = sum[j]! + Math.exp(logits[at]! + f - top[j]!);
      }
    }
    for (let j = 0; j < sum.length; j++) {
      this.#g[j] = top[j]! > -Infinity ? this.#logMass[j]! - top[j]! - Math.log(sum[j]!) : -Infinity;
    }
  }

  answer(unit: number): LargeSoft {
    const { agentCount, taskCount } = this.#problem;
    const { topK, columnMass, iterations, slack } = this.#inputs;
    const tasks = new Int32Array(agentCount * topK);
    const mass = new Float32Array(agentCount * topK);
    const idleMass = new Float32Array(agentCount);
    const columnSums = new Float64Array(taskCount);
    const pairs = this.#pairs;
    const masses = new Float64Array(pairs);
    let rowError = 0;
    // Rows of nobody list the first tasks without mass, as a plan of zeros would.
    for (let i = 0; i < agentCount; i++) for (let at = 0; at < topK; at++) tasks[i * topK + at] = at;
    for (let row = 0; row < this.#agents.length; row++) {
      const agent = this.#agents[row]!;
      const idle = Math.exp(this.#idle + this.#f[row]! + this.#g0);
      let sum = Number.isFinite(idle) ? idle : 0;
      idleMass[agent] = sum;
      for (let at = 0; at < pairs; at++) {
        const j = this.#columns[row * pairs + at]!;
        const z = this.#logits[row * pairs + at]! + this.#f[row]! + this.#g[j]!;
        masses[at] = z > -Infinity ? Math.exp(z) : 0;
        sum += masses[at]!;
        columnSums[j] = columnSums[j]! + masses[at]!;
      }
      rowError = Math.max(rowError, Math.abs(sum - 1));
      this.#writeTop(row, masses, agent * topK, tasks, mass);
    }
    let columnError = 0;
    for (let j = 0; j < taskCount; j++) {
      const open = slack.exists ? Math.exp(this.#unserved + this.#f0 + this.#g[j]!) : 0;
      const total = columnSums[j]! + (Number.isFinite(open) ? open : 0);
      columnError = Math.max(columnError, Math.abs(total - columnMass[j]!));
    }
    const columnPotential = Float32Array.from(this.#g, (g) => (Number.isFinite(g) ? g * unit : 0));
    const topKAnswer = { count: topK, tasks, mass };
    return {
      answer: { form: 'log', iterations, rowError, columnError, plan: null, topK: topKAnswer, idleMass },
      columnPotential,
    };
  }

  /** Heaviest first, ties to the lower index. */
  #writeTop(row: number, masses: Float64Array, to: number, tasks: Int32Array, mass: Float32Array): void {
    const { topK } = this.#inputs;
    const from = row * this.#pairs;
    let count = 0;
    for (let at = 0; at < masses.length; at++) {
      if (this.#logits[from + at] === -Infinity) continue;
      const value = Math.fround(masses[at]!);
      const task = this.#columns[from + at]!;
      const isBetter = (slot: number): boolean =>
        value > mass[to + slot]! || (value === mass[to + slot]! && task < tasks[to + slot]!);
      if (count === topK && !isBetter(topK - 1)) continue;
      let slot = count < topK ? count++ : topK - 1;
      for (; slot > 0 && isBetter(slot - 1); slot--) {
        mass[to + slot] = mass[to + slot - 1]!;
        tasks[to + slot] = tasks[to + slot - 1]!;
      }
      mass[to + slot] = value;
      tasks[to + slot] = task;
    }
    this.#fillTop(to, count, tasks);
  }

  /** Fewer pairs than were asked for are allowed: the lowest other tasks follow, without mass. */
  #fillTop(to: number, count: number, tasks: Int32Array): void {
    const { topK } = this.#inputs;
    let next = 0;
    for (let slot = count; slot < topK; slot++) {
      while (tasks.subarray(to, to + slot).includes(next)) next++;
      tasks[to + slot] = next++;
    }
  }
}

/** Of the utilities (bias and keep bonus included) over the allowed pairs of every s-th agent with all tasks; 1 where it is 0. */
function spreadOf(problem: SparseProblem, agents: Int32Array, tasks: Int32Array, look: () => void): number {
  const step = Math.max(Math.ceil((agents.length * tasks.length) / mostSpreadPairs), 1);
  let count = 0;
  let mean = 0;
  let squares = 0;
  for (let row = 0; row < agents.length; row += step) {
    look();
    const agent = agents[row]!;
    for (const task of tasks) {
      let value = pairUtility(problem, agent, task);
      if (problem.previous?.[agent] === task) value += problem.keepBonus;
      if (!Number.isFinite(value)) continue;
      count++;
      const difference = value - mean;
      mean += difference / count;
      squares += difference * (value - mean);
    }
  }
  const deviation = Math.sqrt(squares / Math.max(count, 1));
  return deviation > Math.abs(mean) * noise ? deviation : 1;
}

function indicesOf(active: Uint8Array): Int32Array {
  const indices = new Int32Array(active.length);
  let count = 0;
  for (let i = 0; i < active.length; i++) if (active[i] === 1) indices[count++] = i;
  return indices.slice(0, count);
}
