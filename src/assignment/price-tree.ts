/**
 * A k-d tree over points that have prices: the points with the greatest -distance - price to a place, by branch and
 * bound over boxes that know the least price inside. Exact whatever the prices: a box is left out only where no point in
 * it can be better (rounding is monotone, so the bound of a box holds bit for bit; that of a plane has a margin). Memory linear in the points.
 *
 * In the plane, where large swarms are, the search is written out beside that for any width, and once more for prices that fall as distances grow:
 * that makes it past 400 lines.
 */
import type { PointTree } from './point-tree.js';
import { margin, planeNumbers, PricePlanes } from './price-planes.js';

/** Nodes on the way down, twice: more than any tree of 2^31 points needs. */
const stackSize = 128;
/** After so many searches that took more steps than this on average, prices are looked at through planes. */
const trialSearches = 1024;
const manySteps = 100;

/**
 * Prices over a tree's points. Boxes and points are kept together with their prices, so that a search finds what it needs
 * of a node in one place: it waits for memory more than for arithmetic.
 */
export class PriceLayer {
  readonly tree: PointTree;
  /** [count] by position; Infinity: not to be had. Change them by `raise`, or call `refresh` afterwards. */
  readonly prices: Float64Array;
  /** At least the value of every point that the last `best` neither found nor knew to be worse than what it found. */
  passedOver = -Infinity;
  /** [nodes, 2 width + 1] box and least price. */
  readonly #nodes: Float64Array;
  /** [count, width + 1] point and price. */
  readonly #leaves: Float64Array;
  /** Null until they are worth their cost, which evenly spread bidders would never get back. */
  #planes: PricePlanes | null = null;
  #searches = 0;
  #steps = 0;
  readonly #stackNode = new Int32Array(stackSize);
  readonly #stackBound = new Float64Array(stackSize);

  constructor(tree: PointTree) {
    const { width, count, nodeCount, boxes, points } = tree;
    this.tree = tree;
    this.prices = new Float64Array(count);
    this.#nodes = new Float64Array(nodeCount * (2 * width + 1));
    this.#leaves = new Float64Array(count * (width + 1));
    for (let node = 0; node < nodeCount; node++) {
      for (let c = 0; c < 2 * width; c++) this.#nodes[node * (2 * width + 1) + c] = boxes[node * 2 * width + c]!;
    }
    for (let at = 0; at < count; at++) {
      for (let c = 0; c < width; c++) this.#leaves[at * (width + 1) + c] = points[at * width + c]!;
    }
  }

  /** Makes the boxes know `prices` again. O(count), with planes O(count log count). */
  refresh(): void {
    const { child, nodeCount, width, count } = this.tree;
    const nodes = this.#nodes;
    const stride = 2 * width + 1;
    for (let at = 0; at < count; at++) this.#leaves[at * (width + 1) + width] = this.prices[at]!;
    for (let node = nodeCount - 1; node >= 0; node--) {
      const first = child[node]!;
      nodes[node * stride + 2 * width] =
        first === 0
          ? this.#leastInLeaf(node)
          : Math.min(nodes[first * stride + 2 * width]!, nodes[(first + 1) * stride + 2 * width]!);
    }
    this.#planes?.lay();
  }

  #leastInLeaf(node: number): number {
    const end = this.tree.to[node]!;
    let least = Infinity;
    for (let at = this.tree.from[node]!; at < end; at++) if (this.prices[at]! < least) least = this.prices[at]!;
    return least;
  }

  raise(position: number, price: number): void {
    const { leafAt, width } = this.tree;
    const before = this.prices[position]!;
    this.prices[position] = price;
    this.#leaves[position * (width + 1) + width] = price;
    this.#raiseLeast(leafAt[position]!, before);
    if (this.#planes !== null) this.#planes.raised(leafAt[position]!);
  }

  /** The same where many are raised: boxes know less than they could until the next `refresh`, and searches take longer. */
  raiseRoughly(position: number, price: number): void {
    const { width } = this.tree;
    this.prices[position] = price;
    this.#leaves[position * (width + 1) + width] = price;
  }

  #raiseLeast(leaf: number, before: number): void {
    const { parent, width } = this.tree;
    const nodes = this.#nodes;
    const stride = 2 * width + 1;
    let node = leaf;
    if (before > nodes[node * stride + 2 * width]!) return;
    let least = this.#leastInLeaf(node);
    while (least !== nodes[node * stride + 2 * width]!) {
      nodes[node * stride + 2 * width] = least;
      if (node === 0) return;
      // Children are neighbours, the first of them odd.
      const sibling = (node & 1) === 1 ? node + 1 : node - 1;
      node = parent[node]!;
      least = Math.min(least, nodes[sibling * stride + 2 * width]!);
    }
  }

  /**
   * The `limit` positions with the greatest -|point - place| - price, greatest first, into `positions` and `values`
   * (room for `limit` each); returns how many there are with a finite price. `place` [width] starts at `offset` of
   * `places`. Positions whose `marks` entry is `mark` are left out. What is at most `slack` better than the last found may be
   * passed over, which is much quicker where many are alike; `passedOver` then bounds it. Nothing worth `least` or less is found: whoever
   * knows about how good the last one will be spares the search half of its work.
   */
  best(
    places: Float64Array,
    offset: number,
    limit: number,
    positions: Int32Array,
    values: Float64Array,
    slack: number,
    marks: Int32Array | null,
    mark: number,
    least = -Infinity,
  ): number {
    if (this.tree.count === 0) return 0;
    if (this.tree.width !== 2) {
      return this.#bestInSpace(places, offset, limit, positions, values, slack, marks, mark, least);
    }
    const x = places[offset]!;
    const y = places[offset + 1]!;
    const planes = this.#planes?.planes;
    if (planes !== undefined) {
      return this.#bestByPlanes(planes, x, y, limit, positions, values, slack, marks, mark, least);
    }
    const found = this.#bestInPlane(x, y, limit, positions, values, slack, marks, mark, least);
    if (++this.#searches === trialSearches) {
      if (this.#steps > trialSearches * manySteps) this.#planes = new PricePlanes(this.tree, this.#leaves);
      this.#searches = 0;
      this.#steps = 0;
    }
    return found;
  }

  #bestInSpace(
    places: Float64Array,
    offset: number,
    limit: number,
    positions: Int32Array,
    values: Float64Array,
    slack: number,
    marks: Int32Array | null,
    mark: number,
    least: number,
  ): number {
    const { width, child, from, to } = this.tree;
    const leaves = this.#leaves;
    const nodes = this.#stackNode;
    const bounds = this.#stackBound;
    let found = 0;
    let worst = least;
    let passed = -Infinity;
    let top = 0;
    nodes[0] = 0;
    bounds[0] = this.#bound(0, places, offset);
    while (top >= 0) {
      let node = nodes[top]!;
      let bound = bounds[top--]!;
      while (bound > worst) {
        if (bound <= worst + slack) {
          if (bound > passed) passed = bound;
          break;
        }
        const first = child[node]!;
        if (first === 0) {
          for (let at = from[node]!, end = to[node]!; at < end; at++) {
            let square = 0;
            let p = at * (width + 1);
            for (let c = 0; c < width; c++, p++) {
              const difference = leaves[p]! - places[offset + c]!;
              square += difference * difference;
            }
            const value = -Math.sqrt(square) - leaves[p]!;
            if (!(value > worst) || (marks !== null && marks[at] === mark)) continue;
            if (found < limit) found++;
            place(at, value, found, positions, values);
            if (found === limit) worst = values[limit - 1]!;
          }
          break;
        }
        const a = this.#bound(first, places, offset);
        const b = this.#bound(first + 1, places, offset);
        const nearer = a >= b ? 0 : 1;
        nodes[++top] = first + 1 - nearer;
        bounds[top] = nearer === 0 ? b : a;
        node = first + nearer;
        bound = nearer === 0 ? a : b;
      }
    }
    this.passedOver = passed;
    return found;
  }

  /** At least the value of every point in the node. */
  #bound(node: number, places: Float64Array, offset: number): number {
    const { width } = this.tree;
    const nodes = this.#nodes;
    let square = 0;
    let b = node * (2 * width + 1);
    for (let c = 0; c < width; c++, b += 2) {
      const at = places[offset + c]!;
      const beyond = Math.max(nodes[b]! - at, at - nodes[b + 1]!, 0);
      square += beyond * beyond;
    }
    return -Math.sqrt(square) - nodes[b]!;
  }

  /**
   * The same where nearly all calls are: two coordinates, without loops over them. Boxes are compared by squares, as a root costs more than the
   * rest of a visit; what rounding or `slack` leaves out is bounded by the root itself.
   */
  #bestInPlane(
    x: number,
    y: number,
    limit: number,
    positions: Int32Array,
    values: Float64Array,
    slack: number,
    marks: Int32Array | null,
    mark: number,
    least: number,
  ): number {
    const { child, from, to } = this.tree;
    const boxes = this.#nodes;
    const leaves = this.#leaves;
    const nodes = this.#stackNode;
    let found = 0;
    let worst = least;
    let passed = -Infinity;
    let top = 0;
    let steps = 0;
    nodes[0] = 0;
    while (top >= 0) {
      let node = nodes[top--]!;
      steps++;
      // What waited on the stack may have become worse than what was found since.
      const square = squareToBox(boxes, 5 * node, x, y);
      const reach = -boxes[5 * node + 4]! - worst - slack;
      if (!(reach > 0 && square < reach * reach)) {
        const bound = -Math.sqrt(square) - boxes[5 * node + 4]!;
        if (bound > worst && bound > passed) passed = bound;
        continue;
      }
      for (;;) {
        const first = child[node]!;
        if (first === 0) {
          for (let at = from[node]!, end = to[node]!, p = 3 * at; at < end; at++, p += 3) {
            const price = leaves[p + 2]!;
            const within = -price - worst;
            const dx = leaves[p]! - x;
            const dy = leaves[p + 1]! - y;
            const squareToPoint = dx * dx + dy * dy;
            // It decides only where rounding is as large as the difference.
            if (!(within > 0 && squareToPoint <= within * within)) continue;
            const value = -Math.sqrt(squareToPoint) - price;
            if (!(value > worst) || (marks !== null && marks[at] === mark)) continue;
            if (found < limit) found++;
            place(at, value, found, positions, values);
            if (found === limit) worst = values[limit - 1]!;
          }
          break;
        }
        const b = 5 * first;
        const one = squareToBox(boxes, b, x, y);
        const other = squareToBox(boxes, b + 5, x, y);
        const oneReach = -boxes[b + 4]! - worst - slack;
        const otherReach = -boxes[b + 9]! - worst - slack;
        const takesOne = oneReach > 0 && one < oneReach * oneReach;
        const takesOther = otherReach > 0 && other < otherReach * otherReach;
        if (takesOne && takesOther) {
          const isFirst = -Math.sqrt(one) - boxes[b + 4]! >= -Math.sqrt(other) - boxes[b + 9]!;
          nodes[++top] = isFirst ? first + 1 : first;
          node = isFirst ? first : first + 1;
          continue;
        }
        if (!takesOne) {
          const bound = -Math.sqrt(one) - boxes[b + 4]!;
          if (bound > worst && bound > passed) passed = bound;
        }
        if (!takesOther) {
          const bound = -Math.sqrt(other) - boxes[b + 9]!;
          if (bound > worst && bound > passed) passed = bound;
        }
        if (!takesOne && !takesOther) break;
        node = takesOne ? first : first + 1;
      }
    }
    this.#steps += steps;
    this.passedOver = passed;
    return found;
  }

  /** The same with planes: what a box may hold is known before it is opened, and decides which one is opened first. */
  #bestByPlanes(
    planes: Float64Array,
    x: number,
    y: number,
    limit: number,
    positions: Int32Array,
    values: Float64Array,
    slack: number,
    marks: Int32Array | null,
    mark: number,
    least: number,
  ): number {
    const { child, from, to } = this.tree;
    const boxes = this.#nodes;
    const leaves = this.#leaves;
    const nodes = this.#stackNode;
    const bounds = this.#stackBound;
    let found = 0;
    let worst = least;
    let passed = -Infinity;
    let top = 0;
    nodes[0] = 0;
    bounds[0] = Infinity;
    while (top >= 0) {
      let node = nodes[top]!;
      let bound = bounds[top--]!;
      while (bound > worst + slack) {
        const first = child[node]!;
        if (first === 0) {
          for (let at = from[node]!, end = to[node]!, p = 3 * at; at < end; at++, p += 3) {
            const price = leaves[p + 2]!;
            const within = -price - worst;
            const dx = leaves[p]! - x;
            const dy = leaves[p + 1]! - y;
            const squareToPoint = dx * dx + dy * dy;
            if (!(within > 0 && squareToPoint <= within * within)) continue;
            const value = -Math.sqrt(squareToPoint) - price;
            if (!(value > worst) || (marks !== null && marks[at] === mark)) continue;
            if (found < limit) found++;
            place(at, value, found, positions, values);
            if (found === limit) worst = values[limit - 1]!;
          }
          bound = -Infinity;
          break;
        }
        const one = boundByPlane(boxes, planes, first, x, y, worst, slack);
        const other = boundByPlane(boxes, planes, first + 1, x, y, worst, slack);
        const isFirst = one >= other;
        const lesser = isFirst ? other : one;
        if (lesser > worst + slack) {
          nodes[++top] = isFirst ? first + 1 : first;
          bounds[top] = lesser;
        } else if (lesser > worst && lesser > passed) passed = lesser;
        node = isFirst ? first : first + 1;
        bound = isFirst ? one : other;
      }
      // What waited on the stack may have become worse than what was found since.
      if (bound > worst && bound > passed) passed = bound;
    }
    this.passedOver = passed;
    return found;
  }
}

/** At least the value of every point of the node at a place; the plane is asked only where the box leaves it in question. */
function boundByPlane(
  boxes: Float64Array,
  planes: Float64Array,
  node: number,
  x: number,
  y: number,
  worst: number,
  slack: number,
): number {
  const b = 5 * node;
  const lowX = boxes[b]!;
  const highX = boxes[b + 1]!;
  const lowY = boxes[b + 2]!;
  const highY = boxes[b + 3]!;
  const dx = Math.max(lowX - x, x - highX, 0);
  const dy = Math.max(lowY - y, y - highY, 0);
  const bound = -Math.sqrt(dx * dx + dy * dy) - boxes[b + 4]!;
  if (bound <= worst + slack) return bound;
  // -distance is nowhere above its tangent in the middle of the box.
  const middleX = 0.5 * (lowX + highX) - x;
  const middleY = 0.5 * (lowY + highY) - y;
  const distance = Math.sqrt(middleX * middleX + middleY * middleY);
  const share = distance > 0 ? 1 / distance : 0;
  const p = planeNumbers * node;
  const turnX = Math.abs(planes[p + 1]! + middleX * share);
  const turnY = Math.abs(planes[p + 2]! + middleY * share);
  const most = 0.5 * (turnX * (highX - lowX) + turnY * (highY - lowY)) - distance * (1 - margin) - planes[p]!;
  return most < bound ? most : bound;
}

/** Squared distance of a place to the box that begins at `b`. */
function squareToBox(boxes: Float64Array, b: number, x: number, y: number): number {
  const dx = Math.max(boxes[b]! - x, x - boxes[b + 1]!, 0);
  const dy = Math.max(boxes[b + 2]! - y, y - boxes[b + 3]!, 0);
  return dx * dx + dy * dy;
}

/** Puts a value into a falling list of `count` entries, the last of which is free or falls off. */
function place(position: number, value: number, count: number, positions: Int32Array, values: Float64Array): void {
  let slot = count - 1;
  for (; slot > 0 && values[slot - 1]! < value; slot--) {
    values[slot] = values[slot - 1]!;
    positions[slot] = positions[slot - 1]!;
  }
  values[slot] = value;
  positions[slot] = position;
}
