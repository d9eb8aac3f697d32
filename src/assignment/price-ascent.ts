/** Better column prices for the bound where Sinkhorn's potentials are missing or poor: a truncated auction. */
import type { Reduction } from './reduction.js';

export interface AscentLimits {
  /** What a bid exceeds the runner-up's by; > 0, in units of cost. */
  readonly step: number;
  /** No bid exceeds the price by more than this and `step`: an agent with a single task would bid without limit. */
  readonly maxRaise: number;
  /** Bids in all, O(m) each. */
  readonly maxBids: number;
  /** Stops once no more than these rows are without a column: those that no assignment serves. */
  readonly unserved: number;
}

/**
 * Raises `columnPrice` [m] in place towards dual optimality: a row without a column bids for the one that pays it most
 * what it would pay before turning to its second best; a full column turns its lowest bidder away and costs what the
 * lowest of its holders bid. Where idling is allowed, a row that no column pays anything gives up.
 */
export function raisePrices(reduction: Reduction, columnPrice: Float64Array, limits: AscentLimits): void {
  const { cost, capacities, idleAllowed } = reduction;
  const rows = reduction.agents.length;
  const width = columnPrice.length;
  const auction = new Auction(capacities, rows);
  const waiting = Int32Array.from({ length: rows }, (_, index) => rows - 1 - index);
  let waitingCount = rows;
  for (let bid = 0; bid < limits.maxBids && waitingCount > limits.unserved; bid++) {
    const row = waiting[--waitingCount]!;
    const from = row * width;
    let best = Infinity;
    let second = Infinity;
    let column = -1;
    for (let index = 0; index < width; index++) {
      const reduced = cost[from + index]! + columnPrice[index]!;
      if (reduced < second) {
        if (reduced < best) {
          second = best;
          best = reduced;
          column = index;
        } else second = reduced;
      }
    }
    if (column < 0 || (idleAllowed && best >= 0)) continue;
    if (idleAllowed && second > 0) second = 0;
    const offer = columnPrice[column]! + Math.min(second - best, limits.maxRaise) + limits.step;
    const evicted = auction.place(row, column, offer);
    const price = auction.price(column);
    if (price > columnPrice[column]!) columnPrice[column] = price;
    if (evicted >= 0) waiting[waitingCount++] = evicted;
  }
}

/** Who holds which column at what bid, as linked lists. */
class Auction {
  readonly #room: Int32Array;
  readonly #first: Int32Array;
  readonly #next: Int32Array;
  readonly #bid: Float64Array;

  constructor(capacities: Int32Array, rows: number) {
    this.#room = capacities.slice();
    this.#first = new Int32Array(capacities.length).fill(-1);
    this.#next = new Int32Array(rows);
    this.#bid = new Float64Array(rows);
  }

  /** Gives the column to `row`; returns the row that had to go, or -1. */
  place(row: number, column: number, bid: number): number {
    const evicted = this.#room[column] === 0 ? this.#removeLowest(column) : -1;
    if (evicted < 0) this.#room[column]!--;
    this.#bid[row] = bid;
    this.#next[row] = this.#first[column]!;
    this.#first[column] = row;
    return evicted;
  }

  /** The lowest bid held, or -Infinity where there is room. */
  price(column: number): number {
    if (this.#room[column]! > 0) return -Infinity;
    let lowest = Infinity;
    for (let row = this.#first[column]!; row >= 0; row = this.#next[row]!) lowest = Math.min(lowest, this.#bid[row]!);
    return lowest;
  }

  #removeLowest(column: number): number {
    let lowest = this.#first[column]!;
    let beforeLowest = -1;
    for (let before = lowest, row = this.#next[lowest]!; row >= 0; before = row, row = this.#next[row]!) {
      if (this.#bid[row]! >= this.#bid[lowest]!) continue;
      lowest = row;
      beforeLowest = before;
    }
    if (beforeLowest < 0) this.#first[column] = this.#next[lowest]!;
    else this.#next[beforeLowest] = this.#next[lowest]!;
    return lowest;
  }
}
