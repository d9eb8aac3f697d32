/**
 * The auction of a reduced problem: agents bid for tasks, prices rise until nobody wants to move (Bertsekas), one agent at a
 * time, with epsilon scaling in float64. Whenever it is stopped it leaves an assignment and prices v >= 0 that bound what
 * is left to gain (bound.ts).
 *
 * In terms of the reduction, agent i pays cost_ij + v_j for task j, and nobody pays more than epsilon above the least that
 * is open to it. Then the cost exceeds the least possible by n epsilon at most, provided that every place is taken, or free at the lowest
 * price of all; only differences of prices matter, and in the end the lowest is 0. Fillers see to that: as many bidders as
 * places will be free, who want any place at all. So prices may start anywhere, an earlier round's or tick's included.
 *
 * Agents that find no task (K < n) take one of n - K idle places at cost 0, whose price is the dual of the cardinality K. With an
 * idle utility there are as many idle places as agents, which fillers may hold too.
 *
 * An agent's scan of its m tasks keeps the cheapest few and what no other one costs less than. As prices only rise, the agent bids by
 * these few alone until the second best of them costs more than that. O(m) a scan, a few dozen operations a bid.
 */
import { greatestCardinality } from './augmentation.js';
import { BidBook } from './bid-book.js';
import { CheapColumns } from './cheap-columns.js';
import { betterBySample } from './coarse-prices.js';
import { decideRest, leaveIdle } from './insertion.js';
import type { Reduction } from './reduction.js';
import { RowChoices } from './row-choices.js';
import { startPrices } from './start-prices.js';
import type { SolverOutcome, SolverStart } from './solver-outcome.js';

export interface AuctionControl {
  /** Asked every few scans, and every few dozen bids. */
  readonly shouldStop: () => boolean;
  /** The auction ends by itself when the cost is proven to be within this share of |objective| of the least; at least 0. */
  readonly targetGap: number;
  /** Bids between questions; default 64. A scan counts as eight. */
  readonly interval?: number;
}

/** Epsilon is divided by this after each round. */
const scaling = 5;
/** The first epsilon, as a share of what a random task costs more than the best. */
const firstShare = 0.04;
/** Where there are more free places than this, they are not held but sold again from 0. */
const maxFillers = 2 ** 20;
/** Epsilon never falls below this share of the numbers it is added to: far above their rounding. */
const leastShare = 2 ** -44;
/** Bids per bidder in the first round before epsilon was chosen too small. */
const patience = 20;
/** Times that places left over in a round are sold again from 0 before epsilon is lowered. */
const maxResales = 24;
const defaultInterval = 64;
const bidsPerScan = 8;

/**
 * Solves `reduction`, from `start` where it is given (whatever it holds, the outcome is as right). The assignment has greatest cardinality, or
 * where idling is allowed, no pair that is worth less than idling. `complete` says that `targetGap` was reached.
 */
export function solveAuction(reduction: Reduction, start: SolverStart | null, control: AuctionControl): SolverOutcome {
  const rows = reduction.agents.length;
  const width = reduction.tasks.length;
  if (rows === 0 || width === 0) {
    return {
      columnOfRow: new Int32Array(rows).fill(-1),
      columnPrice: new Float64Array(width),
      complete: true,
    };
  }
  const auction = new Auction(reduction, control);
  const complete = auction.run(start);
  return auction.outcome(complete);
}

class Auction {
  readonly #reduction: Reduction;
  readonly #control: AuctionControl;
  readonly #rows: number;
  readonly #width: number;
  /** [m + 1] the last one is idling: fixed at 0 where idling is allowed, never used where everybody gets a task. */
  readonly #price: Float64Array;
  readonly #book: BidBook;
  readonly #idleColumn: number;
  readonly #idlePlaces: number;
  /** Columns 0 to this are open to fillers: idling too, where it is allowed. */
  readonly #open: number;
  /** Rows that must get a place. */
  readonly #cardinality: number;
  /** Bidders that want any place at all, and no pair: they hold what is free in the end, at the lowest prices. Bidder n + f is filler f. */
  readonly #fillers: number;
  /** Every place is taken in the end, by a row or a filler, so that only differences of prices matter. */
  readonly #balanced: boolean;
  /** What fillers choose by, and rows. */
  readonly #cheap: CheapColumns;
  readonly #choices: RowChoices;
  /** Rows that want to bid: the first `#waitingCount`. */
  readonly #waiting: Int32Array;
  #waitingCount = 0;
  /** [m] of the prices at the start and after each round, those that prove most: that the cost is at least `#proven` above. */
  #bestPrices: Float64Array | null = null;
  #proven = -Infinity;
  /** [n] of the last round that was finished. */
  #last: Int32Array | null = null;
  /** Bids since the last question. */
  #work = 0;
  #stopped = false;

  constructor(reduction: Reduction, control: AuctionControl) {
    const rows = reduction.agents.length;
    const width = reduction.tasks.length;
    this.#reduction = reduction;
    this.#control = control;
    this.#rows = rows;
    this.#width = width;
    this.#idleColumn = width;
    this.#open = reduction.idleAllowed ? width + 1 : width;
    let places = 0;
    for (const capacity of reduction.capacities) places += capacity;
    const cardinality = reduction.idleAllowed ? 0 : greatestCardinality(reduction, places);
    this.#idlePlaces = rows - cardinality;
    this.#balanced = places - cardinality <= maxFillers;
    this.#fillers = this.#balanced ? places - cardinality : 0;
    this.#cardinality = cardinality;
    const capacities = new Int32Array(width + 1);
    capacities.set(reduction.capacities);
    capacities[width] = this.#idlePlaces;
    this.#book = new BidBook(capacities, rows + this.#fillers);
    this.#price = new Float64Array(width + 1);
    this.#waiting = new Int32Array(rows + this.#fillers);
    this.#choices = new RowChoices(reduction.cost, this.#price.subarray(0, width), rows);
    this.#cheap = new CheapColumns(this.#price.subarray(0, this.#open));
  }

  /** False where it was stopped before the target was reached. */
  run(start: SolverStart | null): boolean {
    this.#price.set(this.#firstPrices(start));
    let spread = 0;
    for (let row = 0; row < this.#rows; row++) {
      if (this.#askedToStop(bidsPerScan)) return false;
      this.#choices.scan(row);
      spread += this.#spread(row);
    }
    if (this.#idlePlaces > 0 && !this.#reduction.idleAllowed) this.#priceIdling();
    this.#keepPrices();
    let step = Math.max(this.#leastStep(), (firstShare * spread) / this.#rows);
    if (start?.columnOfRow) step = Math.max(this.#leastStep(), this.#takePlaces(start.columnOfRow) / this.#rows);
    for (let first = true; ; first = false) {
      this.#release(step);
      for (let resale = 0; resale < maxResales; resale++) {
        step = this.#sell(step, first ? patience * (this.#rows + this.#fillers) : Infinity);
        if (this.#stopped) return false;
        if (this.#balanced || !this.#resell(step)) break;
      }
      if (this.#finishRound()) return true;
      const least = this.#leastStep();
      if (step <= least) return true;
      step = Math.max(least, step / scaling);
    }
  }

  /** What is known of prices, else what columns or a sample say. */
  #firstPrices(start: SolverStart | null): Float64Array {
    const reduction = this.#reduction;
    const known = start?.columnPrice ?? null;
    const price = startPrices(reduction, known, this.#cardinality);
    if (known !== null || this.#askedToStop(defaultInterval)) return price;
    return betterBySample(reduction, price, this.#control.shouldStop) ?? price;
  }

  /** Of the last round that was finished; else what there is, the rest placed (insertion.ts). */
  outcome(complete: boolean): SolverOutcome {
    if (!complete) this.#keepPrices();
    const columnPrice = this.#bestPrices ?? this.#columnPrices();
    if (this.#last !== null) return { columnOfRow: this.#last, columnPrice, complete };
    const columnOfRow = this.#columns();
    decideRest(this.#reduction, this.#price, columnOfRow);
    return { columnOfRow, columnPrice, complete };
  }

  /** [n] rows' columns, idling included. */
  #columns(): Int32Array {
    return this.#book.columnOfRow.slice(0, this.#rows);
  }

  #columnPrices(): Float64Array {
    const columnPrice = this.#price.slice(0, this.#width);
    if (!this.#balanced) return columnPrice;
    const least = this.#cheapest();
    for (let column = 0; column < this.#width; column++) columnPrice[column]! -= least;
    return columnPrice;
  }

  /** Counts work of so many bids, and asks when it is time to. */
  #askedToStop(bids: number): boolean {
    this.#work += bids;
    if (this.#work < (this.#control.interval ?? defaultInterval)) return false;
    this.#work = 0;
    this.#stopped ||= this.#control.shouldStop();
    return this.#stopped;
  }

  #leastStep(): number {
    let highest = 0;
    for (const price of this.#price) highest = Math.max(highest, Math.abs(price));
    return Math.max(Number.MIN_VALUE / Number.EPSILON, leastShare * (this.#reduction.magnitude + highest));
  }

  /** What `row` pays at least, as far as is known without a scan; idle places included. */
  #least(row: number): number {
    const least = this.#choices.least(row);
    return this.#idlePlaces > 0 ? Math.min(least, this.#price[this.#idleColumn]!) : least;
  }

  /** The lowest price that a filler can have. */
  #cheapest(): number {
    let least = Infinity;
    for (let column = 0; column < this.#open; column++) if (this.#price[column]! < least) least = this.#price[column]!;
    return least;
  }

  #costOf(row: number, column: number): number {
    return column === this.#idleColumn ? 0 : this.#reduction.cost[row * this.#width + column]!;
  }

  /** How much more than the least `row` pays for a column that is picked without looking; where it may not have that, for the dearest it remembers. */
  #spread(row: number): number {
    const column = (row * 7919) % this.#width;
    let value = this.#costOf(row, column) + this.#price[column]!;
    if (value === Infinity) value = this.#choices.dearest(row);
    return value < Infinity ? value - this.#least(row) : 0;
  }

  /** Idle places cost what leaves the rows that would pay most elsewhere indifferent. */
  #priceIdling(): void {
    this.#price[this.#idleColumn] = Infinity;
    const least = Float64Array.from({ length: this.#rows }, (_, row) => this.#least(row)).sort();
    this.#price[this.#idleColumn] = least[this.#rows - this.#idlePlaces]!;
  }

  /** Gives rows the places that they had, as far as they exist; returns by how much these cost more than the least, in all. */
  #takePlaces(columnOfRow: Int32Array): number {
    let excess = 0;
    for (let row = 0; row < this.#rows; row++) {
      const column = columnOfRow[row]!;
      if (!(column >= 0 && column < this.#width) || this.#book.room[column] === 0) continue;
      const value = this.#costOf(row, column) + this.#price[column]!;
      if (value === Infinity) continue;
      excess += value - this.#least(row);
      this.#book.place(row, column, this.#price[column]!);
    }
    return excess;
  }

  /** Takes from every row its place that costs more than `step` above the least, and lines up all without one. */
  #release(step: number): void {
    const { columnOfRow } = this.#book;
    this.#waitingCount = 0;
    const cheapest = this.#cheapest();
    this.#cheap.forget();
    for (let filler = this.#rows + this.#fillers - 1; filler >= this.#rows; filler--) {
      const column = columnOfRow[filler]!;
      if (column >= 0) {
        if (this.#price[column]! <= cheapest + step) {
          this.#book.setBid(filler, cheapest + step);
          continue;
        }
        this.#book.release(filler);
      }
      this.#waiting[this.#waitingCount++] = filler;
    }
    for (let row = this.#rows - 1; row >= 0; row--) {
      const column = columnOfRow[row]!;
      if (column >= 0) {
        const highest = this.#least(row) + step - this.#costOf(row, column);
        if (this.#price[column]! <= highest) {
          this.#book.setBid(row, highest);
          continue;
        }
        this.#book.release(row);
      }
      this.#waiting[this.#waitingCount++] = row;
    }
  }

  /**
   * Lets rows and fillers bid until none is waiting, or it is stopped. The step is raised after every `bids` bids:
   * prices that have far to go would take for ever by small steps. Returns the last step.
   */
  #sell(firstStep: number, bids: number): number {
    let step = firstStep;
    let left = bids;
    // Without fillers, idling is never full where it is allowed.
    const idleAllowed = this.#reduction.idleAllowed && !this.#balanced;
    while (this.#waitingCount > 0) {
      if (this.#askedToStop(1)) break;
      if (--left < 0) {
        step *= scaling;
        left = bids;
      }
      const row = this.#waiting[--this.#waitingCount]!;
      const evicted = row < this.#rows ? this.#bid(row, step, idleAllowed) : this.#fill(row, step);
      if (evicted >= 0) this.#waiting[this.#waitingCount++] = evicted;
    }
    return step;
  }

  /** Lets `row` bid for its best; returns the row that lost its place by it, or -1. */
  #bid(row: number, step: number, idleAllowed: boolean): number {
    const choices = this.#choices;
    if (choices.find(row, this.#idlePlaces > 0 ? this.#price[this.#idleColumn]! : Infinity)) this.#work += bidsPerScan;
    const { best, second } = choices;
    const chosen = choices.column < 0 ? this.#idleColumn : choices.column;
    if (chosen === this.#idleColumn && idleAllowed) {
      this.#book.place(row, chosen, 0);
      return -1;
    }
    // A row with a single choice cannot be turned away for good: it makes itself dear enough for most.
    const raise = second === Infinity ? 2 * this.#reduction.magnitude : second - best;
    return this.#place(row, chosen, this.#price[chosen]! + raise + step);
  }

  /** Lets `filler` bid for the cheapest column; returns the row or filler that lost its place by it, or -1. */
  #fill(filler: number, step: number): number {
    const cheap = this.#cheap;
    if (cheap.find()) this.#work += bidsPerScan;
    const { column, second } = cheap;
    return this.#place(filler, column, (second === Infinity ? this.#price[column]! : second) + step);
  }

  #place(bidder: number, column: number, offer: number): number {
    const evicted = this.#book.place(bidder, column, offer);
    const lowest = this.#book.price(column);
    if (lowest > this.#price[column]!) this.#price[column] = lowest;
    return evicted;
  }

  /**
   * Lowers the price of free places to 0 and lines up the rows that want them now; false where there are none.
   */
  #resell(step: number): boolean {
    const { cost } = this.#reduction;
    const { room, columnOfRow } = this.#book;
    const dropped: number[] = [];
    for (let column = 0; column < this.#width; column++) {
      if (room[column]! === 0 || this.#price[column]! === 0) continue;
      this.#price[column] = 0;
      dropped.push(column);
    }
    if (dropped.length === 0) return false;
    for (let row = 0; row < this.#rows; row++) {
      const from = row * this.#width;
      for (const column of dropped) {
        this.#choices.lower(row, cost[from + column]!);
      }
      const column = columnOfRow[row]!;
      if (column < 0 || this.#costOf(row, column) + this.#price[column]! <= this.#least(row) + step) continue;
      this.#book.release(row);
      this.#waiting[this.#waitingCount++] = row;
    }
    return this.#waitingCount > 0;
  }

  /** Keeps the prices if they prove more than any before. */
  #keepPrices(): void {
    const { capacities } = this.#reduction;
    let proven = this.#fillers * this.#cheapest() - this.#idlePlaces * this.#price[this.#idleColumn]!;
    for (let row = 0; row < this.#rows; row++) proven += this.#least(row);
    for (let column = 0; column < this.#width; column++) proven -= capacities[column]! * this.#price[column]!;
    if (!(proven > this.#proven)) return;
    this.#proven = proven;
    this.#bestPrices = this.#columnPrices();
  }

  /** Keeps the assignment and the prices of a finished round; true where the cost is within the target of the least possible. */
  #finishRound(): boolean {
    const { room, columnOfRow } = this.#book;
    const cheapest = this.#balanced ? this.#cheapest() : 0;
    // What idling costs is given, where it is allowed: nothing, when the lowest price is nothing.
    if (this.#reduction.idleAllowed) this.#price[this.#idleColumn] = cheapest;
    let excess = 0;
    let total = 0;
    for (let row = 0; row < this.#rows; row++) {
      const column = columnOfRow[row]!;
      const cost = this.#costOf(row, column);
      total += cost;
      excess += cost + this.#price[column]! - this.#least(row);
    }
    if (this.#balanced) {
      for (let filler = this.#rows; filler < this.#rows + this.#fillers; filler++) {
        excess += this.#price[columnOfRow[filler]!]! - cheapest;
      }
    } else for (let column = 0; column < this.#width; column++) excess += room[column]! * this.#price[column]!;
    this.#last = this.#columns();
    leaveIdle(this.#last, this.#idleColumn);
    this.#keepPrices();
    return excess <= this.#control.targetGap * Math.abs(this.#reduction.base - total);
  }
}
