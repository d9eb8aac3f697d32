/**
 * The end of an auction's phase: the last bidders without an object get one each by a shortest path through objects of others.
 *
 * When few bidders are left, an auction raises the prices of nearly all objects, by small steps, until a free object is as good as those around
 * a bidder. A shortest path knows at once how far prices have to rise. A step from a bidder to an object is as long as the object is worse
 * for it than what it has, at least 0; so each bidder stays within the epsilon that it was within, and the width of a lane
 * of the queue, as far as its list of candidates tells: no list is asked for anew on the way. What a list does not know makes an answer worse, never wrong: the next phase looks at everybody
 * again, and the bound at all pairs.
 *
 * All are searched for at once. Each bidder without an object has a tree of the objects that it reaches sooner than the others do, and all trees
 * grow by the same length. One that meets a free object is done: its objects become dearer by how much farther it reaches than they lie,
 * bidders on the way move on, and the tree is dissolved. To the trees next to it, which grow on from where they are, what it held is as any other object.
 * So a search for hundreds costs a few times what one through everything does.
 */
import { ItemChains } from './item-chains.js';
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
  /** [objects] length of the shortest way known; Infinity: in no tree, and so between searches. */
  readonly #distances: Float64Array;
  /** [objects] the bidder it is reached from; of those in a tree. */
  readonly #from: Int32Array;
  /** [objects] twice its tree, and 1 where its way is found and no shorter one is looked for; of those in a tree. */
  readonly #owner: Int32Array;
  readonly #waiting: LaneQueue;
  /** By tree: objects that are in it, or once were. */
  readonly #held = new ItemChains();
  /** By tree: bidders of others whose ways to its objects are no shorter than its own. */
  readonly #neighbours = new ItemChains();
  /** [bidders] tree of those searched for. */
  readonly #treeOf: Int32Array;
  /** [bidders] the last tree whose end it was looked at for. */
  readonly #lookedAtFor: Int32Array;
  /** [trees] what the bidder at its root has at least at the prices of the beginning. */
  #worths = new Float64Array(0);
  #growing = 0;
  /** No longer way is of interest. */
  #limit = Infinity;

  constructor(market: Market, table: CandidateTable, holder: Int32Array, objectOf: Int32Array) {
    this.#market = market;
    this.#table = table;
    this.#holder = holder;
    this.#objectOf = objectOf;
    this.#distances = new Float64Array(market.count).fill(Infinity);
    this.#from = new Int32Array(market.count);
    this.#owner = new Int32Array(market.count);
    this.#waiting = new LaneQueue(this.#distances);
    this.#treeOf = new Int32Array(objectOf.length);
    this.#lookedAtFor = new Int32Array(objectOf.length);
  }

  /**
   * Gives `bidders` (without an object) one each, moves others on to free ones, and raises the prices on the way there, so that the market has to be
   * refreshed afterwards. How many are left, because candidates lead them to no free object or the search was interrupted: they are at the beginning of
   * `bidders` then. The trees that they had grown as far as the last that met one, so prices rise there as well; where all are left nothing is changed.
   * `epsilon`: about that of the phase.
   */
  augment(bidders: Int32Array, epsilon: number, interrupted: Interrupted): number {
    const trees = bidders.length;
    this.#waiting.reset(laneShare * epsilon);
    this.#held.reset(trees);
    this.#neighbours.reset(trees);
    this.#lookedAtFor.fill(-1);
    if (this.#worths.length < trees) this.#worths = new Float64Array(trees);
    this.#growing = trees;
    this.#limit = Infinity;
    for (let tree = 0; tree < trees; tree++) {
      const bidder = bidders[tree]!;
      this.#treeOf[bidder] = tree;
      this.#worths[tree] = this.#bestOf(bidder);
    }
    for (let tree = 0; tree < trees; tree++) this.#expand(bidders[tree]!, this.#worths[tree]!, 0, tree);
    const reach = this.#grow(bidders, interrupted);
    let left = 0;
    for (let tree = 0; tree < trees; tree++) {
      const bidder = bidders[tree]!;
      if (this.#objectOf[bidder]! >= 0) continue;
      this.#raise(tree, reach);
      bidders[left++] = bidder;
    }
    return left;
  }

  /** How far the last tree reached that met a free object; 0: none did. */
  #grow(bidders: Int32Array, interrupted: Interrupted): number {
    const waiting = this.#waiting;
    let untilLook = visitsPerLook;
    let reach = 0;
    while (this.#growing > 0) {
      const position = waiting.take();
      if (position < 0) return reach;
      const distance = this.#distances[position]!;
      const tree = this.#owner[position]! >> 1;
      this.#owner[position] = 2 * tree + 1;
      if (--untilLook <= 0) {
        if (interrupted()) return reach;
        untilLook = visitsPerLook;
      }
      const next = this.#holder[position]!;
      if (next >= 0) {
        this.#expand(next, this.#worthOf(next, position), distance, tree);
        continue;
      }
      reach = distance;
      this.#raise(tree, reach);
      this.#move(position, bidders[tree]!);
      this.#growing--;
      this.#expandNeighbours(tree);
    }
    return reach;
  }

  /** Raises the prices of a tree's objects, and lets them be in none. */
  #raise(tree: number, reach: number): void {
    const { prices } = this.#market;
    const held = this.#held;
    for (let entry = held.first(tree); entry >= 0; entry = held.next(entry)) {
      const position = held.item(entry);
      const distance = this.#distances[position]!;
      if (distance === Infinity || this.#owner[position]! >> 1 !== tree) continue;
      if (distance < reach) this.#market.raiseRoughly(position, prices[position]! + (reach - distance));
      this.#leave(position);
    }
  }

  #leave(position: number): void {
    if ((this.#owner[position]! & 1) === 0) this.#waiting.drop(position);
    this.#distances[position] = Infinity;
  }

  /** Lets the trees next to one that is dissolved reach what it held. */
  #expandNeighbours(tree: number): void {
    const neighbours = this.#neighbours;
    for (let entry = neighbours.first(tree); entry >= 0; entry = neighbours.next(entry)) {
      const bidder = neighbours.item(entry);
      if (this.#lookedAtFor[bidder] === tree) continue;
      this.#lookedAtFor[bidder] = tree;
      const position = this.#objectOf[bidder]!;
      if (position < 0) {
        const own = this.#treeOf[bidder]!;
        this.#expand(bidder, this.#worths[own]!, 0, own);
      } else if (this.#distances[position] !== Infinity && (this.#owner[position]! & 1) === 1) {
        this.#expand(bidder, this.#worthOf(bidder, position), this.#distances[position]!, this.#owner[position]! >> 1);
      }
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

  #expand(bidder: number, worth: number, distance: number, tree: number): void {
    const { size, counts, positions, values } = this.#table;
    const prices = this.#market.prices;
    const distances = this.#distances;
    const owner = this.#owner;
    let lastOther = -1;
    for (let at = bidder * size, end = at + counts[bidder]!; at < end; at++) {
      const position = positions[at]!;
      const lack = worth - (values[at]! - prices[position]!);
      const way = lack > 0 ? distance + lack : distance;
      const before = distances[position]!;
      if (before === Infinity) {
        if (way >= this.#limit) continue;
        this.#held.add(tree, position);
      } else {
        const other = owner[position]! >> 1;
        if (way >= before || (owner[position]! & 1) === 1) {
          if (other === tree || other === lastOther) continue;
          lastOther = other;
          this.#neighbours.add(other, bidder);
          continue;
        }
        if (other !== tree) {
          this.#neighbours.add(tree, this.#from[position]!);
          this.#held.add(tree, position);
        }
      }
      distances[position] = way;
      this.#from[position] = bidder;
      owner[position] = 2 * tree;
      if (this.#growing === 1 && this.#holder[position]! < 0) this.#limit = way;
      this.#waiting.put(position);
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
