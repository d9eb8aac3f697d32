/**
 * Shortest augmenting paths: places one undecided row, or frees one column of a price it need not have, so that the
 * assignment stays the cheapest among those of its rows and the prices prove it.
 *
 * Distances are reduced costs: cost + price - what the row pays now, never negative. Dijkstra's search runs over columns in a
 * heap; a full column is expanded to all its holders at once, so capacities are never written out as copies. Rows are
 * read through their candidate lists; where a list ends before the search does, its row waits in the same heap at the
 * list's guard and is read in full when its turn comes. So what is found is exact.
 */
import type { CandidateLists } from './candidate-lists.js';
import type { PricedAssignment } from './priced-assignment.js';
import type { WorkMeter } from './work-meter.js';

export class ShortestPaths {
  /** Rows read in all searches, and how often one had to be read beyond its list. */
  rowsRead = 0;
  fullReads = 0;
  readonly #state: PricedAssignment;
  readonly #costs: Float64Array;
  readonly #lists: CandidateLists;
  readonly #meter: WorkMeter;
  /** [m] Infinity where not reached. */
  readonly #distance: Float64Array;
  /** [m] the row that reached the column; -1: the search's start without a row. */
  readonly #fromRow: Int32Array;
  /** [m] columns reached and columns expanded in this search. */
  readonly #reached: Int32Array;
  #reachedCount = 0;
  readonly #expanded: Int32Array;
  #expandedCount = 0;
  /** [n] what a read row pays now, less its distance: cost + price - shift is a column's distance. */
  readonly #shift: Float64Array;
  /** Binary heap of nodes: n + j is column j, i is the full read of row i; lower nodes first among equal keys. */
  readonly #heapNode: Int32Array;
  readonly #heapKey: Float64Array;
  /** [n + m] position in the heap, or -1. */
  readonly #heapAt: Int32Array;
  #heapSize = 0;
  /** The nearest place found: its distance, column (m: idling) and row. */
  #best = Infinity;
  #bestColumn = -1;
  #bestRow = -1;
  /** What ending at idling costs; Infinity in a search that idling does not end. */
  #idleCost = Infinity;

  constructor(state: PricedAssignment, costs: Float64Array, lists: CandidateLists, meter: WorkMeter) {
    const { rows, width } = state;
    this.#state = state;
    this.#costs = costs;
    this.#lists = lists;
    this.#meter = meter;
    this.#distance = new Float64Array(width).fill(Infinity);
    this.#fromRow = new Int32Array(width);
    this.#reached = new Int32Array(width);
    this.#expanded = new Int32Array(width);
    this.#shift = new Float64Array(rows);
    this.#heapNode = new Int32Array(rows + width);
    this.#heapKey = new Float64Array(rows + width);
    this.#heapAt = new Int32Array(rows + width).fill(-1);
  }

  /** Gives the undecided `row` a place (or idling), others moving on where that is cheaper. False where it was stopped, or no place can be reached: nothing changed. */
  place(row: number): boolean {
    const { price, idleCost } = this.#state;
    this.#best = Infinity;
    this.#bestColumn = -1;
    this.#idleCost = idleCost;
    this.#readRow(row, 0, -Infinity);
    const found = this.#search() && this.#bestColumn >= 0;
    if (found) {
      for (let at = 0; at < this.#expandedCount; at++) {
        const column = this.#expanded[at]!;
        const gain = this.#best - this.#distance[column]!;
        if (gain > 0) price[column]! += gain;
      }
      this.#flip(row);
    }
    this.#clear();
    return found;
  }

  /**
   * Where columns must not have both room and a price: lowers prices, not below 0, until one such column less is left.
   * Rows that would rather have the column move to it. False where it was stopped, or no such column is left.
   */
  lowerOne(): boolean {
    const { rows, width, price, room, first, columnOfRow, idleCost } = this.#state;
    this.#best = Infinity;
    this.#bestColumn = -1;
    this.#idleCost = Infinity;
    for (let column = 0; column < width; column++) {
      this.#distance[column] = price[column]!;
      this.#fromRow[column] = -1;
      if (room[column]! > 0 && price[column]! > 0 && price[column]! < this.#best) {
        this.#best = price[column]!;
        this.#bestColumn = column;
        this.#bestRow = -1;
      }
    }
    this.#meter.work += width;
    if (this.#bestColumn < 0) {
      this.#distance.fill(Infinity);
      return false;
    }
    for (let column = 0; column < width; column++) {
      if (first[column]! >= 0 && price[column]! < this.#best) this.#push(rows + column, price[column]!);
    }
    for (let row = 0; row < rows; row++) if (columnOfRow[row] === width) this.#readRow(row, idleCost, 0);
    const found = this.#search();
    if (found) {
      const best = this.#best;
      for (let column = 0; column < width; column++) {
        price[column] = Math.max(0, price[column]! - Math.min(this.#distance[column]!, best));
      }
      this.#lists.lowered += best;
      if (this.#bestRow >= 0) this.#flip(-1);
    }
    while (this.#heapSize > 0) this.#pop();
    this.#distance.fill(Infinity);
    this.#reachedCount = 0;
    this.#expandedCount = 0;
    return found;
  }

  /** Expands what is nearest until the nearest place is. False where it was stopped. */
  #search(): boolean {
    const { rows, price, first, next, paid } = this.#state;
    while (this.#heapSize > 0) {
      const key = this.#heapKey[0]!;
      if (key >= this.#best) break;
      if (this.#meter.due()) return false;
      const node = this.#pop();
      if (node < rows) {
        this.#readInFull(node, key);
        continue;
      }
      const column = node - rows;
      this.#expanded[this.#expandedCount++] = column;
      for (let row = first[column]!; row >= 0; row = next[row]!)
        this.#readRow(row, paid[row]! + price[column]! - key, key);
    }
    return true;
  }

  /** Relaxes the columns in the list of `row`, which was reached at distance `reachedAt`. */
  #readRow(row: number, shift: number, reachedAt: number): void {
    const lists = this.#lists;
    this.rowsRead++;
    if (lists.guard[row] === -Infinity) {
      lists.fill(row);
      this.#meter.work += this.#state.width;
    }
    const { price, width } = this.#state;
    const { column: columns, cost, recorded } = lists;
    const distance = this.#distance;
    this.#shift[row] = shift;
    const idle = this.#idleCost - shift;
    if (idle < this.#best) this.#end(width, row, Math.max(idle, reachedAt));
    const horizon = shift + lists.lowered;
    const from = row * lists.length;
    const to = from + lists.count[row]!;
    for (let at = from; at < to; at++) {
      if (recorded[at]! - horizon >= this.#best) {
        this.#meter.work += at - from;
        return;
      }
      const column = columns[at]!;
      const reduced = cost[at]! + price[column]! - shift;
      if (reduced < distance[column]!) this.#reach(row, column, reduced > reachedAt ? reduced : reachedAt);
    }
    this.#meter.work += to - from;
    const guard = lists.guard[row]! - horizon;
    if (guard < this.#best) this.#push(row, guard > reachedAt ? guard : reachedAt);
  }

  /** Relaxes every column from `row`, and makes its list anew. */
  #readInFull(row: number, key: number): void {
    const { price, width } = this.#state;
    const costs = this.#costs;
    const distance = this.#distance;
    const shift = this.#shift[row]!;
    const base = row * width;
    for (let column = 0; column < width; column++) {
      const reduced = costs[base + column]! + price[column]! - shift;
      if (reduced < distance[column]! && reduced < this.#best) this.#reach(row, column, reduced > key ? reduced : key);
    }
    this.fullReads++;
    this.#lists.fill(row);
    this.#meter.work += 2 * width;
  }

  #reach(row: number, column: number, distance: number): void {
    const known = this.#distance[column]!;
    // Rounding may have made a distance smaller than that at which the column was expanded.
    if (distance >= known || distance >= this.#best) return;
    if (known === Infinity) this.#reached[this.#reachedCount++] = column;
    this.#distance[column] = distance;
    this.#fromRow[column] = row;
    if (this.#state.room[column]! > 0) this.#end(column, row, distance);
    else this.#push(this.#state.rows + column, distance);
  }

  #end(column: number, row: number, distance: number): void {
    this.#best = distance;
    this.#bestColumn = column;
    this.#bestRow = row;
  }

  /** Moves the row that found the place there, the row that reached its old column to that, and so on back to `source`. */
  #flip(source: number): void {
    const state = this.#state;
    let row = this.#bestRow;
    let column = this.#bestColumn;
    while (row >= 0) {
      const released = state.release(row);
      state.hold(row, column, column === state.width ? state.idleCost : this.#costs[row * state.width + column]!);
      if (row === source || released === state.width) return;
      column = released;
      row = this.#fromRow[column]!;
    }
  }

  #clear(): void {
    for (let at = 0; at < this.#reachedCount; at++) this.#distance[this.#reached[at]!] = Infinity;
    this.#reachedCount = 0;
    this.#expandedCount = 0;
    for (let at = 0; at < this.#heapSize; at++) this.#heapAt[this.#heapNode[at]!] = -1;
    this.#heapSize = 0;
  }

  /** Puts `node` into the heap, or moves it up there. */
  #push(node: number, key: number): void {
    const nodes = this.#heapNode;
    const keys = this.#heapKey;
    const places = this.#heapAt;
    let at = places[node]!;
    if (at < 0) at = this.#heapSize++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = nodes[parent]!;
      if (keys[parent]! < key || (keys[parent] === key && above < node)) break;
      nodes[at] = above;
      keys[at] = keys[parent]!;
      places[above] = at;
      at = parent;
    }
    nodes[at] = node;
    keys[at] = key;
    places[node] = at;
  }

  #pop(): number {
    const nodes = this.#heapNode;
    const keys = this.#heapKey;
    const places = this.#heapAt;
    const top = nodes[0]!;
    places[top] = -1;
    const size = --this.#heapSize;
    if (size === 0) return top;
    const node = nodes[size]!;
    const key = keys[size]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      const right = child + 1;
      if (
        right < size &&
        (keys[right]! < keys[child]! || (keys[right] === keys[child] && nodes[right]! < nodes[child]!))
      ) {
        child = right;
      }
      if (key < keys[child]! || (key === keys[child] && node < nodes[child]!)) break;
      nodes[at] = nodes[child]!;
      keys[at] = keys[child]!;
      places[nodes[at]!] = at;
      at = child;
    }
    nodes[at] = node;
    keys[at] = key;
    places[node] = at;
    return top;
  }
}
