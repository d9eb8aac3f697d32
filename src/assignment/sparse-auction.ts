/**
 * The auction algorithm on lists of candidates (Bertsekas 1988; several places of one object as in Bertsekas and Castanon 1989).
 *
 * A bidder without an object bids for the one with the greatest value - price and raises its price to where the next best is
 * as good, and by epsilon more; whoever had it bids again. At the end each bidder is within epsilon of its best at the
 * prices reached, so the assignment is within epsilon per bidder of the greatest sum.
 *
 * A bidder looks at its k candidates only: its best when it last asked the market. The value of the (k+1)-th at that time
 * bounds all others for as long as prices only rise, so the list is asked for again only when it cannot prove the best any more.
 * The last bidders of a phase are served by shortest paths (sparse-paths.ts). Memory: 12 k bytes a bidder.
 *
 * Past 400 lines, as every bid changes the lists, who waits and who holds what, in that order.
 */
import type { Market } from './sparse-market.js';
import { ShortestPaths } from './sparse-paths.js';

/** What stops the work: time is over, or nobody waits for the answer. Asked now and then. */
export type Interrupted = () => boolean;

/** Part of epsilon that a list of candidates may be wrong by; the rest is what a bid raises a price by at least. */
const slackShare = 0.6;
/** Share of a list that the next one is to have at least, before it is asked for. */
const rankWanted = 0.9;
/** Bids between two looks at the clock. */
const bidsPerLook = 512;
/** Bidders left, as a share of all, that get their objects by shortest paths: their wars would take most of the bids. */
const pathShare = 0.004;
/** Bids, as a share of all bidders, after which those whom paths led nowhere are tried once more: wars have shown them other objects by then. */
const retryShare = 0.2;

export interface AuctionOptions {
  readonly market: Market;
  /** [n] the market's index of each bidder; bidders of one index are alike. In an order in which neighbours have near values. */
  readonly bidders: Int32Array;
  /** [objects] places of each position, at least 1; null: 1 each. */
  readonly places: Int32Array | null;
  /** What a bidder has without an object; -Infinity: every bidder has to get one as long as there is one. */
  readonly floor: number;
  /** k */
  readonly candidates: number;
  /** A price may not be raised by more than this at once where there is no second best. */
  readonly largestRaise: number;
  /** Above this price an object is not bid for any more: the bidder stays without. */
  readonly priceCap: number;
}

const free = -1;
/** The bidder found that it is best off without an object, or that there is none. */
const idle = -2;

export class SparseAuction {
  /** [n] position of the bidder's object, or below 0. */
  readonly objectOf: Int32Array;
  /** Bids so far, and questions to the market. */
  bids = 0;
  questions = 0;
  readonly #market: Market;
  readonly #options: AuctionOptions;
  readonly #holders: Holders;
  readonly #positions: Int32Array;
  readonly #values: Float64Array;
  readonly #counts: Uint16Array;
  /** [n] bounds value - price of all objects that are not on the list. */
  readonly #elsewhere: Float64Array;
  readonly #foundPositions: Int32Array;
  readonly #foundValues: Float64Array;
  readonly #paths: ShortestPaths | null;
  readonly #queue: Int32Array;
  #head = 0;
  #waiting = 0;

  constructor(options: AuctionOptions) {
    const { market, bidders, candidates } = options;
    const n = bidders.length;
    this.#market = market;
    this.#options = options;
    this.objectOf = new Int32Array(n).fill(free);
    this.#holders = options.places === null ? new SingleHolders(market) : new ManyHolders(market, options.places);
    this.#positions = new Int32Array(n * candidates);
    this.#values = new Float64Array(n * candidates);
    this.#counts = new Uint16Array(n);
    this.#elsewhere = new Float64Array(n).fill(Infinity);
    this.#foundPositions = new Int32Array(candidates + 1);
    this.#foundValues = new Float64Array(candidates + 1);
    const { floor, priceCap } = options;
    const table = { size: candidates, counts: this.#counts, positions: this.#positions, values: this.#values };
    this.#paths =
      this.#holders instanceof SingleHolders && floor === -Infinity && priceCap === Infinity
        ? new ShortestPaths(market, table, this.#holders.holder, this.objectOf)
        : null;
    this.#queue = new Int32Array(n);
  }

  /** Prices were lowered from outside: no list proves anything any more. */
  forgetLists(): void {
    this.#elsewhere.fill(Infinity);
  }

  releaseAll(): void {
    const { objectOf } = this;
    for (let bidder = 0; bidder < objectOf.length; bidder++) {
      if (objectOf[bidder]! >= 0) this.#holders.leave(objectOf[bidder]!, bidder);
      objectOf[bidder] = free;
    }
  }

  /** Whether a place of the object is free. */
  hasRoom(position: number): boolean {
    return this.#holders.hasRoom(position);
  }

  /** Bidders that are further than `epsilon` from their best give their object back. */
  release(epsilon: number): void {
    const { objectOf } = this;
    for (let bidder = 0; bidder < objectOf.length; bidder++) {
      const position = objectOf[bidder]!;
      if (position < 0) {
        objectOf[bidder] = free;
        continue;
      }
      if (this.#elsewhere[bidder] === Infinity) this.#ask(bidder, slackShare * epsilon);
      this.#look(bidder);
      const own = this.#valueOf(bidder, position) - this.#market.prices[position]!;
      if (own >= Math.max(this.#bestValue, this.#elsewhere[bidder]!, this.#options.floor) - epsilon) continue;
      this.#holders.leave(position, bidder);
      objectOf[bidder] = free;
    }
  }

  /** Bids until everybody has an object or is content without one; false where interrupted. */
  run(epsilon: number, interrupted: Interrupted): boolean {
    const { objectOf } = this;
    const { floor, largestRaise, priceCap } = this.#options;
    const slack = slackShare * epsilon;
    const raise = epsilon - slack;
    const prices = this.#market.prices;
    const queue = this.#queue;
    const size = queue.length;
    this.#head = 0;
    this.#waiting = 0;
    for (let bidder = 0; bidder < size; bidder++) if (objectOf[bidder] === free) queue[this.#waiting++] = bidder;
    let untilLook = bidsPerLook;
    let leftToPaths = this.#paths === null ? 0 : Math.floor(size * pathShare);
    let retryAt = Infinity;
    while (this.#waiting > 0) {
      if (this.#waiting <= leftToPaths || this.bids >= retryAt) {
        // Whom they do not lead to an object bids again.
        retryAt = leftToPaths > 0 ? this.bids + Math.ceil(size * retryShare) : Infinity;
        leftToPaths = 0;
        this.#serveByPaths(slack, interrupted);
        untilLook = 0;
        continue;
      }
      if (--untilLook <= 0) {
        if (interrupted()) return false;
        untilLook = bidsPerLook;
      }
      const bidder = queue[this.#head]!;
      this.#head = this.#head + 1 === size ? 0 : this.#head + 1;
      this.#waiting--;
      this.#look(bidder);
      if (this.#bestValue < this.#elsewhere[bidder]! - slack) {
        this.#ask(bidder, slack);
        untilLook -= 8;
        this.#look(bidder);
      }
      const best = this.#bestValue;
      const position = this.#bestPosition;
      if (position < 0 || best < floor || prices[position]! > priceCap) {
        objectOf[bidder] = idle;
        continue;
      }
      const second = Math.max(this.#secondValue, this.#elsewhere[bidder]!, floor);
      const price = prices[position]! + Math.min(Math.max(best - second, 0), largestRaise) + raise;
      this.bids++;
      objectOf[bidder] = position;
      const before = this.#holders.take(position, bidder, price);
      if (before < 0) continue;
      objectOf[before] = free;
      let tail = this.#head + this.#waiting++;
      if (tail >= size) tail -= size;
      queue[tail] = before;
    }
    return true;
  }

  /** Serves those that wait, as far as there are ways to free objects and time. */
  #serveByPaths(slack: number, interrupted: Interrupted): void {
    const queue = this.#queue;
    const bidders = Int32Array.from({ length: this.#waiting }, (_, at) => queue[(this.#head + at) % queue.length]!);
    for (const bidder of bidders) {
      this.#look(bidder);
      if (this.#bestValue < this.#elsewhere[bidder]! - slack) this.#ask(bidder, slack);
    }
    this.#waiting = this.#paths!.augment(bidders, slack, interrupted);
    queue.set(bidders.subarray(0, this.#waiting));
    this.#head = 0;
    this.#market.refresh();
  }

  #bestPosition = -1;
  #bestValue = -Infinity;
  #secondValue = -Infinity;

  /** The best and the second best of the bidder's list at today's prices. */
  #look(bidder: number): void {
    const prices = this.#market.prices;
    const values = this.#values;
    const positions = this.#positions;
    const from = bidder * this.#options.candidates;
    const to = from + this.#counts[bidder]!;
    let best = -Infinity;
    let second = -Infinity;
    let bestAt = -1;
    for (let at = from; at < to; at++) {
      const value = values[at]! - prices[positions[at]!]!;
      if (value > second) {
        if (value > best) {
          second = best;
          best = value;
          bestAt = at;
        } else second = value;
      }
    }
    this.#bestPosition = bestAt < 0 ? -1 : positions[bestAt]!;
    this.#bestValue = best;
    this.#secondValue = second;
  }

  #ask(bidder: number, slack: number): void {
    this.questions++;
    const { candidates } = this.#options;
    const prices = this.#market.prices;
    let least = this.#leastWanted(bidder);
    let found = this.#search(bidder, slack, least);
    if (found === 0 && least > -Infinity) {
      least = -Infinity;
      found = this.#search(bidder, slack, least);
    }
    const kept = Math.min(found, candidates);
    const from = bidder * candidates;
    for (let at = 0; at < kept; at++) {
      const position = this.#foundPositions[at]!;
      this.#positions[from + at] = position;
      this.#values[from + at] = this.#foundValues[at]! + prices[position]!;
    }
    this.#counts[bidder] = kept;
    this.#elsewhere[bidder] = Math.max(
      this.#market.passedOver,
      found > candidates ? this.#foundValues[candidates]! : least,
    );
  }

  #search(bidder: number, slack: number, least: number): number {
    const { market, bidders, candidates } = this.#options;
    return market.best(bidders[bidder]!, candidates + 1, this.#foundPositions, this.#foundValues, slack, null, least);
  }

  /**
   * A value that nearly a full list of objects is above: what `rankWanted` of the bidder's last list are worth today, or of the list of the
   * bidder before it, who is its neighbour.
   */
  #leastWanted(bidder: number): number {
    const { market, bidders, candidates } = this.#options;
    const whose = this.#counts[bidder]! > 0 ? bidder : bidder - 1;
    const count = whose < 0 ? 0 : this.#counts[whose]!;
    const rank = Math.ceil(rankWanted * candidates);
    if (count < rank) return -Infinity;
    const top = this.#foundValues;
    let found = 0;
    for (let at = whose * candidates, end = at + count; at < end; at++) {
      const position = this.#positions[at]!;
      const worth = whose === bidder ? this.#values[at]! : market.valueOf(bidders[bidder]!, position);
      const value = worth - market.prices[position]!;
      if (found === rank && !(value > top[rank - 1]!)) continue;
      let slot = found < rank ? found++ : rank - 1;
      for (; slot > 0 && top[slot - 1]! < value; slot--) top[slot] = top[slot - 1]!;
      top[slot] = value;
    }
    return top[rank - 1]!;
  }

  /** From the list, which holds a bidder's own object for as long as it has it; else -Infinity. */
  #valueOf(bidder: number, position: number): number {
    const from = bidder * this.#options.candidates;
    const to = from + this.#counts[bidder]!;
    for (let at = from; at < to; at++) if (this.#positions[at] === position) return this.#values[at]!;
    return -Infinity;
  }
}

/** Who has which object at which price; keeps the market's price at that of the object's cheapest place. */
interface Holders {
  /** Gives the cheapest place at a new price; whoever had it, or below 0. */
  take(position: number, bidder: number, price: number): number;
  leave(position: number, bidder: number): void;
  hasRoom(position: number): boolean;
}

class SingleHolders implements Holders {
  readonly #market: Market;
  readonly holder: Int32Array;

  constructor(market: Market) {
    this.#market = market;
    this.holder = new Int32Array(market.count).fill(-1);
  }

  take(position: number, bidder: number, price: number): number {
    const before = this.holder[position]!;
    this.holder[position] = bidder;
    this.#market.raise(position, price);
    return before;
  }

  leave(position: number): void {
    this.holder[position] = -1;
  }

  hasRoom(position: number): boolean {
    return this.holder[position] === -1;
  }
}

/** Heaps of the taken places, cheapest first, as large as they have to be. */
class ManyHolders implements Holders {
  readonly #market: Market;
  readonly #places: Int32Array;
  readonly #taken: Int32Array;
  readonly #prices: Float64Array[] = [];
  readonly #bidders: Int32Array[] = [];

  constructor(market: Market, places: Int32Array) {
    this.#market = market;
    this.#places = places;
    this.#taken = new Int32Array(market.count);
    for (let position = 0; position < market.count; position++) {
      this.#prices.push(noPrices);
      this.#bidders.push(noBidders);
    }
  }

  take(position: number, bidder: number, price: number): number {
    const taken = this.#taken[position]!;
    const full = taken === this.#places[position]!;
    if (full) {
      const before = this.#bidders[position]![0]!;
      this.#sink(position, 0, taken, price, bidder);
      this.#market.raise(position, this.#prices[position]![0]!);
      return before;
    }
    if (taken === this.#prices[position]!.length) this.#grow(position);
    this.#rise(position, taken, price, bidder);
    this.#taken[position] = taken + 1;
    // A place that is still free keeps the price of the object.
    if (taken + 1 === this.#places[position]!) this.#market.raise(position, this.#prices[position]![0]!);
    return -1;
  }

  /** The place that is free again has the object's price. */
  leave(position: number, bidder: number): void {
    const bidders = this.#bidders[position]!;
    const prices = this.#prices[position]!;
    const last = --this.#taken[position]!;
    const at = bidders.subarray(0, last + 1).indexOf(bidder);
    const movedPrice = prices[last]!;
    const movedBidder = bidders[last]!;
    if (at === last) return;
    if (at > 0 && prices[(at - 1) >> 1]! > movedPrice) this.#rise(position, at, movedPrice, movedBidder);
    else this.#sink(position, at, last, movedPrice, movedBidder);
  }

  hasRoom(position: number): boolean {
    return this.#taken[position]! < this.#places[position]!;
  }

  #grow(position: number): void {
    const size = Math.min(this.#places[position]!, Math.max(4, 2 * this.#prices[position]!.length));
    const prices = new Float64Array(size);
    const bidders = new Int32Array(size);
    prices.set(this.#prices[position]!);
    bidders.set(this.#bidders[position]!);
    this.#prices[position] = prices;
    this.#bidders[position] = bidders;
  }

  #rise(position: number, from: number, price: number, bidder: number): void {
    const prices = this.#prices[position]!;
    const bidders = this.#bidders[position]!;
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (prices[above]! <= price) break;
      prices[at] = prices[above]!;
      bidders[at] = bidders[above]!;
      at = above;
    }
    prices[at] = price;
    bidders[at] = bidder;
  }

  #sink(position: number, from: number, size: number, price: number, bidder: number): void {
    const prices = this.#prices[position]!;
    const bidders = this.#bidders[position]!;
    let at = from;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= size) break;
      if (below + 1 < size && prices[below + 1]! < prices[below]!) below++;
      if (prices[below]! >= price) break;
      prices[at] = prices[below]!;
      bidders[at] = bidders[below]!;
      at = below;
    }
    prices[at] = price;
    bidders[at] = bidder;
  }
}

const noPrices = new Float64Array(0);
const noBidders = new Int32Array(0);
