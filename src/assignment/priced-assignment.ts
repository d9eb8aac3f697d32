/** A partial assignment with prices: who holds a place of which column, and what a place costs beside the pair. */
import type { Reduction } from './reduction.js';

/**
 * Columns 0 .. m - 1 have their capacities; column m is idling: it has room for everybody, costs `idleCost` and has no price.
 * The holders of a column are a doubly linked list, so that taking or losing a place is O(1) at any capacity.
 */
export class PricedAssignment {
  readonly rows: number;
  readonly width: number;
  /** What a row pays for no column: Infinity where that is out of the question. */
  readonly idleCost: number;
  /** [m] at least 0 at the end; meanwhile any finite numbers, in units of cost. */
  readonly price: Float64Array;
  /** [n] -1 undecided, m idle. */
  readonly columnOfRow: Int32Array;
  /** [n] cost of the pair that the row holds. */
  readonly paid: Float64Array;
  /** [m] free places. */
  readonly room: Int32Array;
  /** [m] a row that holds the column, or -1; the others follow in `next`. */
  readonly first: Int32Array;
  /** [n] the next holder of the same column, or -1. */
  readonly next: Int32Array;
  readonly #previous: Int32Array;
  /** [n] `columnOfRow` as it was kept last; null: never. */
  kept: Int32Array | null = null;

  constructor(reduction: Reduction, idleCost: number, price: Float64Array) {
    this.rows = reduction.agents.length;
    this.width = reduction.tasks.length;
    this.idleCost = idleCost;
    this.price = price;
    this.columnOfRow = new Int32Array(this.rows).fill(-1);
    this.paid = new Float64Array(this.rows);
    this.room = reduction.capacities.slice();
    this.first = new Int32Array(this.width).fill(-1);
    this.next = new Int32Array(this.rows);
    this.#previous = new Int32Array(this.rows);
  }

  keep(): void {
    this.kept ??= new Int32Array(this.rows);
    this.kept.set(this.columnOfRow);
  }

  /** Gives `row`, which holds nothing, a place of `column`, which has room. */
  hold(row: number, column: number, cost: number): void {
    this.columnOfRow[row] = column;
    this.paid[row] = cost;
    if (column === this.width) return;
    this.room[column]!--;
    const head = this.first[column]!;
    this.first[column] = row;
    this.next[row] = head;
    this.#previous[row] = -1;
    if (head >= 0) this.#previous[head] = row;
  }

  /** Takes from `row` what it holds; returns the column. */
  release(row: number): number {
    const column = this.columnOfRow[row]!;
    this.columnOfRow[row] = -1;
    if (column < 0 || column === this.width) return column;
    this.room[column]!++;
    const before = this.#previous[row]!;
    const after = this.next[row]!;
    if (before >= 0) this.next[before] = after;
    else this.first[column] = after;
    if (after >= 0) this.#previous[after] = before;
    return column;
  }
}
