/**
 * The upper bound of a sparse assignment: over all pairs, whatever the prices.
 *
 * For prices p >= 0 of objects with b places and r_i = max_j (w_ij - p_j) over ALL objects, no assignment in which each of K bidders
 * has an object is worth more than sum b p + the K greatest r; with a floor (what a bidder has without an object) none is
 * worth more than sum b p + sum max(r, floor). Where K is not known but at least `cardinality`, what the others could add
 * is counted as well. (The same duality as in bound.ts, for either side as bidders.)
 */
import { DistanceMarket, type Market } from './sparse-market.js';
import type { Interrupted } from './sparse-auction.js';

export interface BoundOptions {
  readonly market: Market;
  /** [n] the market's index of each bidder. */
  readonly bidders: Int32Array;
  /** By position; null: 1 each. */
  readonly places: Int32Array | null;
  readonly floor: number;
  /** Bidders that the answer gives an object to. */
  readonly cardinality: number;
  /** No assignment gives more bidders an object. */
  readonly isGreatest: boolean;
  /** The bound may be looser by this per bidder, for the sake of time. */
  readonly slack: number;
}

/** Bidders that one search may stand for. */
const largestGroup = 256;

/** How far sums of `terms` numbers of total size `size` may be off: the bound's and the objective's own. */
export function roundingOf(terms: number, size: number): number {
  return 2 * (terms + 8) * Number.EPSILON * size;
}

/** Neighbours that are near enough to each other to be bounded together. */
function groupSize(market: DistanceMarket, bidders: Int32Array, slack: number): number {
  for (let size = largestGroup; size > 1; size /= 4) if (market.meanSpan(bidders, size) <= slack) return size;
  return 1;
}

/** The bound, rounding covered; null where interrupted. n searches. */
export function sparseBound(options: BoundOptions, interrupted: Interrupted): number | null {
  const { market, bidders, places, floor, cardinality, isGreatest, slack } = options;
  const position = new Int32Array(1);
  const value = new Float64Array(1);
  const rows = new Float64Array(bidders.length);
  let bound = 0;
  let size = 0;
  for (let at = 0; at < market.count; at++) {
    const price = market.prices[at]! * (places === null ? 1 : places[at]!);
    bound += price;
    size += Math.abs(price);
  }
  const group = market instanceof DistanceMarket ? groupSize(market, bidders, slack) : 1;
  for (let at = 0; at < bidders.length; at++) {
    if ((at & 63) === 0 && interrupted()) return null;
    if (group > 1 && market instanceof DistanceMarket) {
      const to = Math.min(at + group, bidders.length);
      market.boundGroup(bidders, at, to, slack, rows);
      at = to - 1;
      continue;
    }
    // Bidders that are alike stand next to each other.
    if (at > 0 && bidders[at] === bidders[at - 1]) rows[at] = rows[at - 1]!;
    else if (market.best(bidders[at]!, 1, position, value, slack) === 0) rows[at] = -Infinity;
    else rows[at] = Math.max(value[0]!, market.passedOver);
  }
  if (floor > -Infinity) {
    for (const row of rows) {
      const worth = Math.max(row, floor);
      bound += worth;
      size += Math.abs(worth);
    }
  } else {
    if (cardinality < rows.length) rows.sort();
    for (let rank = 0; rank < rows.length; rank++) {
      const row = rows[rows.length - 1 - rank]!;
      if (rank >= cardinality && (isGreatest || row <= 0)) break;
      if (row === -Infinity) break;
      bound += row;
      size += Math.abs(row);
    }
  }
  return bound + roundingOf(rows.length + market.count, size);
}
