/**
 * A k-d tree over points that have prices: the points with the greatest -distance - price to a place, by branch and
 * bound over boxes that know the least price inside. Exact whatever the prices: a box is left out only where no point in
 * it can be better (rounding is monotone, so the bound holds bit for bit). Memory linear in the points.
 *
 * Points have positions, their order in the tree's leaves: what is near in space is near in memory. Past 400 lines, as the search in the plane
 * is written out beside that for any width: it is where large swarms spend their time.
 */

/** Points in a leaf at most. */
const leafSize = 8;
/** Nodes on the way down, twice: more than any tree of 2^31 points needs. */
const stackSize = 128;

/** The tree itself; shared by all layers of prices over the same points. */
export class PointTree {
  readonly count: number;
  readonly width: number;
  /** [count] position -> row of the input. */
  readonly rowAt: Int32Array;
  /** [count,width] by position. */
  readonly points: Float64Array;
  nodeCount = 1;
  /** [nodes] first of two children, which are neighbours and come after their parent; 0 in a leaf. */
  readonly child: Int32Array;
  readonly parent: Int32Array;
  /** [nodes] positions from, to. */
  readonly from: Int32Array;
  readonly to: Int32Array;
  /** [nodes,2 width] least and greatest coordinates, one after the other. */
  readonly boxes: Float64Array;
  /** [count] leaf of a position. */
  readonly leafAt: Int32Array;

  /** `data` [*,stride], of which the first `width` columns of each of `rows` are a point. All finite. */
  constructor(data: Float32Array, stride: number, width: number, rows: Int32Array) {
    const count = rows.length;
    this.count = count;
    this.width = width;
    this.rowAt = rows.slice();
    const points = new Float64Array(count * width);
    for (let at = 0; at < count; at++) {
      const start = rows[at]! * stride;
      for (let c = 0; c < width; c++) points[at * width + c] = data[start + c]!;
    }
    // Halving stops at leafSize, so a leaf holds more than half of it (but for a tree of one leaf).
    const nodes = 2 * Math.ceil((2 * count) / leafSize) + 1;
    this.child = new Int32Array(nodes);
    this.parent = new Int32Array(nodes).fill(-1);
    this.from = new Int32Array(nodes);
    this.to = new Int32Array(nodes);
    this.boxes = new Float64Array(nodes * 2 * width);
    this.leafAt = new Int32Array(count);
    const order = Int32Array.from(rows, (_, at) => at);
    this.#build(points, order, 0, 0, count);
    this.points = new Float64Array(count * width);
    for (let at = 0; at < count; at++) {
      const old = order[at]!;
      this.rowAt[at] = rows[old]!;
      for (let c = 0; c < width; c++) this.points[at * width + c] = points[old * width + c]!;
    }
  }

  #build(points: Float64Array, order: Int32Array, node: number, from: number, to: number): void {
    const { width, boxes } = this;
    this.from[node] = from;
    this.to[node] = to;
    let axis = 0;
    let widest = -1;
    for (let c = 0; c < width; c++) {
      let least = Infinity;
      let greatest = -Infinity;
      for (let at = from; at < to; at++) {
        const value = points[order[at]! * width + c]!;
        if (value < least) least = value;
        if (value > greatest) greatest = value;
      }
      boxes[2 * (node * width + c)] = least;
      boxes[2 * (node * width + c) + 1] = greatest;
      if (greatest - least > widest) {
        widest = greatest - least;
        axis = c;
      }
    }
    if (to - from <= leafSize) {
      for (let at = from; at < to; at++) this.leafAt[at] = node;
      return;
    }
    const middle = (from + to) >>> 1;
    select(points, width, axis, order, from, to - 1, middle);
    const child = this.nodeCount;
    this.nodeCount += 2;
    this.child[node] = child;
    this.parent[child] = node;
    this.parent[child + 1] = node;
    this.#build(points, order, child, from, middle);
    this.#build(points, order, child + 1, middle, to);
  }
}

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

  /** Makes the boxes know `prices` again. O(count) */
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
  }

  #leastInLeaf(node: number): number {
    const end = this.tree.to[node]!;
    let least = Infinity;
    for (let at = this.tree.from[node]!; at < end; at++) if (this.prices[at]! < least) least = this.prices[at]!;
    return least;
  }

  raise(position: number, price: number): void {
    const { leafAt, parent, width } = this.tree;
    const nodes = this.#nodes;
    const stride = 2 * width + 1;
    const before = this.prices[position]!;
    this.prices[position] = price;
    this.#leaves[position * (width + 1) + width] = price;
    let node = leafAt[position]!;
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
    return this.tree.width === 2
      ? this.#bestInPlane(places[offset]!, places[offset + 1]!, limit, positions, values, slack, marks, mark, least)
      : this.#bestInSpace(places, offset, limit, positions, values, slack, marks, mark, least);
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
    nodes[0] = 0;
    while (top >= 0) {
      let node = nodes[top--]!;
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
    this.passedOver = passed;
    return found;
  }
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

/** Puts the `k`-th of `order[left..right]` by coordinate `axis` at its place, smaller ones before it. Linear on average, ties included. */
function select(
  points: Float64Array,
  width: number,
  axis: number,
  order: Int32Array,
  left: number,
  right: number,
  k: number,
): void {
  while (right > left) {
    const pivot = medianOfThree(
      points[order[left]! * width + axis]!,
      points[order[(left + right) >>> 1]! * width + axis]!,
      points[order[right]! * width + axis]!,
    );
    let i = left;
    let j = right;
    while (i <= j) {
      while (points[order[i]! * width + axis]! < pivot) i++;
      while (points[order[j]! * width + axis]! > pivot) j--;
      if (i > j) break;
      const swap = order[i]!;
      order[i++] = order[j]!;
      order[j--] = swap;
    }
    if (k <= j) right = j;
    else if (k >= i) left = i;
    else return;
  }
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
