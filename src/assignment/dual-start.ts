/** The prices and places that the exact solver starts from: of an earlier answer, or of the columns' least costs. */
import type { Bidding } from './bidding.js';
import type { PricedAssignment } from './priced-assignment.js';
import type { Reduction } from './reduction.js';
import type { WorkMeter } from './work-meter.js';

/**
 * Prices for a start from nothing, into `price` [m]: where every column will be full (`balanced`), each is as dear as makes it cost its cheapest
 * row the same as every other; else 0, which is right for all columns that keep room. O(n m).
 */
export function startCold(reduction: Reduction, balanced: boolean, price: Float64Array, meter: WorkMeter): void {
  price.fill(0);
  if (!balanced) return;
  const { cost } = reduction;
  const width = price.length;
  const least = new Float64Array(width).fill(Infinity);
  for (let base = 0; base < cost.length; base += width) {
    for (let column = 0; column < width; column++) {
      if (cost[base + column]! < least[column]!) least[column] = cost[base + column]!;
    }
    meter.work += width;
    if (meter.due()) return;
  }
  let highest = -Infinity;
  for (let column = 0; column < width; column++) highest = Math.max(highest, least[column]!);
  for (let column = 0; column < width; column++) price[column] = highest - least[column]!;
}

/**
 * Prices for a start from those `known` [m], into `price` [m], which may hold anything: numbers below 0, NaN and Infinity count
 * as not known, others are cut at `highest`, above which no price makes sense. What is not known becomes the price at which the column is the best
 * choice of exactly one row. False where nothing is known. O(m), and O(n m) where something is not known.
 */
export function startFrom(
  reduction: Reduction,
  known: Float64Array,
  highest: number,
  price: Float64Array,
  meter: WorkMeter,
): boolean {
  const { cost } = reduction;
  const width = price.length;
  const unknown: number[] = [];
  let lowest = Infinity;
  for (let column = 0; column < width; column++) {
    const value = known[column]!;
    if (value >= 0 && value < Infinity) {
      price[column] = value;
      if (value < lowest) lowest = value;
    } else {
      price[column] = Infinity;
      unknown.push(column);
    }
  }
  if (unknown.length === width) return false;
  // Garbage may be huge: what counts are differences, as long as no column with a price is left with room.
  const shift = lowest > highest ? lowest : 0;
  for (let column = 0; column < width; column++) {
    if (price[column]! < Infinity) price[column] = Math.min(price[column]! - shift, highest);
  }
  if (unknown.length > 0) priceUnknown(cost, unknown, price, meter);
  return true;
}

/** Replaces the Infinity of the `unknown` columns of `price`. */
function priceUnknown(cost: Float64Array, unknown: readonly number[], price: Float64Array, meter: WorkMeter): void {
  const width = price.length;
  const wanted = new Float64Array(unknown.length);
  for (let base = 0; base < cost.length; base += width) {
    let least = Infinity;
    for (let column = 0; column < width; column++) {
      const value = cost[base + column]! + price[column]!;
      if (value < least) least = value;
    }
    if (least < Infinity) {
      for (let at = 0; at < unknown.length; at++) {
        const value = least - cost[base + unknown[at]!]!;
        if (value > wanted[at]!) wanted[at] = value;
      }
    }
    meter.work += width + unknown.length;
    if (meter.due()) break;
  }
  for (let at = 0; at < unknown.length; at++) price[unknown[at]!] = wanted[at]!;
}

/**
 * Gives every row the column that it has in `columnOfRow` (any numbers; null: nobody has one) where the column has room and is
 * the row's best at the prices of now. The other rows go to `free` [n]; returns how many. O(n m).
 */
export function seatKept(
  state: PricedAssignment,
  costs: Float64Array,
  columnOfRow: Int32Array | null,
  bidding: Bidding,
  free: Int32Array,
  meter: WorkMeter,
): number {
  const { rows, width, price, room, idleCost } = state;
  let count = 0;
  for (let row = 0; row < rows; row++) {
    const column = columnOfRow === null || meter.due() ? -1 : columnOfRow[row]!;
    if (column >= 0 && column < width && room[column]! > 0) {
      const base = row * width;
      const own = costs[base + column]! + price[column]!;
      meter.work += width;
      if (own < idleCost && nothingBelow(costs, base, price, own)) {
        state.hold(row, column, costs[base + column]!);
        bidding.holdsAtPrice(row);
        continue;
      }
    }
    free[count++] = row;
  }
  return count;
}

/** Four at a time take three quarters of the time of one at a time. */
function nothingBelow(costs: Float64Array, base: number, price: Float64Array, bound: number): boolean {
  const width = price.length;
  let column = 0;
  for (; column + 3 < width; column += 4) {
    const at = base + column;
    if (
      costs[at]! + price[column]! < bound ||
      costs[at + 1]! + price[column + 1]! < bound ||
      costs[at + 2]! + price[column + 2]! < bound ||
      costs[at + 3]! + price[column + 3]! < bound
    ) {
      return false;
    }
  }
  for (; column < width; column++) if (costs[base + column]! + price[column]! < bound) return false;
  return true;
}
