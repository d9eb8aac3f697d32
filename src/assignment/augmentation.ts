/** Raises an assignment to the greatest number of assigned agents, by augmenting paths. */
import type { Reduction } from './reduction.js';

/**
 * Extends `columnOfRow` [n] (-1 = unassigned) in place until no augmenting path is left, so that by Berge's theorem no
 * assignment has more agents. `left` [m] is the free capacity, kept up to date. An assigned agent stays assigned, if not to the same task.
 *
 * It works in phases: within one, a full column is expanded once, whichever row searches; a phase without success has
 * searched everything. O(n m) a phase, few phases in practice. Rows search in ascending order, breadth first, and end at the
 * cheapest free column of the first row that has one.
 */
export function augmentToGreatest(reduction: Reduction, columnOfRow: Int32Array, left: Int32Array): void {
  const unassigned = columnOfRow.indexOf(-1);
  if (unassigned < 0 || !left.some((free) => free > 0)) return;
  const search = new AugmentingSearch(reduction, columnOfRow, left);
  for (let improved = true; improved;) {
    improved = false;
    search.startPhase();
    for (let row = unassigned; row < columnOfRow.length; row++) {
      if (columnOfRow[row] === -1 && search.augmentFrom(row)) improved = true;
    }
  }
}

/** How many rows an assignment of greatest cardinality assigns; `places` is the joint capacity. */
export function greatestCardinality(reduction: Reduction, places: number): number {
  const rows = reduction.agents.length;
  if (reduction.dense) return Math.min(rows, places);
  const columnOfRow = new Int32Array(rows).fill(-1);
  augmentToGreatest(reduction, columnOfRow, reduction.capacities.slice());
  let cardinality = 0;
  for (const column of columnOfRow) if (column >= 0) cardinality++;
  return cardinality;
}

class AugmentingSearch {
  readonly #cost: Float64Array;
  readonly #columnOfRow: Int32Array;
  readonly #left: Int32Array;
  /** CSR lists as of the phase's start: the rows of column j are holders[starts[j]] .. holders[starts[j + 1] - 1]. */
  readonly #starts: Int32Array;
  readonly #holders: Int32Array;
  /** Columns not expanded in this phase, the first `#openCount` entries. A column's holders change only once it is expanded or filled up. */
  readonly #open: Int32Array;
  #openCount = 0;
  readonly #fromRow: Int32Array;
  readonly #queue: Int32Array;

  constructor(reduction: Reduction, columnOfRow: Int32Array, left: Int32Array) {
    const width = left.length;
    this.#cost = reduction.cost;
    this.#columnOfRow = columnOfRow;
    this.#left = left;
    this.#starts = new Int32Array(width + 1);
    this.#holders = new Int32Array(columnOfRow.length);
    this.#open = new Int32Array(width);
    this.#fromRow = new Int32Array(width);
    this.#queue = new Int32Array(columnOfRow.length);
  }

  startPhase(): void {
    const starts = this.#starts.fill(0);
    for (const column of this.#columnOfRow) if (column >= 0) starts[column + 1]!++;
    for (let column = 1; column < starts.length; column++) starts[column]! += starts[column - 1]!;
    const next = starts.slice();
    for (let row = 0; row < this.#columnOfRow.length; row++) {
      const column = this.#columnOfRow[row]!;
      if (column >= 0) this.#holders[next[column]!++] = row;
    }
    this.#openCount = this.#open.length;
    for (let column = 0; column < this.#openCount; column++) this.#open[column] = column;
  }

  augmentFrom(source: number): boolean {
    const queue = this.#queue;
    queue[0] = source;
    let tail = 1;
    for (let head = 0; head < tail; head++) {
      const row = queue[head]!;
      const end = this.#takeFreeColumn(row);
      if (end >= 0) {
        this.#flip(end, row);
        return true;
      }
      tail = this.#expand(row, tail);
    }
    return false;
  }

  /** The cheapest column with room that `row` can reach, its room taken; or -1. */
  #takeFreeColumn(row: number): number {
    const base = row * this.#left.length;
    let best = Infinity;
    let bestAt = -1;
    for (let at = 0; at < this.#openCount; at++) {
      const column = this.#open[at]!;
      if (this.#left[column]! > 0 && this.#cost[base + column]! < best) {
        best = this.#cost[base + column]!;
        bestAt = at;
      }
    }
    if (bestAt < 0) return -1;
    const column = this.#open[bestAt]!;
    if (--this.#left[column]! === 0) this.#open[bestAt] = this.#open[--this.#openCount]!;
    return column;
  }

  /** Queues the holders of every open column that `row` can reach (all full); returns the queue's new end. */
  #expand(row: number, tail: number): number {
    const base = row * this.#left.length;
    let kept = 0;
    for (let at = 0; at < this.#openCount; at++) {
      const column = this.#open[at]!;
      if (this.#cost[base + column] === Infinity) {
        this.#open[kept++] = column;
        continue;
      }
      this.#fromRow[column] = row;
      const end = this.#starts[column + 1]!;
      for (let holder = this.#starts[column]!; holder < end; holder++) this.#queue[tail++] = this.#holders[holder]!;
    }
    this.#openCount = kept;
    return tail;
  }

  /** Gives `end` to `row`, the column that `row` had to the row that reached it, and so on back to the source. */
  #flip(end: number, row: number): void {
    let column = end;
    let taker = row;
    while (column >= 0) {
      const released = this.#columnOfRow[taker]!;
      this.#columnOfRow[taker] = column;
      column = released;
      if (column >= 0) taker = this.#fromRow[column]!;
    }
  }
}
