/** The columns that rows may want next. */
import type { WorkMeter } from './work-meter.js';

/** Lists made per list read from which on whole rows are read: making one takes three times as long. */
const wholeShare = 0.3;

/**
 * The few columns that each row may want next, so that a step costs a handful of reads in place of m.
 *
 * A list holds the `length` columns with the least cost + price at the time it was made, ascending, and a guard: no other
 * column was cheaper than that. While prices only rise, what was recorded stays a lower bound of what is true now, so a
 * reader may stop at the first record, or at the guard, that is not below what it has found. That makes every reader
 * exact, however short or old the lists are. Prices may be lowered by at most `lowered` in all: records and guards contain
 * what it was when they were made, and are worth that much less.
 */
export class CandidateLists {
  readonly length: number;
  /** [n] entries in use; 0 and a guard of -Infinity: not made yet. */
  readonly count: Int32Array;
  /** [n] Infinity where the list is complete. */
  readonly guard: Float64Array;
  /** [n,length] */
  readonly column: Int32Array;
  /** [n,length] */
  readonly cost: Float64Array;
  /** [n,length] cost + price when the list was made, ascending. */
  readonly recorded: Float64Array;
  lowered = 0;
  /** How often a list was read; readers count. */
  reads = 0;
  /** Lists grow old so soon here that reading whole rows is quicker. Once so, it stays so. */
  whole = false;
  /**
   * Whether a row's list is made from its last one. Cold starts at N = 100 to 1000 take 0.75 to 0.9 of the time so; with the prices of the tick before, some
   * took 1.7 times as long where all agents are in a corner.
   */
  startsFromLast = false;
  #fills = 0;
  /** [n,m], [m] what the lists are of. */
  readonly costs: Float64Array;
  readonly #price: Float64Array;

  constructor(costs: Float64Array, price: Float64Array, rows: number, length: number) {
    this.length = Math.min(length, price.length);
    this.count = new Int32Array(rows);
    this.guard = new Float64Array(rows).fill(-Infinity);
    this.column = new Int32Array(rows * this.length);
    this.cost = new Float64Array(rows * this.length);
    this.recorded = new Float64Array(rows * this.length);
    this.costs = costs;
    this.#price = price;
  }

  /** Whether no column of `row` costs less than `bound` now, price included. */
  nothingBelow(row: number, bound: number, meter: WorkMeter): boolean {
    if (this.whole) {
      const { costs } = this;
      const price = this.#price;
      const base = row * price.length;
      meter.work += price.length;
      for (let column = 0; column < price.length; column++) {
        if (costs[base + column]! + price[column]! < bound) return false;
      }
      return true;
    }
    this.reads++;
    for (let fresh = false; ; fresh = true) {
      const from = row * this.length;
      const to = from + this.count[row]!;
      let at = from;
      for (; at < to && this.recorded[at]! - this.lowered < bound; at++) {
        if (this.cost[at]! + this.#price[this.column[at]!]! < bound) return false;
      }
      meter.work += at - from + 8;
      if (at < to || fresh || this.guard[row]! - this.lowered >= bound) return true;
      this.fill(row);
      meter.work += 3 * this.#price.length;
    }
  }

  /**
   * Makes the list of `row` at the prices of now. O(m). With `startsFromLast`, what was in its last list is taken first: most of it still is among the
   * least, and nearly all others are then seen to be dearer at once. Of equal sums, which is first depends on that list, else it is the first column.
   */
  fill(row: number): void {
    this.#fills++;
    if (this.#fills > 2 * this.count.length && this.#fills > wholeShare * this.reads) this.whole = true;
    const length = this.length;
    const costs = this.costs;
    const price = this.#price;
    const width = price.length;
    const { column: columns, recorded } = this;
    const base = row * width;
    const from = row * length;
    const last = from + length - 1;
    const isAnew = this.startsFromLast && this.count[row] === length;
    if (isAnew) this.#sortAnew(base, from, last);
    let used = isAnew ? last + 1 : from;
    let column = 0;
    for (; column < width && used <= last; column++) {
      const value = costs[base + column]! + price[column]!;
      if (value === Infinity) continue;
      let at = used++;
      for (; at > from && recorded[at - 1]! > value; at--) {
        recorded[at] = recorded[at - 1]!;
        columns[at] = columns[at - 1]!;
      }
      recorded[at] = value;
      columns[at] = column;
    }
    let guard = Infinity;
    if (used > last) {
      guard = recorded[last]!;
      const stop = width - 4;
      for (; column < width; column++) {
        // Most columns are of no interest, four at a time.
        while (
          column <= stop &&
          costs[base + column]! + price[column]! >= guard &&
          costs[base + column + 1]! + price[column + 1]! >= guard &&
          costs[base + column + 2]! + price[column + 2]! >= guard &&
          costs[base + column + 3]! + price[column + 3]! >= guard
        ) {
          column += 4;
        }
        if (column >= width) break;
        const value = costs[base + column]! + price[column]!;
        if (value >= guard) continue;
        let at = last;
        while (at > from && recorded[at - 1]! > value) at--;
        if (isAnew && this.#isListed(column, value, from, at)) continue;
        for (let moved = last; moved > at; moved--) {
          recorded[moved] = recorded[moved - 1]!;
          columns[moved] = columns[moved - 1]!;
        }
        recorded[at] = value;
        columns[at] = column;
        guard = recorded[last]!;
      }
    }
    const lowered = this.lowered;
    for (let at = from; at < used; at++) {
      this.cost[at] = costs[base + columns[at]!]!;
      recorded[at]! += lowered;
    }
    this.count[row] = used - from;
    this.guard[row] = guard + lowered;
  }

  /** Brings the entries `from` to `last`, of the row whose costs begin at `base`, up to the prices of now, `lowered` left out. */
  #sortAnew(base: number, from: number, last: number): void {
    const { column: columns, recorded, costs } = this;
    const price = this.#price;
    for (let entry = from; entry <= last; entry++) {
      const column = columns[entry]!;
      const value = costs[base + column]! + price[column]!;
      let at = entry;
      for (; at > from && recorded[at - 1]! > value; at--) {
        recorded[at] = recorded[at - 1]!;
        columns[at] = columns[at - 1]!;
      }
      recorded[at] = value;
      columns[at] = column;
    }
  }

  /** Whether `column` is among the entries from `from` to before `end`, which record `value` for it and nothing dearer for any. */
  #isListed(column: number, value: number, from: number, end: number): boolean {
    for (let at = end - 1; at >= from && this.recorded[at] === value; at--) if (this.column[at] === column) return true;
    return false;
  }
}
