/** Who holds a place of which column at what bid: the auction's record. */

/**
 * The price of a full column is its lowest bid, whose holder loses its place to the next bidder. A column of several
 * places keeps its holders as a heap with the lowest bid on top.
 */
export class BidBook {
  /** [columns] free places. */
  readonly room: Int32Array;
  /** [bidders] -1: without a place. */
  readonly columnOfRow: Int32Array;
  readonly #bid: Float64Array;
  /** [columns] the holder where there is one place. */
  readonly #holder: Int32Array;
  /** [columns] null where there is one place; grows with its holders. */
  readonly #heaps: (Int32Array | null)[];
  readonly #sizes: Int32Array;
  /** [bidders] where in its column's heap. */
  readonly #position: Int32Array;

  constructor(capacities: Int32Array, bidders: number) {
    this.room = capacities.slice();
    this.columnOfRow = new Int32Array(bidders).fill(-1);
    this.#bid = new Float64Array(bidders);
    this.#holder = new Int32Array(capacities.length).fill(-1);
    this.#heaps = Array.from(capacities, (capacity) => (capacity > 1 ? new Int32Array(Math.min(capacity, 8)) : null));
    this.#sizes = new Int32Array(capacities.length);
    this.#position = new Int32Array(bidders);
  }

  /** Gives `row`, which has no place, one of `column` (which has at least one); returns the row that had to go, or -1. */
  place(row: number, column: number, bid: number): number {
    const evicted = this.room[column] === 0 ? this.#lowestHolder(column) : -1;
    if (evicted >= 0) this.release(evicted);
    this.room[column]!--;
    this.columnOfRow[row] = column;
    this.#bid[row] = bid;
    const heap = this.#heaps[column] ?? null;
    if (heap === null) this.#holder[column] = row;
    else this.#push(column, heap, row);
    return evicted;
  }

  /** Takes the place of `row` away. */
  release(row: number): void {
    const column = this.columnOfRow[row]!;
    const heap = this.#heaps[column] ?? null;
    if (heap === null) this.#holder[column] = -1;
    else {
      const last = heap[--this.#sizes[column]!]!;
      if (last !== row) this.#settle(heap, this.#sizes[column]!, this.#position[row]!, last);
    }
    this.columnOfRow[row] = -1;
    this.room[column]!++;
  }

  /** Changes the bid of `row`, which has a place. */
  setBid(row: number, bid: number): void {
    this.#bid[row] = bid;
    const column = this.columnOfRow[row]!;
    const heap = this.#heaps[column] ?? null;
    if (heap !== null) this.#settle(heap, this.#sizes[column]!, this.#position[row]!, row);
  }

  /** The lowest bid held, or -Infinity where there is room. */
  price(column: number): number {
    return this.room[column]! > 0 ? -Infinity : this.#bid[this.#lowestHolder(column)]!;
  }

  #lowestHolder(column: number): number {
    const heap = this.#heaps[column] ?? null;
    return heap === null ? this.#holder[column]! : heap[0]!;
  }

  #push(column: number, heap: Int32Array, row: number): void {
    const size = this.#sizes[column]!++;
    let storage = heap;
    if (size === heap.length) {
      storage = new Int32Array(2 * size);
      storage.set(heap);
      this.#heaps[column] = storage;
    }
    this.#settle(storage, size + 1, size, row);
  }

  /** Puts `row` at `at` of a heap of `size` entries, or where its bid belongs above or below. */
  #settle(heap: Int32Array, size: number, at: number, row: number): void {
    const bid = this.#bid[row]!;
    let here = at;
    while (here > 0) {
      const parent = (here - 1) >> 1;
      if (this.#bid[heap[parent]!]! <= bid) break;
      heap[here] = heap[parent]!;
      this.#position[heap[here]!] = here;
      here = parent;
    }
    for (;;) {
      let child = 2 * here + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#bid[heap[child + 1]!]! < this.#bid[heap[child]!]!) child++;
      if (this.#bid[heap[child]!]! >= bid) break;
      heap[here] = heap[child]!;
      this.#position[heap[here]!] = here;
      here = child;
    }
    heap[here] = row;
    this.#position[row] = here;
  }
}
