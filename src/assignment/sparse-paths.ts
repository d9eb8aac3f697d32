/**
 * The end of an auction's phase: the last bidders without an object get one each by a shortest path through objects of others.
 *
 * When few bidders are left, an auction raises the prices of nearly all objects, by small steps, until a free object is as good as those around
 * a bidder. A shortest path knows at once how far prices have to rise. A step from a bidder to an object is as long as the object is worse
 * for it than what it has, at least 0; so each bidder stays within the epsilon that it was within, and the width of a lane
 * of the queue, as far as its list of candidates tells: no list is asked for anew on the way. What a list does not know makes an answer worse, never wrong: the next phase looks at everybody
 * again, and the bound at all pairs.
 */
import { LaneQueue } from './lane-queue.js';
import type { Interrupted } from './sparse-auction.js';
import type { Market } from './sparse-market.js';

/** What bidders choose from: `size` entries each, of which the first `counts[bidder]` are used. */
export interface CandidateTable {
  readonly size: number;
  readonly counts: Uint16Array;
  readonly positions: Int32Array;
  /** Without prices. */
  readonly values: Float64Array;
}

/** Objects looked at between two looks at the clock. */
const visitsPerLook = 512;
/** Lengths that differ by less than this share of epsilon count as equal: by so much more may bidders be from their best afterwards. */
const laneShare = 1 / 32;

export class ShortestPaths {
  readonly #market: Market;
  readonly #table: CandidateTable;
  /** [objects] bidder, or below 0. */
  readonly #holder: Int32Array;
  readonly #objectOf: Int32Array;
  /** [objects] length of the shortest way known; Infinity: none, and so between searches. */
  readonly #distances: Float64Array;
  /** [objects] the bidder it is reached from; of those with a way. */
  readonly #from: Int32Array;
  /** [objects] 1: its way is found, and no shorter one is looked for. */
  readonly #isFound: Uint8Array;
  /** [objects] those with a way. */
  readonly #touched: Int32Array;
  #touchedCount = 0;
  readonly #waiting: LaneQueue;
  /** A free object, and the length of the way to it; no longer way is of interest. */
  #end = -1;
  #limit = Infinity;

  constructor(market: Market, table: CandidateTable, holder: Int32Array, objectOf: Int32Array) {
    this.#market = market;
    this.#table = table;
    this.#holder = holder;
    this.#objectOf = objectOf;
    this.#distances = new Float64Array(market.count).fill(Infinity);
    this.#from = new Int32Array(market.count);
    this.#isFound = new Uint8Array(market.count);
    this.#touched = new Int32Array(market.count);
    this.#waiting = new LaneQueue(this.#distances);
  }

  /**
   * Gives `bidder` an object, moves others on to a free one, and raises the prices on the way there. False, and nothing is changed, where
   * candidates lead to no free object or where interrupted. `epsilon`: about that of the phase.
   */
  augment(bidder: number, epsilon: number, interrupted: Interrupted): boolean {
    this.#waiting.reset(laneShare * epsilon);
    this.#touchedCount = 0;
    this.#end = -1;
    this.#limit = Infinity;
    const isFound = this.#search(bidder, interrupted);
    if (isFound) {
      this.#raise();
      this.#move(this.#end, bidder);
    }
    for (let at = 0; at < this.#touchedCount; at++) {
      this.#distances[this.#touched[at]!] = Infinity;
      this.#isFound[this.#touched[at]!] = 0;
    }
    return isFound;
  }

  #search(bidder: number, interrupted: Interrupted): boolean {
    const waiting = this.#waiting;
    let untilLook = visitsPerLook;
    this.#expand(bidder, this.#bestOf(bidder), 0);
    for (;;) {
      const position = waiting.take();
      if (position < 0) return this.#end >= 0;
      const distance = this.#distances[position]!;
      if (distance >= this.#limit) continue;
      this.#isFound[position] = 1;
      if (--untilLook <= 0) {
        if (interrupted()) return false;
        untilLook = visitsPerLook;
      }
      const next = this.#holder[position]!;
      this.#expand(next, this.#worthOf(next, position), distance);
    }
  }

  #raise(): void {
    const prices = this.#market.prices;
    for (let at = 0; at < this.#touchedCount; at++) {
      const position = this.#touched[at]!;
      const rise = this.#limit - this.#distances[position]!;
      if (rise > 0) this.#market.raiseRoughly(position, prices[position]! + rise);
    }
  }

  /** Everybody on the way back from the free object moves one on. */
  #move(end: number, start: number): void {
    let position = end;
    for (;;) {
      const bidder = this.#from[position]!;
      const given = this.#objectOf[bidder]!;
      this.#objectOf[bidder] = position;
      this.#holder[position] = bidder;
      if (bidder === start) return;
      position = given;
    }
  }

  #expand(bidder: number, worth: number, distance: number): void {
    const { size, counts, positions, values } = this.#table;
    const prices = this.#market.prices;
    const distances = this.#distances;
    let limit = this.#limit;
    for (let at = bidder * size, end = at + counts[bidder]!; at < end; at++) {
      const position = positions[at]!;
      const lack = worth - (values[at]! - prices[position]!);
      const way = lack > 0 ? distance + lack : distance;
      if (way >= limit) continue;
      const before = distances[position]!;
      if (way >= before || this.#isFound[position] === 1) continue;
      if (before === Infinity) this.#touched[this.#touchedCount++] = position;
      distances[position] = way;
      this.#from[position] = bidder;
      if (this.#holder[position]! < 0) {
        this.#end = position;
        this.#limit = limit = way;
      } else this.#waiting.put(position);
    }
  }

  #bestOf(bidder: number): number {
    const { size, counts, positions, values } = this.#table;
    let best = -Infinity;
    for (let at = bidder * size, end = at + counts[bidder]!; at < end; at++) {
      best = Math.max(best, values[at]! - this.#market.prices[positions[at]!]!);
    }
    return best;
  }

  #worthOf(bidder: number, position: number): number {
    const { size, counts, positions, values } = this.#table;
    for (let at = bidder * size, end = at + counts[bidder]!; at < end; at++) {
      if (positions[at] === position) return values[at]! - this.#market.prices[position]!;
    }
    return this.#bestOf(bidder);
  }
}
