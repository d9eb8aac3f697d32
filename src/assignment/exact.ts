/**
 * The optimal assignment of a reduced problem: shortest augmenting paths from prices that are nearly right.
 *
 * Every pair of a row and a column has the reduced cost cost + price. An assignment is optimal once every row holds the
 * column of least reduced cost and only full columns have a price (bound.ts: the prices are then an optimal dual point). The steps:
 * 1. prices to start from: an earlier answer's, else the columns' least costs (dual-start.ts); rows keep what is still best;
 * 2. the other rows bid for the columns they like best, prices rising just as far as keeps everybody content (bidding.ts);
 * 3. where many are left over, all bid with ever smaller least raises, and prices are settled (scaled-bidding.ts, settlement.ts);
 * 4. each row that is still undecided is placed by a shortest path (shortest-path.ts, dense-path.ts);
 * 5. columns that have room are freed of the price they may have kept from the start.
 *
 * Idling is one more column with room for everybody. It costs 0 where idling is allowed. Where it is not and somebody has to be left out, it costs more than
 * any saving elsewhere could repay: high + (k + 1) (high - low) for k places to be taken and the extreme available costs low and high, so that the
 * fewest rows idle and then the cost is least; prices grow as large, and costs are told apart to 1e-16 of that. Where every
 * pair is available and places are too few, any price above high has that effect, and the places choose instead (crowded.ts).
 */
import { Bidding } from './bidding.js';
import { CandidateLists } from './candidate-lists.js';
import { columnsOfPlaces, isCrowded, turnBack, turned, turnStart } from './crowded.js';
import { DensePaths } from './dense-path.js';
import { seatKept, startCold, startFrom } from './dual-start.js';
import { areFew, decideRest, leaveIdle } from './insertion.js';
import { PricedAssignment } from './priced-assignment.js';
import { costOf, type Reduction } from './reduction.js';
import { bidScaled } from './scaled-bidding.js';
import { ShortestPaths } from './shortest-path.js';
import type { SolverOutcome, SolverStart } from './solver-outcome.js';
import { WorkMeter } from './work-meter.js';

/** Columns in a row's list: longer lists are dearer to make and last longer (by measurement). */
const shortList = 8;
const longList = 16;
/** So many columns or more make long lists. */
const longListWidth = 512;
/** Bids per row at most: what they cannot settle, paths do better. */
const bidsPerRow = 20;
/** Rows left over by the bids, and the share of all, above which they bid with least raises. */
const manyLeft = 16;
const manyLeftShare = 0.05;
/** Reads of a list that run past its end, of all reads, from which paths read whole rows; and from how many reads on that counts. */
const denseShare = 0.1;
const denseReads = 64;

/**
 * Solves `reduction` from `start`, whatever that holds: it makes a difference to time only, except among equally good answers. The
 * answer is always allowed, and of greatest cardinality where idling is not; where `shouldStop` said so, it is
 * the best that was reached until then, completed (insertion.ts). `shouldStop` is asked every `interval` reads of a cost (a nanosecond or two each).
 * Deterministic. Memory beside the costs is linear in n and m, but for a turned copy of the costs (crowded.ts).
 */
export function solveExact(
  reduction: Reduction,
  start: SolverStart | null,
  shouldStop: () => boolean,
  interval?: number,
): SolverOutcome {
  let places = 0;
  for (const capacity of reduction.capacities) places += capacity;
  const meter = new WorkMeter(shouldStop, interval);
  if (!isCrowded(reduction, places)) return solveRows(reduction, places, start, meter);
  const columnOfPlace = columnsOfPlaces(reduction, places);
  const turnedStart = start === null ? null : turnStart(reduction, start, columnOfPlace);
  const outcome = solveRows(turned(reduction, columnOfPlace), reduction.agents.length, turnedStart, meter);
  return turnBack(reduction, outcome, columnOfPlace);
}

function solveRows(reduction: Reduction, places: number, start: SolverStart | null, meter: WorkMeter): SolverOutcome {
  const rows = reduction.agents.length;
  const width = reduction.tasks.length;
  const { cost } = reduction;
  const idleCost = priceOfIdling(reduction, places);
  const balanced = idleCost === Infinity && places === rows;
  const price = new Float64Array(width);
  const state = new PricedAssignment(reduction, idleCost, price);
  const lists = new CandidateLists(cost, price, rows, width < longListWidth ? shortList : longList);
  const bidding = new Bidding(state, lists, meter);

  const free = new Int32Array(rows);
  const highest = (idleCost === Infinity ? reduction.highestCost : idleCost) - reduction.lowestCost;
  const known = start?.columnPrice ?? null;
  let kept: Int32Array | null = null;
  if (known !== null && startFrom(reduction, known, highest, price, meter)) kept = start!.columnOfRow;
  else startCold(reduction, balanced, price, meter);
  lists.startsFromLast = kept === null;
  let count = seatKept(state, cost, kept, bidding, free, meter);
  count = bidding.run(free, count, 0, bidsPerRow * rows);
  if (count > manyLeft && count > manyLeftShare * rows && !meter.stopped) {
    count = bidScaled(reduction, state, lists, bidding, free, count, kept !== null, meter);
    count = bidding.run(free, count, 0, bidsPerRow * rows);
  }
  placeAll(state, cost, lists, meter, free.subarray(0, count));
  if (!balanced) freeOfPrice(state, cost, lists, meter);
  return finish(reduction, state, meter, balanced);
}

function priceOfIdling(reduction: Reduction, places: number): number {
  const { lowestCost: low, highestCost: high } = reduction;
  if (reduction.idleAllowed) return 0;
  const rows = reduction.agents.length;
  if (reduction.dense && places >= rows) return Infinity;
  const taken = reduction.dense ? 0 : Math.min(rows, places);
  // Equal costs leave no range, and a range below the costs' rounding is no safe distance.
  return high + Math.max((taken + 1) * (high - low), Math.abs(high) * 1e-6, Number.MIN_VALUE / Number.EPSILON);
}

/** Places the undecided `rows` one by one. */
function placeAll(
  state: PricedAssignment,
  costs: Float64Array,
  lists: CandidateLists,
  meter: WorkMeter,
  rows: Int32Array,
): void {
  if (rows.length === 0) return;
  const sparse = new ShortestPaths(state, costs, lists, meter);
  let dense: DensePaths | null = null;
  for (const row of rows) {
    if (meter.stopped) return;
    if (dense === null && sparse.fullReads >= denseReads && sparse.fullReads > denseShare * sparse.rowsRead) {
      dense = new DensePaths(state, costs, meter);
    }
    if (dense !== null) dense.place(row);
    else sparse.place(row);
  }
}

/** Where idling has no price, nothing that has room may have one; where there is no idling, prices are equal there, and lowered to 0. */
function freeOfPrice(state: PricedAssignment, costs: Float64Array, lists: CandidateLists, meter: WorkMeter): void {
  const { price, idleCost, width } = state;
  if (meter.stopped) return;
  if (idleCost === Infinity) lists.lowered += lowerToZero(price);
  let mayHave = false;
  for (let column = 0; column < width; column++) if (state.room[column]! > 0 && price[column]! > 0) mayHave = true;
  if (!mayHave) return;
  const paths = new ShortestPaths(state, costs, lists, meter);
  while (paths.lowerOne());
}

/** Subtracts the least price from all; returns it. */
function lowerToZero(price: Float64Array): number {
  let least = Infinity;
  for (let column = 0; column < price.length; column++) least = Math.min(least, price[column]!);
  if (least === Infinity) return 0;
  for (let column = 0; column < price.length; column++) price[column]! -= least;
  return least;
}

function finish(reduction: Reduction, state: PricedAssignment, meter: WorkMeter, balanced: boolean): SolverOutcome {
  const { width, price } = state;
  const columnOfRow = meter.stopped ? completed(reduction, state) : state.columnOfRow;
  leaveIdle(columnOfRow, width);
  if (balanced) lowerToZero(price);
  return { columnOfRow, columnPrice: price, complete: !meter.stopped };
}

/** The cheaper of what a stopped solver had reached and of what it kept before, the rest decided; where much would have to be, what it kept. */
function completed(reduction: Reduction, state: PricedAssignment): Int32Array {
  const { columnOfRow, kept, price, room } = state;
  let undecided = 0;
  for (const column of columnOfRow) if (column === -1) undecided++;
  if (kept !== null && undecided > 0) {
    decideRest(reduction, price, kept);
    if (!areFew(undecided, columnOfRow.length, room)) return kept;
  }
  decideRest(reduction, price, columnOfRow);
  if (kept === null || undecided === 0) return columnOfRow;
  return costOf(reduction, kept) < costOf(reduction, columnOfRow) ? kept : columnOfRow;
}
