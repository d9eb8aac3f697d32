/**
 * What bidders of a sparse auction can get: objects with prices, of which a bidder asks for its best few. Bidders and objects are agents
 * and tasks, or tasks and agents where there are more agents than places. An answer is over all pairs, not over candidates
 * picked before; so a list of the best k and the value of the next one stay a proof for as long as prices only rise.
 */
import type { PointTree } from './point-tree.js';
import { PriceLayer } from './price-tree.js';

/** Objects have positions 0 to count - 1 in an order that the market chooses; bidders have the indices of their side. */
export interface Market {
  readonly count: number;
  /** [count] by position. Written through `raise`, or followed by `refresh`. */
  readonly prices: Float64Array;
  /** [count] position -> index of the object's side. */
  readonly objectAt: Int32Array;
  /**
   * The `limit` objects with the greatest value - price, greatest first, forbidden and unobtainable ones left out; how many there are.
   * What is at most `slack` better than the last found may be passed over; `passedOver` then bounds it. `layer`: other prices
   * than the market's own. Nothing worth `least` or less is found.
   */
  best(
    bidder: number,
    limit: number,
    positions: Int32Array,
    values: Float64Array,
    slack: number,
    layer?: OtherPrices | null,
    least?: number,
  ): number;
  /** What the pair is worth without price and bonus; -Infinity where only `values` can say. */
  valueOf(bidder: number, position: number): number;
  /** Of the last `best`; -Infinity where nothing was passed over. */
  readonly passedOver: number;
  /** The values of all objects without prices, by position, into `row`; not finite: forbidden. */
  values(bidder: number, row: Float64Array): void;
  raise(position: number, price: number): void;
  /** The same for many, to be followed by `refresh`: until then answers are as right, but slower. */
  raiseRoughly(position: number, price: number): void;
  refresh(): void;
  /** Prices of one's own over the same objects, all 0; Infinity: not to be had. */
  otherPrices(): OtherPrices;
}

export interface OtherPrices {
  readonly prices: Float64Array;
  raise(position: number, price: number): void;
  refresh(): void;
}

/** Pairs whose value is `bonus` above what the rest of the market says: objects (by index) of each bidder. */
export interface Bonus {
  readonly amount: number;
  /** [bidders + 1] */
  readonly start: Int32Array;
  readonly objects: Int32Array;
}

/** Value = -distance: objects in a k-d tree. */
export class DistanceMarket implements Market {
  readonly count: number;
  readonly prices: Float64Array;
  readonly objectAt: Int32Array;
  passedOver = -Infinity;
  readonly #layer: PriceLayer;
  readonly tree: PointTree;
  readonly #places: Float64Array;
  readonly #bonus: Bonus | null;
  /** [objects] index -> position; only with a bonus. */
  readonly #positionOf: Int32Array;
  readonly #marks: Int32Array | null;
  readonly #one = new Int32Array(1);
  readonly #oneValue = new Float64Array(1);
  #mark = 0;

  /** `places` [bidders,width]; `objectCount`: indices of objects are below it. */
  constructor(tree: PointTree, places: Float64Array, objectCount: number, bonus: Bonus | null) {
    this.tree = tree;
    this.#layer = new PriceLayer(tree);
    this.#places = places;
    this.#bonus = bonus;
    this.count = tree.count;
    this.prices = this.#layer.prices;
    this.objectAt = tree.rowAt;
    this.#marks = bonus === null ? null : new Int32Array(tree.count);
    this.#positionOf = new Int32Array(bonus === null ? 0 : objectCount).fill(-1);
    if (bonus !== null) for (let at = 0; at < tree.count; at++) this.#positionOf[tree.rowAt[at]!] = at;
  }

  raise(position: number, price: number): void {
    this.#layer.raise(position, price);
  }

  raiseRoughly(position: number, price: number): void {
    this.#layer.raiseRoughly(position, price);
  }

  refresh(): void {
    this.#layer.refresh();
  }

  otherPrices(): OtherPrices {
    return new PriceLayer(this.tree);
  }

  best(
    bidder: number,
    limit: number,
    positions: Int32Array,
    values: Float64Array,
    slack: number,
    layer?: OtherPrices | null,
    least = -Infinity,
  ): number {
    const prices = (layer as PriceLayer | null | undefined) ?? this.#layer;
    const { width } = this.tree;
    const bonus = this.#bonus;
    if (bonus === null || bonus.start[bidder] === bonus.start[bidder + 1]) {
      const found = prices.best(this.#places, bidder * width, limit, positions, values, slack, null, 0, least);
      this.passedOver = prices.passedOver;
      return found;
    }
    const marks = this.#marks!;
    const mark = ++this.#mark;
    const from = bonus.start[bidder]!;
    const to = bonus.start[bidder + 1]!;
    for (let at = from; at < to; at++) {
      const position = this.#positionOf[bonus.objects[at]!]!;
      if (position >= 0) marks[position] = mark;
    }
    let found = prices.best(this.#places, bidder * width, limit, positions, values, slack, marks, mark, least);
    this.passedOver = prices.passedOver;
    for (let at = from; at < to; at++) {
      const position = this.#positionOf[bonus.objects[at]!]!;
      if (position < 0) continue;
      const value = this.valueOf(bidder, position) + bonus.amount - prices.prices[position]!;
      if (value > -Infinity) found = insert(position, value, found, limit, positions, values);
    }
    return found;
  }

  /**
   * Bounds the best value - price of each of `bidders[from..to)` by that at their middle plus their distance to it, into
   * `bounds` from `from` on: one search for all of them.
   */
  boundGroup(bidders: Int32Array, from: number, to: number, slack: number, bounds: Float64Array): void {
    const { width } = this.tree;
    const middle = this.#middle(bidders, from, to);
    this.#layer.best(middle, 0, 1, this.#one, this.#oneValue, slack, null, 0);
    const top = Math.max(this.#oneValue[0]!, this.#layer.passedOver);
    const bonus = this.#bonus;
    for (let at = from; at < to; at++) {
      const bidder = bidders[at]!;
      // Rounding of the distance itself: a relative margin far above it.
      let bound = top + this.#spanTo(middle, bidder * width) * (1 + 1e-12);
      if (bonus !== null) {
        for (let pair = bonus.start[bidder]!; pair < bonus.start[bidder + 1]!; pair++) {
          const position = this.#positionOf[bonus.objects[pair]!]!;
          if (position < 0) continue;
          bound = Math.max(bound, this.valueOf(bidder, position) + bonus.amount - this.prices[position]!);
        }
      }
      bounds[at] = bound;
    }
  }

  /** Mean distance of bidders to the middles of `size` neighbours each. */
  meanSpan(bidders: Int32Array, size: number): number {
    let sum = 0;
    for (let from = 0; from < bidders.length; from += size) {
      const to = Math.min(from + size, bidders.length);
      const middle = this.#middle(bidders, from, to);
      for (let at = from; at < to; at++) sum += this.#spanTo(middle, bidders[at]! * this.tree.width);
    }
    return sum / Math.max(bidders.length, 1);
  }

  #middle(bidders: Int32Array, from: number, to: number): Float64Array {
    const { width } = this.tree;
    const middle = new Float64Array(width);
    for (let at = from; at < to; at++) {
      for (let c = 0; c < width; c++) middle[c] = middle[c]! + this.#places[bidders[at]! * width + c]! / (to - from);
    }
    return middle;
  }

  #spanTo(middle: Float64Array, offset: number): number {
    let square = 0;
    for (let c = 0; c < middle.length; c++) square += (this.#places[offset + c]! - middle[c]!) ** 2;
    return Math.sqrt(square);
  }

  values(bidder: number, row: Float64Array): void {
    for (let at = 0; at < row.length; at++) row[at] = this.valueOf(bidder, at);
    const bonus = this.#bonus;
    if (bonus === null) return;
    for (let at = bonus.start[bidder]!; at < bonus.start[bidder + 1]!; at++) {
      const position = this.#positionOf[bonus.objects[at]!]!;
      if (position >= 0) row[position] = row[position]! + bonus.amount;
    }
  }

  valueOf(bidder: number, position: number): number {
    const { width, points } = this.tree;
    let square = 0;
    for (let c = 0; c < width; c++) {
      const difference = points[position * width + c]! - this.#places[bidder * width + c]!;
      square += difference * difference;
    }
    return -Math.sqrt(square);
  }
}

/** Writes the values of a bidder's pairs with all objects of `objects` into `row`; -Infinity (or NaN): forbidden. */
export type RowFiller = (bidder: number, objects: Int32Array, row: Float64Array) => void;

/** Any values: a bidder's are computed anew whenever it asks. O(count) a question, nothing kept. */
export class ScanMarket implements Market {
  readonly count: number;
  readonly prices: Float64Array;
  readonly objectAt: Int32Array;
  readonly passedOver = -Infinity;
  readonly #fill: RowFiller;
  readonly #row: Float64Array;

  constructor(objects: Int32Array, fill: RowFiller) {
    this.count = objects.length;
    this.objectAt = objects;
    this.prices = new Float64Array(objects.length);
    this.#fill = fill;
    this.#row = new Float64Array(objects.length);
  }

  valueOf(): number {
    return -Infinity;
  }

  values(bidder: number, row: Float64Array): void {
    this.#fill(bidder, this.objectAt, row);
  }

  raise(position: number, price: number): void {
    this.prices[position] = price;
  }

  raiseRoughly(position: number, price: number): void {
    this.prices[position] = price;
  }

  refresh(): void {
    // Nothing is kept beside the prices.
  }

  otherPrices(): OtherPrices {
    const prices = new Float64Array(this.count);
    return { prices, raise: (position, price) => void (prices[position] = price), refresh: () => undefined };
  }

  best(
    bidder: number,
    limit: number,
    positions: Int32Array,
    values: Float64Array,
    _slack: number,
    layer?: OtherPrices | null,
    least = -Infinity,
  ): number {
    const row = this.#row;
    const prices = layer?.prices ?? this.prices;
    this.#fill(bidder, this.objectAt, row);
    let found = 0;
    let worst = least;
    for (let at = 0; at < row.length; at++) {
      const value = row[at]! - prices[at]!;
      if (!(value > worst)) continue;
      found = insert(at, value, found, limit, positions, values);
      if (found === limit) worst = values[limit - 1]!;
    }
    return found;
  }
}

function insert(
  position: number,
  value: number,
  found: number,
  limit: number,
  positions: Int32Array,
  values: Float64Array,
): number {
  if (found === limit && !(value > values[limit - 1]!)) return found;
  let slot = found < limit ? found : limit - 1;
  for (; slot > 0 && values[slot - 1]! < value; slot--) {
    values[slot] = values[slot - 1]!;
    positions[slot] = positions[slot - 1]!;
  }
  values[slot] = value;
  positions[slot] = position;
  return found < limit ? found + 1 : found;
}
