/** The few columns that are cheapest for a row, prices included: what it bids by, most of the time. */

/** Columns remembered from a scan. */
const remembered = 12;

export class RowChoices {
  /** Of the last `find`: the cheapest column, -1 where nothing was as cheap as the limit given; what it costs, and what the second cheapest does. */
  column = -1;
  best = Infinity;
  second = Infinity;
  readonly #cost: Float64Array;
  readonly #price: Float64Array;
  readonly #width: number;
  readonly #kept: number;
  /** [n, kept] the cheapest columns at the last scan and what they cost without the price; -1 after the last. */
  readonly #columns: Int32Array;
  readonly #costs: Float64Array;
  /** [n] nothing else costs less, prices included. */
  readonly #guard: Float64Array;
  readonly #values: Float64Array;

  /** `cost` [n,m]; `price` [m] may rise between calls; where one falls, `lower` must be called. */
  constructor(cost: Float64Array, price: Float64Array, rows: number, width: number) {
    this.#cost = cost;
    this.#price = price;
    this.#width = width;
    this.#kept = Math.min(remembered, width);
    this.#columns = new Int32Array(rows * this.#kept);
    this.#costs = new Float64Array(rows * this.#kept);
    this.#guard = new Float64Array(rows);
    this.#values = new Float64Array(this.#kept);
  }

  /** Remembers the cheapest columns of `row` at today's prices. O(m). */
  scan(row: number): void {
    const cost = this.#cost;
    const price = this.#price;
    const width = this.#width;
    const kept = this.#kept;
    const values = this.#values;
    const columns = this.#columns;
    const from = row * width;
    const to = row * kept;
    let count = 0;
    let guard = Infinity;
    let worst = Infinity;
    for (let column = 0; column < width; column++) {
      const value = cost[from + column]! + price[column]!;
      if (value >= worst) {
        if (value < guard) guard = value;
        continue;
      }
      if (value === Infinity) continue;
      if (count === kept) {
        guard = values[kept - 1]!;
        count--;
      }
      let at = count++;
      for (; at > 0 && values[at - 1]! > value; at--) {
        values[at] = values[at - 1]!;
        columns[to + at] = columns[to + at - 1]!;
      }
      values[at] = value;
      columns[to + at] = column;
      if (count === kept) worst = values[kept - 1]!;
    }
    for (let at = 0; at < count; at++) this.#costs[to + at] = cost[from + columns[to + at]!]!;
    columns.fill(-1, to + count, to + kept);
    this.#guard[row] = guard;
  }

  /** Says that some column of `row` costs `value` now, which may be less than before. */
  lower(row: number, value: number): void {
    if (value < this.#guard[row]!) this.#guard[row] = value;
  }

  /** What `row` pays at least, as far as is known without a scan. */
  least(row: number): number {
    let least = this.#guard[row]!;
    const end = (row + 1) * this.#kept;
    for (let at = row * this.#kept; at < end; at++) {
      const column = this.#columns[at]!;
      if (column < 0) break;
      const value = this.#costs[at]! + this.#price[column]!;
      if (value < least) least = value;
    }
    return least;
  }

  /** What `row` pays for the dearest column that it remembers; Infinity where it has no column. */
  dearest(row: number): number {
    const first = row * this.#kept;
    for (let at = first + this.#kept - 1; at >= first; at--) {
      const column = this.#columns[at]!;
      if (column >= 0) return this.#costs[at]! + this.#price[column]!;
    }
    return Infinity;
  }

  /** Sets `column`, `best` and `second` among the columns and an alternative (-1) at `limit`; true where it took a scan. */
  find(row: number, limit: number): boolean {
    this.#search(row, limit);
    const scanned = this.second > this.#guard[row]!;
    if (scanned) {
      this.scan(row);
      this.#search(row, limit);
    }
    this.second = Math.min(this.second, this.#guard[row]!);
    return scanned;
  }

  #search(row: number, limit: number): void {
    const price = this.#price;
    const columns = this.#columns;
    const costs = this.#costs;
    const end = (row + 1) * this.#kept;
    let best = limit;
    let second = Infinity;
    let chosen = -1;
    for (let at = row * this.#kept; at < end; at++) {
      const column = columns[at]!;
      if (column < 0) break;
      const value = costs[at]! + price[column]!;
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
