/**
 * A k-d tree over points in space. Points have positions, their order in the tree's leaves: what is near in space is near in memory. Memory linear in
 * the points.
 */

/** Points in a leaf at most. */
const leafSize = 8;

/** Shared by all layers of prices over the same points. */
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
