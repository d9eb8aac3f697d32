/** Objects for the bidders of an auction that ended without one: what is free and best, then paths through objects of others. */
import type { Market } from './sparse-market.js';

export interface CompletionOptions {
  readonly market: Market;
  readonly bidders: Int32Array;
  /** By position; null: 1 each. */
  readonly places: Int32Array | null;
  /** No object that is worth less is taken. */
  readonly floor: number;
  /** Some pairs may be forbidden: then free objects may not be enough. */
  readonly mayForbid: boolean;
  /** [n] position or below 0; completed in place. */
  readonly objectOf: Int32Array;
  /** Asked now and then; throws where nobody waits. */
  readonly stopIfCancelled: () => void;
}

/**
 * Completes `objectOf`, however late it is. Without forbidden pairs everybody gets an object as long as there are free ones; with them, until no
 * augmenting path is left. Whether no assignment has more bidders (with a floor: always false).
 */
export function assignRest(options: CompletionOptions): boolean {
  const { market, bidders, places, floor, mayForbid, objectOf } = options;
  const left = new Int32Array(market.count);
  for (let at = 0; at < market.count; at++) left[at] = places === null ? 1 : places[at]!;
  let missing = 0;
  for (const position of objectOf) {
    if (position >= 0) left[position] = left[position]! - 1;
    else missing++;
  }
  if (missing === 0) return true;
  const offers = market.otherPrices();
  for (let at = 0; at < market.count; at++) if (left[at] === 0) offers.prices[at] = Infinity;
  offers.refresh();
  const found = new Int32Array(1);
  const value = new Float64Array(1);
  let without = 0;
  for (let bidder = 0; bidder < objectOf.length; bidder++) {
    if (objectOf[bidder]! >= 0) continue;
    if (market.best(bidders[bidder]!, 1, found, value, 0, offers) === 0 || value[0]! < floor) {
      without++;
      continue;
    }
    const position = found[0]!;
    objectOf[bidder] = position;
    left[position] = left[position]! - 1;
    if (left[position] === 0) offers.raise(position, Infinity);
  }
  if (floor > -Infinity) return false;
  if (without > 0 && mayForbid) augment(options, left);
  return without === 0 || mayForbid;
}

/** Breadth-first searches for paths that end at a free object. What a search without success has seen stays out of reach. */
function augment({ market, bidders, objectOf, stopIfCancelled }: CompletionOptions, left: Int32Array): void {
  const row = new Float64Array(market.count);
  const cameFrom = new Int32Array(market.count);
  const unseen = Int32Array.from(row, (_, position) => position);
  let unseenCount = unseen.length;
  const holders = holdersOf(objectOf, market.count);
  const queue = new Int32Array(objectOf.length);
  for (let start = 0; start < objectOf.length; start++) {
    if (objectOf[start]! >= 0) continue;
    const before = unseenCount;
    let head = 0;
    let tail = 0;
    queue[tail++] = start;
    let end = -1;
    while (head < tail && end < 0) {
      stopIfCancelled();
      const bidder = queue[head++]!;
      market.values(bidders[bidder]!, row);
      for (let at = 0; at < unseenCount && end < 0;) {
        const position = unseen[at]!;
        if (!Number.isFinite(row[position])) {
          at++;
          continue;
        }
        unseen[at] = unseen[--unseenCount]!;
        unseen[unseenCount] = position;
        cameFrom[position] = bidder;
        if (left[position]! > 0) end = position;
        else for (const holder of holders[position]!) queue[tail++] = holder;
      }
    }
    if (end < 0) continue;
    left[end] = left[end]! - 1;
    for (let position = end; ;) {
      const bidder = cameFrom[position]!;
      const given = objectOf[bidder]!;
      objectOf[bidder] = position;
      holders[position]!.push(bidder);
      if (given < 0) break;
      holders[given]!.splice(holders[given]!.indexOf(bidder), 1);
      position = given;
    }
    unseenCount = before;
  }
}

function holdersOf(objectOf: Int32Array, count: number): number[][] {
  const holders = Array.from({ length: count }, (): number[] => []);
  for (let bidder = 0; bidder < objectOf.length; bidder++) {
    if (objectOf[bidder]! >= 0) holders[objectOf[bidder]!]!.push(bidder);
  }
  return holders;
}
