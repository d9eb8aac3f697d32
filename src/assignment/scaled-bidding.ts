/** What to do where many rows want the same columns: bids with ever smaller least raises, then prices at which nobody wants to move. */
import type { Bidding } from './bidding.js';
import type { CandidateLists } from './candidate-lists.js';
import type { PricedAssignment } from './priced-assignment.js';
import type { Reduction } from './reduction.js';
import { Settlement } from './settlement.js';
import type { WorkMeter } from './work-meter.js';

/** The least raise, as a share of the range of costs: at first, at first where prices are an earlier answer's, and at last (by measurement). */
const coldRaise = 1e-2;
const warmRaise = 1e-5;
const lastRaise = 5e-8;
const factor = 8;
/** Bids per row at most in each pass, and rows that the settlement looks at, per row. */
const bidsPerRow = 50;
const looksPerRow = 100;
/** What rounding may make of equal reduced costs, as a share of the greatest cost. */
const rounding = 2 ** -46;

/**
 * Bidding without a least raise gets stuck where rows are much alike: every raise is tiny. Here the first `count` of `free`
 * bid with large raises, roughly right; then those go on whose column is by more than the next smaller raise not their best. What is left is nearly the best
 * assignment, with prices that are a little wrong nearly everywhere: the settlement sets them right, and passes on columns where
 * that gains. Returns how many rows are left in `free`, the others holding their best column but for rounding.
 */
export function bidScaled(
  reduction: Reduction,
  state: PricedAssignment,
  lists: CandidateLists,
  bidding: Bidding,
  free: Int32Array,
  count: number,
  warm: boolean,
  meter: WorkMeter,
): number {
  const { rows, width } = state;
  const range = reduction.highestCost - reduction.lowestCost;
  let left = count;
  const slack = rounding * reduction.magnitude;
  const last = Math.max(lastRaise * range, 4 * slack);
  let raise = range * (warm ? warmRaise : coldRaise);
  // Where costs hardly differ, there is nothing to bid about.
  if (!(raise > last)) return count;
  for (;;) {
    left = bidding.run(free, left, raise, bidsPerRow * rows);
    raise /= factor;
    if (meter.stopped) return left;
    // What a stopped solver goes back to: in the next pass many lose their columns for a while.
    state.keep();
    if (raise < last) break;
    left = loosen(state, lists, raise, free, meter);
  }
  new Settlement(state, lists, meter, slack).run(looksPerRow * rows);
  left = loosen(state, lists, slack, free, meter);
  if (left > 0) {
    for (let row = 0; row < rows; row++) {
      const column = state.columnOfRow[row]!;
      if (column >= 0 && column < width) bidding.holdsAtPrice(row);
    }
  }
  return left;
}

/** Takes the column from every row that would rather have another by more than `slack`. Rows without one go to `free`; returns how many. */
function loosen(
  state: PricedAssignment,
  lists: CandidateLists,
  slack: number,
  free: Int32Array,
  meter: WorkMeter,
): number {
  const { rows, width, columnOfRow, paid, price, idleCost } = state;
  let count = 0;
  for (let row = 0; row < rows; row++) {
    const held = columnOfRow[row]!;
    if (held >= 0) {
      const least = paid[row]! + (held === width ? 0 : price[held]!) - slack;
      if (least <= idleCost && (meter.due() || lists.nothingBelow(row, least, meter))) continue;
      state.release(row);
    }
    free[count++] = row;
  }
  return count;
}
