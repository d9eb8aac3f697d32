/**
 * Planes below the prices of the boxes of a tree in the plane. Where a whole swarm has the same way to go, prices fall as distances grow: all
 * objects are worth nearly the same to everybody, and of a box with its least price alone nothing can be said before it is as small as
 * the differences. Its plane says that what is near is dear.
 */
import type { PointTree } from './point-tree.js';

/** Of a node: height in the middle of its box, slopes. */
export const planeNumbers = 3;
/** Covers what the rounding of heights and distances may be, as a share of what they are made of. */
export const margin = 1e-13;
/** Raises of a price after which planes are laid anew, as a share of the points. */
const life = 0.25;
const momentCount = 9;

export class PricePlanes {
  /** [nodes, planeNumbers] prices are at least height + slopes . (point - middle of the box). */
  readonly planes: Float64Array;
  readonly #tree: PointTree;
  /** [count,3] point and price. */
  readonly #leaves: Float64Array;
  /** [nodes] so much lower is the plane of the parent in its middle, if it is nowhere in the node above that of the node. */
  readonly #drop: Float64Array;
  /** [nodes, momentCount] sums over points from the middle of the box: 1, x, y, xx, xy, yy, price, x price, y price. */
  readonly #moments: Float64Array;
  #raisesLeft = 0;

  /** `leaves` [count,3]: points with their prices, which the caller changes. */
  constructor(tree: PointTree, leaves: Float64Array) {
    this.#tree = tree;
    this.#leaves = leaves;
    this.planes = new Float64Array(tree.nodeCount * planeNumbers);
    this.#drop = new Float64Array(tree.nodeCount);
    this.#moments = new Float64Array(tree.nodeCount * momentCount);
    this.lay();
  }

  /** Anew for whatever prices, by least squares: any slopes do, these are good ones. O(count log count) */
  lay(): void {
    const { nodeCount, count, child, parent } = this.#tree;
    this.#raisesLeft = life * count;
    for (let node = nodeCount - 1; node >= 0; node--) {
      this.#sumUp(node, child[node]!);
      this.#slope(node);
      this.planes[node * planeNumbers] = this.#heightOver(node);
    }
    for (let node = 1; node < nodeCount; node++) this.#drop[node] = this.#dropBelow(node, parent[node]!);
  }

  /** A price in the leaf was raised. */
  raised(leaf: number): void {
    const { parent } = this.#tree;
    const { planes } = this;
    if (--this.#raisesLeft <= 0) {
      this.lay();
      return;
    }
    let node = leaf;
    let height = this.#heightOver(node);
    while (height > planes[node * planeNumbers]!) {
      planes[node * planeNumbers] = height;
      if (node === 0) return;
      // Children are neighbours, the first of them odd.
      const sibling = (node & 1) === 1 ? node + 1 : node - 1;
      height = Math.min(height - this.#drop[node]!, planes[sibling * planeNumbers]! - this.#drop[sibling]!);
      node = parent[node]!;
    }
  }

  #sumUp(node: number, first: number): void {
    const moments = this.#moments;
    const to = node * momentCount;
    moments.fill(0, to, to + momentCount);
    const middleX = this.#middle(node, 0);
    const middleY = this.#middle(node, 1);
    if (first === 0) {
      const { from, to: ends } = this.#tree;
      for (let p = 3 * from[node]!, end = 3 * ends[node]!; p < end; p += 3) {
        const price = this.#leaves[p + 2]!;
        if (price === Infinity) continue;
        const x = this.#leaves[p]! - middleX;
        const y = this.#leaves[p + 1]! - middleY;
        moments[to] = moments[to]! + 1;
        moments[to + 1] = moments[to + 1]! + x;
        moments[to + 2] = moments[to + 2]! + y;
        moments[to + 3] = moments[to + 3]! + x * x;
        moments[to + 4] = moments[to + 4]! + x * y;
        moments[to + 5] = moments[to + 5]! + y * y;
        moments[to + 6] = moments[to + 6]! + price;
        moments[to + 7] = moments[to + 7]! + x * price;
        moments[to + 8] = moments[to + 8]! + y * price;
      }
      return;
    }
    for (let part = first; part <= first + 1; part++) {
      const from = part * momentCount;
      const dx = this.#middle(part, 0) - middleX;
      const dy = this.#middle(part, 1) - middleY;
      const count = moments[from]!;
      const x = moments[from + 1]!;
      const y = moments[from + 2]!;
      const price = moments[from + 6]!;
      moments[to] = moments[to]! + count;
      moments[to + 1] = moments[to + 1]! + x + count * dx;
      moments[to + 2] = moments[to + 2]! + y + count * dy;
      moments[to + 3] = moments[to + 3]! + moments[from + 3]! + dx * (2 * x + count * dx);
      moments[to + 4] = moments[to + 4]! + moments[from + 4]! + dx * y + dy * x + count * dx * dy;
      moments[to + 5] = moments[to + 5]! + moments[from + 5]! + dy * (2 * y + count * dy);
      moments[to + 6] = moments[to + 6]! + price;
      moments[to + 7] = moments[to + 7]! + moments[from + 7]! + dx * price;
      moments[to + 8] = moments[to + 8]! + moments[from + 8]! + dy * price;
    }
  }

  #slope(node: number): void {
    const moments = this.#moments;
    const m = node * momentCount;
    const count = moments[m]!;
    const share = count > 2 ? 1 / count : 0;
    const x = moments[m + 1]!;
    const y = moments[m + 2]!;
    const price = moments[m + 6]!;
    const xx = moments[m + 3]! - x * x * share;
    const xy = moments[m + 4]! - x * y * share;
    const yy = moments[m + 5]! - y * y * share;
    const xPrice = moments[m + 7]! - x * price * share;
    const yPrice = moments[m + 8]! - y * price * share;
    const determinant = xx * yy - xy * xy;
    const isLine = !(count > 2 && determinant > 1e-6 * xx * yy);
    const p = node * planeNumbers;
    this.planes[p + 1] = isLine ? 0 : slopeWithin((xPrice * yy - yPrice * xy) / determinant);
    this.planes[p + 2] = isLine ? 0 : slopeWithin((yPrice * xx - xPrice * xy) / determinant);
  }

  /** The greatest height of the node's plane that no point of it is below, less what rounding may be. */
  #heightOver(node: number): number {
    const { from, to } = this.#tree;
    const leaves = this.#leaves;
    const middleX = this.#middle(node, 0);
    const middleY = this.#middle(node, 1);
    const slopeX = this.planes[node * planeNumbers + 1]!;
    const slopeY = this.planes[node * planeNumbers + 2]!;
    let height = Infinity;
    for (let p = 3 * from[node]!, end = 3 * to[node]!; p < end; p += 3) {
      const above = leaves[p + 2]! - slopeX * (leaves[p]! - middleX) - slopeY * (leaves[p + 1]! - middleY);
      if (above < height) height = above;
    }
    return height === Infinity ? height : height - margin * (Math.abs(height) + this.#extent(node));
  }

  #dropBelow(node: number, above: number): number {
    const { boxes } = this.#tree;
    let drop = 0;
    for (let c = 0; c < 2; c++) {
      const slope = this.planes[node * planeNumbers + 1 + c]!;
      const slopeAbove = this.planes[above * planeNumbers + 1 + c]!;
      const half = 0.5 * (boxes[4 * node + 2 * c + 1]! - boxes[4 * node + 2 * c]!);
      drop += Math.abs(slope - slopeAbove) * half - slopeAbove * (this.#middle(above, c) - this.#middle(node, c));
    }
    return drop + margin * this.#extent(above);
  }

  #middle(node: number, c: number): number {
    const { boxes } = this.#tree;
    return 0.5 * (boxes[4 * node + 2 * c]! + boxes[4 * node + 2 * c + 1]!);
  }

  /** No coordinate in the box is larger than a part of this. */
  #extent(node: number): number {
    const { boxes } = this.#tree;
    let sum = 0;
    for (let at = 4 * node, end = at + 4; at < end; at++) sum += Math.abs(boxes[at]!);
    return 2 * sum;
  }
}

/** Prices of neighbours do not differ by more than the way between them for long. */
function slopeWithin(slope: number): number {
  return Math.max(-1, Math.min(1, slope));
}
