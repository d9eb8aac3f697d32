/** What the auction's rows choose by: their candidate lists, beside an alternative. */
import { CandidateLists } from './candidate-lists.js';

/** Columns remembered from a scan. */
const remembered = 16;

export class RowChoices {
  /** Of the last `find`: the cheapest column, -1 where nothing was as cheap as the limit given; what it costs, and what the second cheapest does. */
  column = -1;
  best = Infinity;
  second = Infinity;
  readonly #lists: CandidateLists;
  readonly #price: Float64Array;

  /** `cost` [n,m]; `price` [m] may rise between calls; where one falls, `lower` must be called. */
  constructor(cost: Float64Array, price: Float64Array, rows: number) {
    this.#lists = new CandidateLists(cost, price, rows, remembered);
    this.#price = price;
  }

  /** Remembers the cheapest columns of `row` at today's prices. O(m). */
  scan(row: number): void {
    this.#lists.fill(row);
  }

  /** Says that some column of `row` costs `value` now, which may be less than before. */
  lower(row: number, value: number): void {
    const { length, count, recorded, guard } = this.#lists;
    if (value < guard[row]!) guard[row] = value;
    const from = row * length;
    for (let at = from + count[row]! - 1; at >= from && recorded[at]! > value; at--) recorded[at] = value;
  }

  /** What `row` pays at least, as far as is known without a scan. */
  least(row: number): number {
    const { length, count, column, cost, recorded, guard } = this.#lists;
    const price = this.#price;
    let least = guard[row]!;
    const end = row * length + count[row]!;
    for (let at = row * length; at < end && recorded[at]! < least; at++) {
      const value = cost[at]! + price[column[at]!]!;
      if (value < least) least = value;
    }
    return least;
  }

  /** What `row` pays for the dearest column that it remembers; Infinity where it has no column. */
  dearest(row: number): number {
    const { length, count, column, cost } = this.#lists;
    const last = row * length + count[row]! - 1;
    return count[row] === 0 ? Infinity : cost[last]! + this.#price[column[last]!]!;
  }

  /** Sets `column`, `best` and `second` among the columns and an alternative (-1) at `limit`; true where it took a scan. */
  find(row: number, limit: number): boolean {
    const { guard } = this.#lists;
    this.#search(row, limit);
    const scanned = this.second > guard[row]!;
    if (scanned) {
      this.scan(row);
      this.#search(row, limit);
    }
    this.second = Math.min(this.second, guard[row]!);
    return scanned;
  }

  #search(row: number, limit: number): void {
    const { length, count, column: columns, cost, recorded } = this.#lists;
    const price = this.#price;
    const from = row * length;
    const end = from + count[row]!;
    let best = limit;
    let second = Infinity;
    let chosen = -1;
    // What costs no less than the second best did so when the list was made.
    for (let at = from; at < end && recorded[at]! < second; at++) {
      const column = columns[at]!;
      const value = cost[at]! + price[column]!;
      if (value >= second) continue;
      if (value < best) {
        second = best;
        best = value;
        chosen = column;
      } else second = value;
    }
    this.best = best;
    this.second = second;
    this.column = chosen;
  }
}
