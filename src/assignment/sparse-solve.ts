/**
 * Hard assignments beyond what a dense matrix is for: an auction on candidate lists, in phases of falling epsilon, with a bound over
 * all pairs. Can be stopped at any moment; the answer is then feasible and its bound as valid, only further away.
 * Past 400 lines, as the phases, the limit of changes and the stop at any moment share what is known of the best answer and bound.
 */
import { CoordinatorError } from '../errors.js';
import { type Interrupted, SparseAuction } from './sparse-auction.js';
import { roundingOf, sparseBound } from './sparse-bound.js';
import { assignRest } from './sparse-completion.js';
import type { HardResult } from './hard.js';
import { idlingNeverPays, withIdling } from './idling.js';
import { epsilonFactor, startFromCoarse } from './sparse-levels.js';
import { DistanceMarket, type Market } from './sparse-market.js';
import { PointTree } from './point-tree.js';
import {
  keepBonusOf,
  marketOf,
  pairUtility,
  reduceSparse,
  scoreSparse,
  type SparseProblem,
  sparseRange,
  type SparseReduction,
} from './sparse-problem.js';

export interface SparseControl {
  /** Monotonic milliseconds. */
  nowMs(): number;
  /** Nobody waits for the answer any more. */
  cancelled(): boolean;
}

/** AUTO is content with this gap once it took `contentAfterMs`, AUCTION with the finer one whenever it is there. */
const contentGap = 0.018;
const contentAfterMs = 1000;
/** Where AUTO is not content, the gap that the next phase is to end with, as a share of what it is content with: gaps fall as epsilon does. */
const aimShare = 0.7;
/** Next epsilons are at least by this much less. */
const leastFactor = 1.5;
const fineGap = 1e-4;
/** Part of the time given that goes into phases; the rest is for completing the answer and for its bound. */
const phaseShare = 0.85;
const candidates = 32;
/** Where a question reads all objects, it is worth to remember more of the answer. */
const scanCandidates = 48;
/** First epsilon as a share of the spread of values; with prices of an earlier answer. */
const firstShare = 0.25;
const warmShare = 0.002;
/** First epsilon where many objects stay free, as a share of what a bidder has on average. */
const openShare = 0.1;
/** Bidders per place from which prices of earlier phases help. Below, they are left on places that stay free, and the gap does not close. */
const fullShare = 0.999;
/** Last epsilon there, as a share of the first. */
const finestOpenShare = 1e-3;
/** And, where prices rise until idling is as good, as a share of the spread of values. */
const finestOverfullShare = 1e-5;
/** The first one is never less than this share of the spread of values: many may like the same few objects best. */
const leastOpenShare = 1e-3;
/** How much looser than need be a bound may be, for the sake of time: as a share of epsilon; of a bidder's mean value when late. */
const boundSlack = 0.02;
const hastySlack = 0.005;
/** Most that the bidders' epsilons may sum up to, as a share of the objective, for a bound to be worth its time. */
const tellingShare = 4;
/** The same where a phase started from the prices of a coarser problem: those that sum up to more never were within the gap that AUTO is content with. */
const coarseTellingShare = 0.3;
const samplePairs = 2048;
/** Tries at the price of a change, to meet `maxChange`. */
const changeTries = 8;

/**
 * Solves `problem`. Throws CANCELLED where nobody waits, REQUEST_INVALID where locks contradict each other.
 */
export function solveSparse(problem: SparseProblem, control: SparseControl): HardResult {
  if (problem.idleUtility === null || !idlingNeverPays(problem, sparseRange(problem))) {
    return solvePosed(problem, control);
  }
  const result = solvePosed({ ...problem, idleUtility: null }, control);
  return withIdling(result, scoreSparse(problem, result.taskOfAgent));
}

function solvePosed(problem: SparseProblem, control: SparseControl): HardResult {
  const startMs = control.nowMs();
  const endMs = problem.budgetMs === null ? Infinity : startMs + phaseShare * Math.max(problem.budgetMs, 0);
  const reduction = reduceSparse(problem);
  const limit = changeLimit(problem);
  const unlimited = new SparseSolver(problem, reduction, control, startMs, endMs, 0).solve();
  if (limit === null || changesOf(problem, unlimited.taskOfAgent) <= limit) return resultOf(problem, unlimited, false);
  return resultOf(problem, withinChanges(problem, reduction, control, startMs, endMs, limit, unlimited), true);
}

interface Solved {
  readonly taskOfAgent: Int32Array;
  readonly bound: number;
  readonly taskPrices: Float64Array | null;
  readonly warmStartUsed: boolean;
}

function resultOf(problem: SparseProblem, solved: Solved, changeLimited: boolean): HardResult {
  const { objective, totalUtility, size } = scoreSparse(problem, solved.taskOfAgent);
  const upperBound = Math.max(solved.bound, objective);
  const rounding = 2 * roundingOf(problem.agentCount + problem.taskCount, size);
  const isOptimal = problem.solver !== 'GREEDY' && upperBound - objective <= rounding;
  return {
    taskOfAgent: solved.taskOfAgent,
    objective,
    totalUtility,
    upperBound,
    solver: problem.solver === 'GREEDY' ? 'greedy' : isOptimal ? 'sparse-exact' : 'sparse-auction',
    taskPrices: solved.taskPrices,
    changeLimited,
    warmStartUsed: solved.warmStartUsed,
  };
}

class SparseSolver {
  readonly #problem: SparseProblem;
  readonly #reduction: SparseReduction;
  readonly #control: SparseControl;
  readonly #startMs: number;
  readonly #endMs: number;
  readonly #extraBonus: number;
  readonly #tasksBid: boolean;
  readonly #market: Market;
  /** Agents or tasks, a task once for each of its places. */
  readonly #bidders: Int32Array;
  /** Of the objects, by position; null: 1 each. */
  readonly #places: Int32Array | null;
  readonly #floor: number;
  readonly #bidderTree: PointTree | null;
  readonly #mayForbid: boolean;
  #bound = Infinity;
  #best: Int32Array | null = null;
  #bestObjective = -Infinity;
  /** Bidders with an object in an assignment of greatest cardinality; null: not known. */
  #greatest: number | null = null;
  #warm = false;
  #tellingShare = tellingShare;
  #isContent = false;

  constructor(
    problem: SparseProblem,
    reduction: SparseReduction,
    control: SparseControl,
    startMs: number,
    endMs: number,
    extraBonus: number,
  ) {
    const { agents, tasks, places, room } = reduction;
    this.#problem = problem;
    this.#reduction = reduction;
    this.#control = control;
    this.#startMs = startMs;
    this.#endMs = endMs;
    this.#extraBonus = extraBonus;
    this.#tasksBid = problem.idleUtility === null && agents.length > room;
    this.#floor = problem.idleUtility ?? -Infinity;
    this.#mayForbid = problem.values.kind === 'given' || problem.bias !== null;
    if (this.#floor === -Infinity && !this.#mayForbid) this.#greatest = Math.min(agents.length, room);
    this.#market = marketOf(problem, agents, tasks, this.#tasksBid, extraBonus);
    const { values } = problem;
    this.#bidderTree =
      this.#market instanceof DistanceMarket && values.kind === 'distance'
        ? this.#tasksBid
          ? new PointTree(values.tasks, values.width, values.width, tasks)
          : new PointTree(values.agents, values.stride, values.width, agents)
        : null;
    const inOrder = this.#bidderTree?.rowAt ?? (this.#tasksBid ? tasks : agents);
    const placesOf = new Int32Array(problem.taskCount);
    for (let at = 0; at < tasks.length; at++) placesOf[tasks[at]!] = places[at]!;
    if (this.#tasksBid) {
      this.#bidders = new Int32Array(room);
      let to = 0;
      for (const task of inOrder) for (let place = 0; place < placesOf[task]!; place++) this.#bidders[to++] = task;
      this.#places = null;
    } else {
      this.#bidders = inOrder;
      this.#places = room === tasks.length ? null : this.#market.objectAt.map((task) => placesOf[task]!);
    }
  }

  solve(): Solved {
    const market = this.#market;
    const bidders = this.#bidders;
    if (bidders.length === 0 || market.count === 0) return this.#nothingToDecide();
    // At no prices everybody has what it likes best: a bound for whoever is stopped early.
    this.#lowerBound(0, false);
    const spread = this.#spread();
    const auction = new SparseAuction({
      market,
      bidders,
      places: this.#places,
      floor: this.#floor,
      candidates: Math.min(market.count, market instanceof DistanceMarket ? candidates : scanCandidates),
      largestRaise: 2 * spread,
      priceCap: this.#mayForbid && this.#floor === -Infinity ? 16 * spread : Infinity,
    });
    if (this.#problem.solver === 'GREEDY') {
      this.#finish(auction.objectOf.slice());
      if (this.#mayForbid) this.#lowerBound(0, false);
    } else this.#phases(auction, spread);
    return {
      taskOfAgent: this.#taskOfAgent(this.#best!),
      bound: this.#bound + this.#reduction.base + this.#lockedBonus(),
      taskPrices: this.#taskPrices(),
      warmStartUsed: this.#warm,
    };
  }

  #phases(auction: SparseAuction, spread: number): void {
    let epsilon = this.#startPrices(spread);
    const firstEpsilon = epsilon;
    const isScaled = this.#isFull();
    const target = this.#problem.solver === 'EXACT' ? 0 : fineGap;
    for (let phase = 0; ; phase++) {
      const completed = isScaled
        ? this.#phase(auction, epsilon, phase > 0)
        : this.#phaseFromNothing(auction, epsilon, phase > 0);
      this.#finish(auction.objectOf.slice());
      if (!completed) {
        // Whatever the prices are just now, they bound. Coarsely, so that it takes little time.
        if (!this.#isContent)
          this.#lowerBound(hastySlack * (Math.abs(this.#bestObjective) / this.#bidders.length), false);
        return;
      }
      const size = Math.abs(this.#bestObjective);
      // Worth a pass over all bidders only where it can tell something: the gap may be far below what the epsilons sum up to.
      const mayTell = this.#bidders.length * epsilon < this.#tellingShare * size || size === 0;
      if (mayTell) this.#lowerBound(boundSlack * epsilon, true);
      const gap = (this.#bound - this.#bestObjective) / Math.max(size, 1e-12);
      this.#isContent = this.#problem.solver === 'AUTO' && gap <= contentGap;
      if (gap <= target) return;
      if (this.#interrupted()) {
        if (!this.#isContent) this.#lowerBound(hastySlack * (size / this.#bidders.length), false);
        return;
      }
      epsilon /= mayTell && isScaled && this.#problem.solver === 'AUTO' ? nextFactor(gap) : epsilonFactor;
      // Wars that no earlier prices have settled take as many bids as epsilon is small; where not everybody can have an object they
      // end at the cap only.
      const isHopeless = this.#greatest !== null && this.#greatest < this.#bidders.length;
      const least = isHopeless
        ? 1e-2 * spread
        : isScaled
          ? this.#finestShare() * spread
          : Math.max(finestOpenShare * firstEpsilon, this.#isOverfull() ? finestOverfullShare * spread : 0);
      if (epsilon < Math.max(least, 1e-12 * size)) {
        if (!mayTell) this.#lowerBound(boundSlack * epsilon, true);
        return;
      }
    }
  }

  /** Nearly every place has to be taken: prices of an earlier phase say where the wars are. Where many stay free, they are in the way. */
  #isFull(): boolean {
    const room = this.#places === null ? this.#market.count : this.#reduction.room;
    return this.#floor === -Infinity && this.#bidders.length >= fullShare * room;
  }

  /** Some have to idle in the end, whatever idling is worth: prices rise until it is as good. */
  #isOverfull(): boolean {
    return this.#floor > -Infinity && this.#reduction.agents.length > this.#reduction.room;
  }

  /** Where every object is taken in the end, prices of earlier phases settle all wars; where a few stay free, not all of them. */
  #finestShare(): number {
    const room = this.#places === null ? this.#market.count : this.#reduction.room;
    return this.#bidders.length === room ? 1e-9 : 1e-5;
  }

  /** One epsilon from no prices, so that what stays free costs nothing; false where interrupted. */
  #phaseFromNothing(auction: SparseAuction, epsilon: number, again: boolean): boolean {
    if (again) {
      auction.releaseAll();
      this.#market.prices.fill(0);
      this.#market.refresh();
      auction.forgetLists();
    }
    return auction.run(epsilon, this.#interrupted);
  }

  /** One epsilon; false where interrupted. Objects that stay free must not cost anything: else they are offered again. */
  #phase(auction: SparseAuction, epsilon: number, again: boolean): boolean {
    const market = this.#market;
    if (again) {
      if (this.#offerFree(auction) > 0) auction.forgetLists();
      auction.release(epsilon);
    }
    for (let round = 0; ; round++) {
      if (!auction.run(epsilon, this.#interrupted)) return false;
      if (round === 3) return true;
      let lost = 0;
      for (let at = 0; at < market.count; at++) if (auction.hasRoom(at)) lost += market.prices[at]!;
      if (lost <= 0.1 * epsilon * this.#bidders.length) return true;
      this.#offerFree(auction);
      auction.forgetLists();
      auction.release(epsilon);
    }
  }

  /** Takes the prices off free objects; how many had one. */
  #offerFree(auction: SparseAuction): number {
    const { prices, count } = this.#market;
    let changed = 0;
    for (let at = 0; at < count; at++) {
      if (prices[at] === 0 || !auction.hasRoom(at)) continue;
      prices[at] = 0;
      changed++;
    }
    if (changed > 0) this.#market.refresh();
    return changed;
  }

  /** Prices to begin with, and the epsilon that suits them. */
  #startPrices(spread: number): number {
    const market = this.#market;
    const { taskPrices } = this.#problem;
    // Where many objects stay free, most prices of an earlier answer are in the way.
    if (taskPrices !== null && !this.#tasksBid && this.#isFull()) {
      for (let at = 0; at < market.count; at++) {
        const price = taskPrices[market.objectAt[at]!]!;
        if (price > 0 && price < Infinity) {
          market.prices[at] = price;
          this.#warm = true;
        }
      }
      if (this.#warm) {
        market.refresh();
        return warmShare * spread;
      }
    }
    if (!this.#isFull()) {
      // At no prices everybody has what it likes best; the mean of that is what epsilon is measured by.
      return Math.max((openShare * Math.abs(this.#bound)) / this.#bidders.length, leastOpenShare * spread);
    }
    const distinct = this.#bidderTree !== null && this.#bidders.length === this.#bidderTree.count;
    if (market instanceof DistanceMarket && this.#places === null && distinct && this.#extraBonus === 0) {
      const start = startFromCoarse(market, this.#bidderTree, market.tree, this.#interrupted);
      if (start !== null) {
        this.#tellingShare = coarseTellingShare;
        return start.epsilon;
      }
      market.prices.fill(0);
      market.refresh();
    }
    return firstShare * spread;
  }

  /** Greatest difference between values of a fixed sample of pairs, at least a little. */
  #spread(): number {
    const { agents, tasks } = this.#reduction;
    let low = Infinity;
    let high = -Infinity;
    for (let sample = 0; sample < samplePairs; sample++) {
      const agent = agents[Math.floor((sample * agents.length) / samplePairs)]!;
      // Steps of the golden section meet all tasks evenly.
      const task = tasks[Math.floor(((sample * 0.6180339887498949) % 1) * tasks.length)]!;
      const value = pairUtility(this.#problem, agent, task) + keepBonusOf(this.#problem, agent, task);
      if (!Number.isFinite(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (this.#isOverfull()) low = Math.min(low, this.#floor);
    const spread = Math.max(high - low, 0) + Math.abs(this.#problem.keepBonus + this.#extraBonus);
    const size = Math.max(Math.abs(low), Math.abs(high), Math.abs(this.#problem.idleUtility ?? 0));
    const least = Number.isFinite(size) ? 1e-6 * size : 0;
    return Math.max(Number.isFinite(spread) ? spread : 0, least, 1e-9);
  }

  readonly #stopIfCancelled = (): void => {
    if (this.#control.cancelled()) throw new CoordinatorError('CANCELLED', 'cancelled while the assignment was solved');
  };

  readonly #interrupted: Interrupted = () => {
    this.#stopIfCancelled();
    const nowMs = this.#control.nowMs();
    return nowMs >= this.#endMs || (this.#isContent && nowMs >= this.#startMs + contentAfterMs);
  };

  /** Gives objects to those without, and keeps the assignment where it is the best so far. */
  #finish(objectOf: Int32Array): void {
    const isGreatest = assignRest({
      market: this.#market,
      bidders: this.#bidders,
      places: this.#places,
      floor: this.#floor,
      mayForbid: this.#mayForbid,
      objectOf,
      stopIfCancelled: this.#stopIfCancelled,
    });
    const { objective } = this.#score(objectOf);
    const assigned = countAssigned(objectOf);
    const before = this.#best === null ? -1 : countAssigned(this.#best);
    if (this.#floor === -Infinity && assigned !== before ? assigned < before : objective <= this.#bestObjective) return;
    this.#best = objectOf;
    this.#bestObjective = objective;
    if (isGreatest) this.#greatest = assigned;
  }

  /** What the bidders have: the objective but for locked agents, with the extra bonus. */
  #score(objectOf: Int32Array): { readonly objective: number } {
    let objective = 0;
    for (let bidder = 0; bidder < objectOf.length; bidder++) {
      const position = objectOf[bidder]!;
      if (position < 0) {
        if (this.#floor > -Infinity) objective += this.#floor;
        continue;
      }
      const [agent, task] = this.#pair(bidder, position);
      objective += pairUtility(this.#problem, agent, task) + keepBonusOf(this.#problem, agent, task);
      if (this.#problem.previous?.[agent] === task) objective += this.#extraBonus;
    }
    return { objective };
  }

  #pair(bidder: number, position: number): readonly [number, number] {
    const object = this.#market.objectAt[position]!;
    const index = this.#bidders[bidder]!;
    return this.#tasksBid ? [object, index] : [index, object];
  }

  #lowerBound(slack: number, mayStop: boolean): void {
    const bound = sparseBound(
      {
        market: this.#market,
        bidders: this.#bidders,
        places: this.#places,
        floor: this.#floor,
        cardinality: this.#greatest ?? (this.#best === null ? 0 : countAssigned(this.#best)),
        isGreatest: this.#greatest !== null,
        slack,
      },
      () => {
        if (this.#control.cancelled()) {
          throw new CoordinatorError('CANCELLED', 'cancelled while the assignment was bounded');
        }
        return mayStop && this.#interrupted();
      },
    );
    if (bound !== null && bound < this.#bound) this.#bound = bound;
  }

  /** Locked pairs are outside of the market: their share of the extra bonus is a constant. */
  #lockedBonus(): number {
    if (this.#extraBonus === 0 || this.#problem.previous === null) return 0;
    let bonus = 0;
    const { lockedTasks } = this.#reduction;
    for (let agent = 0; agent < lockedTasks.length; agent++) {
      if (lockedTasks[agent]! >= 0 && lockedTasks[agent] === this.#problem.previous[agent]) bonus += this.#extraBonus;
    }
    return bonus;
  }

  #taskOfAgent(objectOf: Int32Array): Int32Array {
    const taskOfAgent = this.#reduction.lockedTasks.slice();
    for (let bidder = 0; bidder < objectOf.length; bidder++) {
      if (objectOf[bidder]! < 0) continue;
      const [agent, task] = this.#pair(bidder, objectOf[bidder]!);
      taskOfAgent[agent] = task;
    }
    return taskOfAgent;
  }

  /** Of tasks that were bid for; where tasks bid themselves they have no price that the next tick could use. */
  #taskPrices(): Float64Array | null {
    if (this.#tasksBid) return null;
    const prices = new Float64Array(this.#problem.taskCount);
    const { count, objectAt } = this.#market;
    for (let at = 0; at < count; at++) prices[objectAt[at]!] = this.#market.prices[at]!;
    return prices;
  }

  #nothingToDecide(): Solved {
    return {
      taskOfAgent: this.#reduction.lockedTasks.slice(),
      bound:
        this.#reduction.base + this.#lockedBonus() + this.#reduction.agents.length * (this.#problem.idleUtility ?? 0),
      taskPrices: null,
      warmStartUsed: false,
    };
  }
}

/** What AUTO divides epsilon by: a finer phase than it takes to be content costs up to twice as many bids. */
function nextFactor(gap: number): number {
  if (gap <= contentGap) return epsilonFactor;
  return Math.min(Math.max(gap / (aimShare * contentGap), leastFactor), epsilonFactor);
}

function countAssigned(objectOf: Int32Array): number {
  let count = 0;
  for (const position of objectOf) if (position >= 0) count++;
  return count;
}

/** Most agents whose task may differ; null: no limit. */
function changeLimit({ maxChange, previous, agentActive }: SparseProblem): number | null {
  if (maxChange === null || previous === null) return null;
  let active = 0;
  for (const one of agentActive) active += one;
  return Math.floor(maxChange * active + 1e-9);
}

function changesOf({ previous, agentActive }: SparseProblem, taskOfAgent: Int32Array): number {
  let changes = 0;
  for (let agent = 0; agent < taskOfAgent.length; agent++) {
    if (agentActive[agent] === 1 && taskOfAgent[agent] !== previous![agent]) changes++;
  }
  return changes;
}

/**
 * The best found with at most `limit` changes: every kept task is worth lambda more, and lambda is searched. For any lambda >= 0 no
 * assignment within the limit is worth more than the bound with lambda less lambda times the tasks that it has to keep.
 */
function withinChanges(
  problem: SparseProblem,
  reduction: SparseReduction,
  control: SparseControl,
  startMs: number,
  endMs: number,
  limit: number,
  unlimited: Solved,
): Solved {
  const { previous, agentActive } = problem;
  let active = 0;
  let idleBefore = 0;
  for (let agent = 0; agent < agentActive.length; agent++) {
    if (agentActive[agent] !== 1) continue;
    active++;
    if (previous![agent]! < 0) idleBefore++;
  }
  const mustKeep = Math.max(active - limit - idleBefore, 0);
  let bound = unlimited.bound;
  let best: Solved | null = null;
  let bestObjective = -Infinity;
  let low = 0;
  let high = Infinity;
  let lambda = startingLambda(problem, unlimited.taskOfAgent);
  let last = unlimited;
  for (let tries = 0; tries < changeTries; tries++) {
    if (tries > 0 && control.nowMs() >= endMs) break;
    last = new SparseSolver(problem, reduction, control, startMs, endMs, lambda).solve();
    bound = Math.min(bound, last.bound - lambda * mustKeep);
    if (changesOf(problem, last.taskOfAgent) <= limit) {
      high = lambda;
      const { objective } = scoreSparse(problem, last.taskOfAgent);
      if (objective > bestObjective) {
        best = last;
        bestObjective = objective;
      }
      lambda = (low + high) / 2;
    } else {
      low = lambda;
      lambda = high === Infinity ? 8 * lambda : (low + high) / 2;
    }
  }
  const taskOfAgent = best?.taskOfAgent ?? keptOnly(problem, reduction, last.taskOfAgent, limit);
  return { ...(best ?? last), taskOfAgent, bound };
}

/** The mean loss of a change, to start from. */
function startingLambda(problem: SparseProblem, taskOfAgent: Int32Array): number {
  const { objective, size } = scoreSparse(problem, taskOfAgent);
  return Math.max(size, Math.abs(objective), 1e-9) / Math.max(taskOfAgent.length, 1);
}

/** Where no price of a change is high enough: everybody keeps its task where that is still allowed, and of the others as many change as may. */
function keptOnly(problem: SparseProblem, reduction: SparseReduction, wanted: Int32Array, limit: number): Int32Array {
  const { previous } = problem;
  const taskOfAgent = reduction.lockedTasks.slice();
  const left = new Int32Array(problem.taskCount);
  for (let at = 0; at < reduction.tasks.length; at++) left[reduction.tasks[at]!] = reduction.places[at]!;
  for (const agent of reduction.agents) {
    const task = previous![agent]!;
    if (task < 0 || left[task]! === 0 || !Number.isFinite(pairUtility(problem, agent, task))) continue;
    taskOfAgent[agent] = task;
    left[task] = left[task]! - 1;
  }
  let changes = changesOf(problem, taskOfAgent);
  for (const agent of reduction.agents) {
    const task = wanted[agent]!;
    if (taskOfAgent[agent]! >= 0 || task < 0 || left[task]! === 0) continue;
    const isChange = previous![agent] === -1;
    if (isChange && changes >= limit) continue;
    if (isChange) changes++;
    taskOfAgent[agent] = task;
    left[task] = left[task]! - 1;
  }
  return taskOfAgent;
}
