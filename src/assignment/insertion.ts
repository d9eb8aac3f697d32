/** Places for the rows that a stopped solver left undecided. */
import { augmentToGreatest } from './augmentation.js';
import type { Reduction } from './reduction.js';

/** Undecided rows that are placed by chains: so large a share of all at most, and with all rows and free columns no more reads of a cost, at worst. */
const chainedShare = 1 / 8;
const maxChainReads = 2 ** 24;

/**
 * Whether so many undecided rows of so many are few enough for chains, with the free places `left` [m]. Chains lose half of what free places do where
 * utilities are distances, an eighth where they are noise.
 */
export function areFew(undecided: number, rows: number, left: Int32Array): boolean {
  let open = 0;
  for (const places of left) if (places > 0) open++;
  return undecided <= chainedShare * rows && undecided * rows * open <= maxChainReads;
}

/**
 * Makes what a stopped solver had reached, `columnOfRow` [n] (-1: undecided, m: idle), an answer in place (-1: idle) that is allowed, and of greatest
 * cardinality where idling is not: undecided rows are placed one after the other, few of them by chains, many by the
 * free place of least cost + `price` [m]; nobody for what costs more than idling where that is allowed. O(n m) and `maxChainReads` where every pair is available.
 */
export function decideRest(reduction: Reduction, price: Float64Array, columnOfRow: Int32Array): void {
  const left = reduction.capacities.slice();
  const idleColumn = left.length;
  const undecided: number[] = [];
  for (let row = 0; row < columnOfRow.length; row++) {
    const column = columnOfRow[row]!;
    if (column < 0) undecided.push(row);
    else if (column < idleColumn) left[column]!--;
  }
  if (!areFew(undecided.length, columnOfRow.length, left)) fillFree(reduction, price, columnOfRow, left);
  else if (undecided.length > 0) new Insertion(reduction, columnOfRow, left).insert(undecided);
  leaveIdle(columnOfRow, idleColumn);
  if (!reduction.idleAllowed) augmentToGreatest(reduction, columnOfRow, left);
}

/** Idling, a column like others to solvers, is no column. */
export function leaveIdle(columnOfRow: Int32Array, idleColumn: number): void {
  for (let row = 0; row < columnOfRow.length; row++) if (columnOfRow[row] === idleColumn) columnOfRow[row] = -1;
}

/**
 * Gives rows without a column, in ascending order, the free one with the least cost + price; where idling is allowed, only if its cost is below 0.
 * `left` [m] is kept up to date. O(n free).
 */
function fillFree(reduction: Reduction, price: Float64Array, columnOfRow: Int32Array, left: Int32Array): void {
  const { cost, idleAllowed } = reduction;
  const width = left.length;
  const worst = idleAllowed ? 0 : Infinity;
  const open = new Int32Array(width);
  let openCount = 0;
  for (let column = 0; column < width; column++) if (left[column]! > 0) open[openCount++] = column;
  for (let row = 0; row < columnOfRow.length && openCount > 0; row++) {
    if (columnOfRow[row]! >= 0) continue;
    const from = row * width;
    let best = Infinity;
    let chosenAt = -1;
    for (let at = 0; at < openCount; at++) {
      const column = open[at]!;
      const value = cost[from + column]!;
      if (value < worst && value + price[column]! < best) {
        best = value + price[column]!;
        chosenAt = at;
      }
    }
    if (chosenAt < 0) continue;
    const column = open[chosenAt]!;
    columnOfRow[row] = column;
    if (--left[column]! === 0) open[chosenAt] = open[--openCount]!;
  }
}

/** Chains of at most two steps: a row takes a free place, or that of a row which takes a free one or idles. */
class Insertion {
  readonly #cost: Float64Array;
  readonly #width: number;
  readonly #idleCost: number;
  readonly #columnOfRow: Int32Array;
  readonly #left: Int32Array;
  /** Columns with free places: the first `#openCount`. */
  readonly #open: Int32Array;
  #openCount = 0;
  /** [n] where a row that holds a column would go (m: idling, -1: nowhere), and what that costs more than what it holds. */
  readonly #refuge: Int32Array;
  readonly #extra: Float64Array;
  /** [m] what it costs that somebody leaves the column: 0 where it has room, Infinity where nobody can; and who. */
  readonly #entry: Float64Array;
  readonly #leaver: Int32Array;

  constructor(reduction: Reduction, columnOfRow: Int32Array, left: Int32Array) {
    this.#cost = reduction.cost;
    this.#width = left.length;
    this.#idleCost = reduction.idleAllowed ? 0 : Infinity;
    this.#columnOfRow = columnOfRow;
    this.#left = left;
    this.#open = new Int32Array(left.length);
    this.#refuge = new Int32Array(columnOfRow.length).fill(-1);
    this.#extra = new Float64Array(columnOfRow.length);
    this.#entry = new Float64Array(left.length);
    this.#leaver = new Int32Array(left.length);
    for (let column = 0; column < left.length; column++) if (left[column]! > 0) this.#open[this.#openCount++] = column;
    for (let row = 0; row < columnOfRow.length; row++) this.#seekRefuge(row);
    this.#priceEntries();
  }

  insert(rows: readonly number[]): void {
    for (const row of rows) {
      const column = this.#bestColumn(row);
      if (column < 0) continue;
      const taken = this.#left[column]! > 0 ? column : this.#clear(column);
      this.#columnOfRow[row] = column;
      this.#seekRefuge(row);
      if (taken < this.#width && --this.#left[taken]! === 0) this.#close(taken);
      this.#priceEntries();
    }
  }

  /** -1: idling is as good, or there is no way. */
  #bestColumn(row: number): number {
    const cost = this.#cost;
    const entry = this.#entry;
    const from = row * this.#width;
    let best = this.#idleCost;
    let chosen = -1;
    for (let column = 0; column < entry.length; column++) {
      const value = cost[from + column]! + entry[column]!;
      if (value < best) {
        best = value;
        chosen = column;
      }
    }
    return chosen;
  }

  /** Sends a row away from `column`; returns where to. */
  #clear(column: number): number {
    const leaver = this.#leaver[column]!;
    const refuge = this.#refuge[leaver]!;
    this.#columnOfRow[leaver] = refuge;
    this.#seekRefuge(leaver);
    return refuge;
  }

  #close(column: number): void {
    const open = this.#open;
    let at = 0;
    while (open[at] !== column) at++;
    open[at] = open[--this.#openCount]!;
    for (let row = 0; row < this.#refuge.length; row++) if (this.#refuge[row] === column) this.#seekRefuge(row);
  }

  #seekRefuge(row: number): void {
    const held = this.#columnOfRow[row]!;
    this.#refuge[row] = -1;
    this.#extra[row] = Infinity;
    if (held < 0 || held === this.#width) return;
    const cost = this.#cost;
    const open = this.#open;
    const from = row * this.#width;
    let best = this.#idleCost;
    let refuge = best === Infinity ? -1 : this.#width;
    for (let at = 0; at < this.#openCount; at++) {
      const value = cost[from + open[at]!]!;
      if (value < best) {
        best = value;
        refuge = open[at]!;
      }
    }
    this.#refuge[row] = refuge;
    this.#extra[row] = best - cost[from + held]!;
  }

  #priceEntries(): void {
    const entry = this.#entry;
    for (let column = 0; column < entry.length; column++) entry[column] = this.#left[column]! > 0 ? 0 : Infinity;
    for (let row = 0; row < this.#extra.length; row++) {
      const extra = this.#extra[row]!;
      if (extra === Infinity) continue;
      const column = this.#columnOfRow[row]!;
      if (this.#left[column]! > 0 || extra >= entry[column]!) continue;
      entry[column] = extra;
      this.#leaver[column] = row;
    }
  }
}
