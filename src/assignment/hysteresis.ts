/**
 * `max_change`: at most so many agents may have another task than before.
 *
 * Let V(x) be what an assignment gains and C(x) its changes. For every bonus b >= 0 on keeping, max_x (V(x) - b C(x)) + b R bounds V
 * over all assignments with C <= R (Lagrange), and its maximiser is the best assignment with as many changes as it has. The bonus is found
 * where two maximisers meet, one within the limit and one beyond: the chord between the best known of either kind gives the next bonus
 * to try, solved warm. What is left between the two is mixed (change-mix.ts).
 *
 * The limit goes before cardinality: where no idle utility is given, an agent that may not change keeps idling, and among assignments within the
 * limit the one with most agents is sought. The bound then holds for all assignments within the limit that have at least as many agents as the answer.
 */
import { boundOfPrices } from './bound.js';
import { exchangeWithin, mixTowards } from './change-mix.js';
import type { HardProblem } from './hard.js';
import { KeepProblem } from './keep-problem.js';
import { type Reduction, restoreAssignment } from './reduction.js';
import type { SolverStart } from './solver-outcome.js';
import type { Solved } from './solver-choice.js';

/** Float32 holds 0.7 as 0.69999998: a share is meant to be as much as that greater. */
const shareRounding = 1e-6;
const maxRounds = 40;
/** Chords that gain less than this share of what there is are the last. */
const tolerance = 1e-10;

/** How many active agents may have another task than in `previous`; null: as many as want. */
export function changeLimitOf(problem: HardProblem): number | null {
  const { maxChange, previous } = problem;
  if (maxChange === null || previous === null) return null;
  let active = 0;
  for (const flag of problem.agentActive) if (flag === 1) active++;
  return Math.floor(maxChange * active * (1 + shareRounding));
}

export interface LimitedSearch {
  /** Solves a reduction; null: cancelled, or there is no time for it. */
  readonly solve: (reduction: Reduction, start: SolverStart | null) => Solved | null;
  /** Whether there is time for one more solution and its bound, as far as that can be told. */
  readonly maySolve: () => boolean;
  readonly shouldStop: () => boolean;
}

export interface LimitedAnswer {
  readonly taskOfAgent: Int32Array;
  /** Of the objective, over what is allowed. */
  readonly upperBound: number;
}

interface Point {
  readonly columnOfRow: Int32Array;
  readonly gain: number;
  readonly changes: number;
}

/**
 * The best assignment that changes at most `limit` agents (or as many as must change, if that is more), from the best one without a limit,
 * `free` [N], whose objective is at most `freeBound`; null where `free` is within the limit.
 */
export function limitChanges(
  problem: HardProblem,
  base: Reduction,
  limit: number,
  free: Int32Array,
  freeBound: number,
  search: LimitedSearch,
): LimitedAnswer | null {
  const keep = new KeepProblem(problem, base, limit);
  const { allowed } = keep;
  const pointOf = (columnOfRow: Int32Array): Point => ({
    columnOfRow,
    gain: keep.gainOf(columnOfRow),
    changes: keep.changesOf(columnOfRow),
  });
  let beyond = pointOf(keep.columnsOf(free));
  if (beyond.changes <= allowed) return null;
  const served = (columnOfRow: Int32Array): number => {
    let count = 0;
    for (const column of columnOfRow) if (column >= 0) count++;
    return count;
  };
  // What an objective is beside the gain; where idling has no utility, that depends on how many idle.
  const offset = (columnOfRow: Int32Array): number =>
    base.base + (problem.idleUtility === null ? keep.idleValue * served(columnOfRow) : 0);
  let within = pointOf(keep.keepAll());
  let bound = freeBound - offset(beyond.columnOfRow);
  let best = within;
  let start: SolverStart | null = null;
  for (let round = 0; round < maxRounds && search.maySolve(); round++) {
    const bonus = (beyond.gain - within.gain) / (beyond.changes - within.changes);
    if (!(bonus > 0)) break;
    keep.setBonus(bonus);
    const solved = search.solve(keep.reduction, start);
    if (solved?.columnPrice == null) break;
    start = solved;
    const point = pointOf(solved.columnOfRow);
    bound = Math.min(bound, boundAt(keep, bonus, solved.columnPrice, point));
    const chord = beyond.gain - bonus * beyond.changes;
    const higher = point.gain - bonus * point.changes - chord;
    if (point.changes <= allowed && point.gain > best.gain) best = point;
    if (higher <= tolerance * (Math.abs(chord) + Math.abs(beyond.gain))) break;
    if (point.changes <= allowed) within = point;
    else beyond = point;
  }
  keep.setBonus(0);
  const columnOfRow = best.columnOfRow.slice();
  mixTowards(keep, columnOfRow, beyond.columnOfRow, allowed);
  exchangeWithin(keep, columnOfRow, allowed, search.shouldStop);
  const taskOfAgent = restoreAssignment(keep.reduction, columnOfRow);
  const shift = offset(columnOfRow);
  const rounding = 8 * Number.EPSILON * (Math.abs(bound) + Math.abs(shift));
  return { taskOfAgent, upperBound: bound + shift + rounding };
}

/** What the prices of a solution with `bonus` prove about the gain of assignments within the limit. */
function boundAt(keep: KeepProblem, bonus: number, columnPrice: Float64Array, point: Point): number {
  const { allowed, idlers, reduction } = keep;
  const rows = reduction.agents.length;
  // Rows that keep by idling gain the bonus as well, which the reduction charges to their pairs instead.
  const paid = bonus * (rows - point.changes - idlers);
  const bound = boundOfPrices(reduction, 0, point.gain + paid, columnPrice, () => false);
  const most = bonus * (rows - allowed - idlers);
  return bound - most + 8 * Number.EPSILON * (Math.abs(bound) + Math.abs(most));
}
