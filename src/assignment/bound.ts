/**
 * An upper bound of the objective that holds for every allowed assignment, whatever the potentials it starts from.
 *
 * With w_ij = -cost_ij over the available pairs of the reduction, capacities b_j and x >= 0, an assignment is a point of
 *   max sum w x   where  sum_j x_ij <= 1,  sum_i x_ij <= b_j,
 * and, without an idle utility, sum x = K: K is the greatest cardinality, which every allowed assignment has (K = n where
 * all agents find a task, the joint capacity where there are too few places, less where forbidden pairs are in the way).
 * The dual: u, v >= 0 and a price t of the last constraint (of either sign; 0 with an idle utility, where the constraint is absent):
 *   min sum u + sum b v + K t   where  u_i + v_j + t >= w_ij.
 * By weak duality any point of it is a bound. For given v the best u and t are explicit: with r_i = max_j (w_ij - v_j),
 * t is the K-th greatest r and u_i = max(0, r_i - t). So every v >= 0 gives the bound
 *   sum b v + (sum of the K greatest r)         without an idle utility,
 *   sum b v + (sum of the positive r)           with one,
 * and potentials, however bad, can make it loose but never wrong. For given u and t in turn, v_j = max(0, max_i (w_ij - t - u_i))
 * is the best v; alternating the two never raises the bound.
 */
import type { HardProblem } from './hard.js';
import { raisePrices } from './price-ascent.js';
import type { Reduction } from './reduction.js';

/** Alternations, as long as one gains this share of what the bound has to lose. */
const maxRounds = 4;
const worthwhile = 0.02;

/** Gap, as a share of the objective, from which prices that a solver left are lowered further, and the passes over the costs that it takes each time. */
const worthSharpening = 1e-3;
export const sharpeningPasses = 2;

/** Bids of the price ascent per row, and its step as a share of the gap per assigned agent (by measurement). */
const bidsPerRow = 8;
const stepShare = 0.2;
/** Costs that the ascent reads at most, a fraction of a second. */
const maxAscentReads = 1e8;

/**
 * Bounds the objective from above. `cardinality` is K: how many rows an assignment of greatest cardinality assigns (where
 * idling is allowed, any estimate: it only helps to place the potentials). `objective` is that of an allowed assignment;
 * the bound is never below it. `potentials` are Sinkhorn's f [N] and g [M] in units of utility (log P ~ U + f + g); null: none.
 *
 * The best of several prices (none, the columns' greatest utilities, the potentials and what they sharpen to) is lowered by
 * alternation and by a truncated auction. O(n m), some 20 passes over the costs.
 */
export function certifiedUpperBound(
  reduction: Reduction,
  cardinality: number,
  objective: number,
  potentials: HardProblem['potentials'],
): number {
  if (reduction.agents.length === 0) return Math.max(objective, reduction.base);
  const duals = new DualPoint(reduction, cardinality);
  let best = Infinity;
  let prices: Float64Array = new Float64Array(reduction.tasks.length);
  for (const start of duals.starts(potentials)) {
    const bound = duals.evaluate(start);
    if (bound >= best) continue;
    best = bound;
    prices = start;
  }
  best = Math.min(best, duals.alternate(prices, objective));
  if (best > objective) {
    const gap = (best - objective) / Math.max(1, cardinality);
    raisePrices(reduction, prices, {
      step: stepShare * gap,
      maxRaise: best - objective,
      maxBids: Math.min(bidsPerRow * reduction.agents.length, maxAscentReads / reduction.tasks.length),
      unserved: reduction.agents.length - cardinality,
    });
    best = Math.min(best, duals.alternate(prices, objective));
  }
  return Math.max(best, objective);
}

/**
 * The bound that `columnPrice` [m] (at least 0) proves, as solvers leave it; never below `objective`. `cardinality` as above. One pass over the
 * costs; where the gap is more than `worthSharpening` of the objective, two more for each alternation that `maySharpen` allows.
 */
export function boundOfPrices(
  reduction: Reduction,
  cardinality: number,
  objective: number,
  columnPrice: Float64Array,
  maySharpen: () => boolean,
): number {
  if (reduction.agents.length === 0) return Math.max(objective, reduction.base);
  const least = objective + worthSharpening * Math.abs(objective);
  const duals = new DualPoint(reduction, cardinality);
  const bound = duals.alternate(columnPrice.slice(), objective, (best) => best > least && maySharpen());
  return Math.max(bound, objective);
}

const always = (): boolean => true;

class DualPoint {
  readonly #reduction: Reduction;
  readonly #cardinality: number;
  /** [n] u_i + t of the last evaluation. */
  readonly #rowPrice: Float64Array;

  constructor(reduction: Reduction, cardinality: number) {
    this.#reduction = reduction;
    this.#cardinality = cardinality;
    this.#rowPrice = new Float64Array(reduction.agents.length);
  }

  /** The bound at `columnPrice` [m] (>= 0), lowered by alternation. Leaves the prices of the last round in `columnPrice`. */
  alternate(columnPrice: Float64Array, objective: number, mayGoOn: (bound: number) => boolean = always): number {
    let best = this.evaluate(columnPrice);
    for (let round = 1; round < maxRounds && best > objective && mayGoOn(best); round++) {
      this.#priceColumns(columnPrice, 0);
      const next = this.evaluate(columnPrice);
      const gain = best - next;
      best = Math.min(best, next);
      if (gain < worthwhile * (best - objective)) break;
    }
    return best;
  }

  /** Column prices to start from: 0, the best for row prices 0, those that g says, the best for the row prices that f says. */
  starts(potentials: HardProblem['potentials']): Float64Array[] {
    const { agents, tasks } = this.#reduction;
    const starts = [new Float64Array(tasks.length), this.#pricesFor(() => 0)];
    if (potentials !== null) {
      const { row, column } = potentials;
      starts.push(this.#shifted(Float64Array.from(tasks, (task) => -finite(column[task]))));
      starts.push(this.#pricesFor((index) => -finite(row[agents[index]!])));
    }
    return starts;
  }

  #pricesFor(rowPrice: (row: number) => number): Float64Array {
    for (let row = 0; row < this.#rowPrice.length; row++) this.#rowPrice[row] = rowPrice(row);
    const prices = new Float64Array(this.#reduction.tasks.length);
    this.#priceColumns(prices, -Infinity);
    return this.#shifted(prices);
  }

  /**
   * Potentials are defined up to a constant, and prices must not be negative: subtracts what minimises
   * sum b max(0, v - s) + K s, the K-th greatest price of a place, and cuts off what is left below 0.
   */
  #shifted(columnPrice: Float64Array): Float64Array {
    const { capacities } = this.#reduction;
    const order = Uint32Array.from(columnPrice, (_, column) => column);
    order.sort((left, right) => columnPrice[right]! - columnPrice[left]!);
    let places = 0;
    let shift = 0;
    for (const column of order) {
      // Columns without a place left may have no price at all (-Infinity); they come last.
      if (capacities[column] === 0) continue;
      shift = columnPrice[column]!;
      places += capacities[column]!;
      if (places >= this.#cardinality) break;
    }
    return columnPrice.map((price) => Math.max(0, price - shift));
  }

  /** The bound at `columnPrice`, rounding errors covered; sets the row prices. */
  evaluate(columnPrice: Float64Array): number {
    const { cost, capacities, idleAllowed, base, magnitude } = this.#reduction;
    const rowPrice = this.#rowPrice;
    const rows = rowPrice.length;
    const width = columnPrice.length;
    for (let row = 0; row < rows; row++) {
      const from = row * width;
      let least = Infinity;
      for (let column = 0; column < width; column++) {
        const reduced = cost[from + column]! + columnPrice[column]!;
        if (reduced < least) least = reduced;
      }
      rowPrice[row] = -least;
    }
    const cardinality = idleAllowed ? 0 : this.#cardinality;
    const threshold = idleAllowed ? 0 : kthGreatest(rowPrice, cardinality);
    let bound = base + cardinality * threshold;
    let size = Math.abs(base) + Math.abs(cardinality * threshold);
    for (let row = 0; row < rows; row++) {
      const surplus = rowPrice[row]! - threshold;
      if (surplus > 0) bound += surplus;
      else rowPrice[row] = threshold;
      size += Math.abs(surplus);
    }
    for (let column = 0; column < width; column++) {
      const total = capacities[column]! * columnPrice[column]!;
      bound += total;
      size += total;
    }
    // Each of the terms above, of the costs and of an objective's sum is off by at most half an ulp of its size.
    const terms = this.#reduction.lockedTasks.length + rows + width;
    return bound + (terms + 8) * Number.EPSILON * (size + terms * magnitude);
  }

  /** The least column prices, not below `least`, that the row prices allow: max_i (w_ij - rowPrice_i). */
  #priceColumns(columnPrice: Float64Array, least: number): void {
    const { cost } = this.#reduction;
    const width = columnPrice.length;
    columnPrice.fill(least);
    for (let row = 0; row < this.#rowPrice.length; row++) {
      const from = row * width;
      const price = this.#rowPrice[row]!;
      for (let column = 0; column < width; column++) {
        const needed = -cost[from + column]! - price;
        if (needed > columnPrice[column]!) columnPrice[column] = needed;
      }
    }
  }
}

function kthGreatest(values: Float64Array, k: number): number {
  return values.slice().sort()[values.length - Math.max(1, k)]!;
}

function finite(value: number | undefined): number {
  return value !== undefined && Number.isFinite(value) ? value : 0;
}
