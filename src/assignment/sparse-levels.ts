/**
 * Prices to start an auction in space from: those of a problem with a quarter of the points, solved in the same way. What is
 * next to each other in a tree's order is next to each other in space, so four neighbours become one point in their middle; the
 * coarse problem has the same wide flows as the fine one, and finds their prices with a fraction of the bids.
 */
import { PointTree } from './point-tree.js';
import { PriceLayer } from './price-tree.js';
import { type Interrupted, SparseAuction } from './sparse-auction.js';
import { DistanceMarket } from './sparse-market.js';

/** Points that become one. */
const blockSize = 4;
/** Below this many bidders a problem is solved from nothing. */
const smallest = 1500;
/** A coarse problem is solved until it is within this share of its best. */
const coarseGap = 0.05;
/** Between the phases of an auction. */
export const epsilonFactor = 4;
/** The first epsilon of a finer level over the last of the coarser one. */
const epsilonRise = 24;
/**
 * But no more than this share of the mean distance of the coarser level's pairs: prices that are known better would be thrown away. Much less
 * costs more bids than it saves. One phase later the gap of points spread evenly is 0.9 to 1.6 %, with which AUTO is content.
 */
const epsilonShare = 0.35;
/** The first epsilon where there is no coarser level, as a share of the longest distance. */
const firstShare = 0.18;
const candidates = 16;

export interface LevelStart {
  readonly epsilon: number;
}

/**
 * Writes prices to start from into `market` (objects of `objects`, bidders of `bidders`, both with positions in the trees' order)
 * and gives the epsilon to go on with; null where interrupted or where the problem is small. Not more bidders than objects.
 */
export function startFromCoarse(
  market: DistanceMarket,
  bidders: PointTree,
  objects: PointTree,
  interrupted: Interrupted,
): LevelStart | null {
  if (bidders.count < smallest) return null;
  const coarse = solveLevel(coarsened(bidders), coarsened(objects), interrupted);
  if (coarse === null) return null;
  // The least prices at which no coarse bidder is better off than it is: a price for every place in space, smooth between points.
  const position = new Int32Array(1);
  const value = new Float64Array(1);
  let least = Infinity;
  for (let at = 0; at < objects.count; at++) {
    coarse.worths.best(objects.points, at * objects.width, 1, position, value, 0, null, 0);
    market.prices[at] = value[0]!;
    least = Math.min(least, value[0]!);
  }
  for (let at = 0; at < objects.count; at++) market.prices[at] = market.prices[at]! - least;
  market.refresh();
  return {
    epsilon: Math.min(epsilonRise * coarse.epsilon, Math.max(epsilonShare * coarse.meanDistance, coarse.epsilon)),
  };
}

/** The longest distance between points of two trees, at most. */
export function reachOf(one: PointTree, other: PointTree): number {
  let square = 0;
  for (let c = 0; c < one.width; c++) {
    const low = Math.min(one.boxes[2 * c]!, other.boxes[2 * c]!);
    const high = Math.max(one.boxes[2 * c + 1]!, other.boxes[2 * c + 1]!);
    square += (high - low) ** 2;
  }
  return Math.sqrt(square);
}

interface SolvedLevel {
  /** Bidders with what they gain as prices. */
  readonly worths: PriceLayer;
  readonly epsilon: number;
  /** Of the pairs. */
  readonly meanDistance: number;
}

function solveLevel(bidders: PointTree, objects: PointTree, interrupted: Interrupted): SolvedLevel | null {
  const order = bidders.rowAt;
  const places = new Float64Array(bidders.count * bidders.width);
  for (let at = 0; at < order.length; at++) {
    for (let c = 0; c < bidders.width; c++) {
      places[order[at]! * bidders.width + c] = bidders.points[at * bidders.width + c]!;
    }
  }
  const market = new DistanceMarket(objects, places, objects.count, null);
  const reach = reachOf(bidders, objects);
  let epsilon = startFromCoarse(market, bidders, objects, interrupted)?.epsilon ?? firstShare * reach;
  const auction = new SparseAuction({
    market,
    bidders: order,
    places: null,
    floor: -Infinity,
    candidates,
    largestRaise: 2 * reach,
    priceCap: Infinity,
  });
  const worths = new PriceLayer(bidders);
  const position = new Int32Array(1);
  const value = new Float64Array(1);
  let objective = 0;
  for (let phase = 0; ; phase++) {
    if (interrupted()) return null;
    if (phase > 0) auction.release(epsilon);
    if (!auction.run(epsilon, interrupted)) return null;
    objective = 0;
    let bound = 0;
    for (const price of market.prices) bound += price;
    for (let at = 0; at < order.length; at++) {
      const object = auction.objectOf[at]!;
      let square = 0;
      for (let c = 0; c < bidders.width; c++) {
        square += (bidders.points[at * bidders.width + c]! - objects.points[object * bidders.width + c]!) ** 2;
      }
      objective -= Math.sqrt(square);
      market.best(order[at]!, 1, position, value, 0.1 * epsilon);
      worths.prices[at] = value[0]!;
      bound += value[0]!;
    }
    if (bound - objective <= coarseGap * -objective || epsilon < 1e-9 * reach) break;
    epsilon /= epsilonFactor;
  }
  worths.refresh();
  return { worths, epsilon, meanDistance: -objective / order.length };
}

/** The middles of `blockSize` neighbours each. */
function coarsened(tree: PointTree): PointTree {
  const { count, width, points } = tree;
  const blocks = Math.ceil(count / blockSize);
  const middles = new Float32Array(blocks * width);
  const rows = new Int32Array(blocks);
  for (let block = 0; block < blocks; block++) {
    rows[block] = block;
    const from = block * blockSize;
    const to = Math.min(from + blockSize, count);
    for (let c = 0; c < width; c++) {
      let sum = 0;
      for (let at = from; at < to; at++) sum += points[at * width + c]!;
      middles[block * width + c] = sum / (to - from);
    }
  }
  return new PointTree(middles, width, width, rows);
}
