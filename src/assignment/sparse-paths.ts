/**
 * The end of an auction's phase: the last bidders without an object get one each by a shortest path through objects of others.
 *
 * When few bidders are left, an auction raises the prices of nearly all objects, by small steps, until a free object is as good as those around
 * a bidder. A shortest path knows at once how far prices have to rise. A step from a bidder to an object is as long as the object is worse
 * for it than what it has, at least 0; so each bidder stays within the epsilon that it was within, as far as its list of
 * candidates tells: no list is asked for anew on the way. What a list does not know makes an answer worse, never wrong: the next phase looks at everybody
 * again, and the bound at all pairs.
 */
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

export class ShortestPaths {
  /** Objects looked at so far. */
  visits = 0;
  readonly #market: Market;
  readonly #table: CandidateTable;
  /** [objects] bidder, or below 0. */
  readonly #holder: Int32Array;
  readonly #objectOf: Int32Array;
  /** [objects] length of the shortest way known; Infinity: none, and so between searches. */
  readonly #distances: Float64Array;
  /** [objects] the bidder it is reached from; of those with a way. */
  readonly #from: Int32Array;
  /** [objects] those with a way; of them, in order, those with a shortest one. */
  readonly #touched: Int32Array;
  readonly #reached: Int32Array;
  #touchedCount = 0;
  #reachedCount = 0;
  /** A free object, and the length of the way to it; no longer way is of interest. */
  #end = -1;
  #limit = Infinity;
  #heapKeys = new Float64Array(1024);
  #heapItems = new Int32Array(1024);
  #heapSize = 0;

  constructor(market: Market, table: CandidateTable, holder: Int32Array, objectOf: Int32Array) {
    this.#market = market;
    this.#table = table;
    this.#holder = holder;
    this.#objectOf = objectOf;
    this.#distances = new Float64Array(market.count).fill(Infinity);
    this.#from = new Int32Array(market.count);
    this.#touched = new Int32Array(market.count);
    this.#reached = new Int32Array(market.count);
  }

  /**
   * Gives `bidder` an object, moves others on to a free one, and raises the prices on the way there. False, and nothing is changed, where
   * candidates lead to no free object or where interrupted.
   */
  augment(bidder: number, interrupted: Interrupted): boolean {
    this.#heapSize = 0;
    this.#touchedCount = 0;
    this.#reachedCount = 0;
    this.#end = -1;
    this.#limit = Infinity;
    const isFound = this.#search(bidder, interrupted);
    if (isFound) {
      this.#raise();
      this.#move(this.#end, bidder);
    }
    this.visits += this.#reachedCount;
    for (let at = 0; at < this.#touchedCount; at++) this.#distances[this.#touched[at]!] = Infinity;
    return isFound;
  }

  #search(bidder: number, interrupted: Interrupted): boolean {
    const distances = this.#distances;
    const reached = this.#reached;
    let untilLook = visitsPerLook;
    let done = 0;
    this.#expand(bidder, this.#bestOf(bidder), 0);
    for (;;) {
      // Those that were reached without any further way are next; then the nearest one that waits.
      while (done === this.#reachedCount) {
        if (this.#heapSize === 0) return this.#end >= 0;
        const distance = this.#heapKeys[0]!;
        const position = this.#heapItems[0]!;
        if (distance >= this.#limit) return true;
        this.#pop();
        // Else it was reached by a shorter way meanwhile.
        if (distance === distances[position]!) reached[this.#reachedCount++] = position;
      }
      if (--untilLook <= 0) {
        if (interrupted()) return false;
        untilLook = visitsPerLook;
      }
      const position = reached[done++]!;
      const distance = distances[position]!;
      if (distance >= this.#limit) return true;
      const next = this.#holder[position]!;
      this.#expand(next, this.#worthOf(next, position), distance);
    }
  }

  #raise(): void {
    const prices = this.#market.prices;
    for (let at = 0; at < this.#reachedCount; at++) {
      const position = this.#reached[at]!;
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
    for (let at = bidder * size, end = at + counts[bidder]!; at < end; at++) {
      const position = positions[at]!;
      const lack = worth - (values[at]! - prices[position]!);
      const way = lack > 0 ? distance + lack : distance;
      const before = distances[position]!;
      if (way >= before || way >= this.#limit) continue;
      if (before === Infinity) this.#touched[this.#touchedCount++] = position;
      distances[position] = way;
      this.#from[position] = bidder;
      if (this.#holder[position]! < 0) {
        this.#end = position;
        this.#limit = way;
      } else if (way === distance) this.#reached[this.#reachedCount++] = position;
      else this.#push(way, position);
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

  #push(key: number, item: number): void {
    if (this.#heapSize === this.#heapKeys.length) this.#grow();
    const keys = this.#heapKeys;
    const items = this.#heapItems;
    let at = this.#heapSize++;
    while (at > 0) {
      const above = (at - 1) >> 2;
      if (keys[above]! <= key) break;
      keys[at] = keys[above]!;
      items[at] = items[above]!;
      at = above;
    }
    keys[at] = key;
    items[at] = item;
  }

  #pop(): void {
    const keys = this.#heapKeys;
    const items = this.#heapItems;
    const size = --this.#heapSize;
    const key = keys[size]!;
    const item = items[size]!;
    let at = 0;
    for (;;) {
      const first = 4 * at + 1;
      if (first >= size) break;
      let least = first;
      const end = Math.min(first + 4, size);
      for (let below = first + 1; below < end; below++) if (keys[below]! < keys[least]!) least = below;
      if (keys[least]! >= key) break;
      keys[at] = keys[least]!;
      items[at] = items[least]!;
      at = least;
    }
    keys[at] = key;
    items[at] = item;
  }

  #grow(): void {
    const keys = new Float64Array(2 * this.#heapKeys.length);
    const items = new Int32Array(2 * this.#heapItems.length);
    keys.set(this.#heapKeys);
    items.set(this.#heapItems);
    this.#heapKeys = keys;
    this.#heapItems = items;
  }
}
