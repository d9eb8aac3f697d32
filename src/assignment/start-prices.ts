/** The prices that an auction starts from. */
import type { Reduction } from './reduction.js';

/**
 * [m] prices, at least 0. Of `known` [m] (null: nothing is) what is no sensible price counts as not known. A column that is
 * not known costs what makes one row indifferent between it and the rest. `cardinality`: how many rows get a place,
 * so many places may cost something.
 */
export function startPrices(reduction: Reduction, known: Float64Array | null, cardinality: number): Float64Array {
  const { cost, magnitude, idleAllowed } = reduction;
  const rows = reduction.agents.length;
  const width = reduction.tasks.length;
  const highest = 4 * (rows + 1) * magnitude;
  const price = new Float64Array(width).fill(NaN);
  let missing = width;
  if (known !== null) {
    for (let column = 0; column < width; column++) {
      const value = known[column]!;
      if (!(value >= 0 && value <= highest)) continue;
      price[column] = value;
      missing--;
    }
  }
  if (missing === 0) return price;
  const rowLeast = new Float64Array(rows);
  if (missing < width) {
    for (let row = 0; row < rows; row++) {
      const from = row * width;
      let least = Infinity;
      for (let column = 0; column < width; column++) {
        const value = cost[from + column]! + price[column]!;
        if (value < least) least = value;
      }
      if (idleAllowed && least > 0) least = 0;
      rowLeast[row] = least < Infinity ? least : 0;
    }
  }
  const wanted = wantedPrices(reduction, rowLeast);
  if (missing < width) {
    for (let column = 0; column < width; column++) {
      if (!(price[column]! >= 0)) price[column] = Math.max(0, wanted[column]!);
    }
    return price;
  }
  const floor = idleAllowed ? 0 : priceOfPlace(reduction, wanted, cardinality);
  for (let column = 0; column < width; column++) price[column] = Math.max(0, wanted[column]! - floor);
  return idleAllowed && isWorseThanNone(reduction, price) ? price.fill(0) : price;
}

/** Whether the prices prove less than none at all, where idling is allowed. */
function isWorseThanNone(reduction: Reduction, price: Float64Array): boolean {
  const { cost, capacities } = reduction;
  const width = price.length;
  let difference = 0;
  for (let column = 0; column < width; column++) difference += capacities[column]! * price[column]!;
  for (let row = 0; row < reduction.agents.length; row++) {
    const from = row * width;
    let priced = 0;
    let free = 0;
    for (let column = 0; column < width; column++) {
      const value = cost[from + column]!;
      if (value < free) free = value;
      if (value + price[column]! < priced) priced = value + price[column]!;
    }
    difference += free - priced;
  }
  return difference > 0;
}

/** [m] the price at which a column is as good as the rest for the row that wants it most: the greatest rowLeast_i - cost_ij. */
function wantedPrices(reduction: Reduction, rowLeast: Float64Array): Float64Array {
  const { cost } = reduction;
  const width = reduction.tasks.length;
  const wanted = new Float64Array(width).fill(-Infinity);
  for (let row = 0; row < rowLeast.length; row++) {
    const from = row * width;
    const least = rowLeast[row]!;
    for (let column = 0; column < width; column++) {
      const value = least - cost[from + column]!;
      if (value > wanted[column]!) wanted[column] = value;
    }
  }
  return wanted;
}

/** The price of the place that is the `count`-th dearest. */
export function priceOfPlace(reduction: Reduction, price: Float64Array, count: number): number {
  const { capacities } = reduction;
  const order = Uint32Array.from(price, (_, column) => column);
  order.sort((left, right) => price[right]! - price[left]!);
  let places = 0;
  let last = 0;
  for (const column of order) {
    last = price[column]!;
    places += capacities[column]!;
    if (places >= count) break;
  }
  return last;
}
