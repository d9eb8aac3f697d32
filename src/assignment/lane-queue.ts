/**
 * What waits in a search for shortest ways, nearest first, but that keys within one lane's width of each other may come in any order.
 * Putting, moving and taking cost the same whatever waits, where a heap would have to sort it.
 */
const lanes = 1024;
/** Holds all that is farther than the lanes before it reach; sorted into lanes anew when it is its turn. */
const far = lanes - 1;
const none = -1;

export class LaneQueue {
  /** [items] The search's own; an item's key while it waits. */
  readonly #keys: Float64Array;
  readonly #first = new Int32Array(lanes).fill(none);
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** [items] `none`: does not wait. */
  readonly #laneOf: Int16Array;
  #lane = 0;
  #start = 0;
  #width = 1;
  #size = 0;

  /** Items are indices of `keys`, whose entries the owner writes before it puts or moves an item. */
  constructor(keys: Float64Array) {
    this.#keys = keys;
    this.#next = new Int32Array(keys.length);
    this.#previous = new Int32Array(keys.length);
    this.#laneOf = new Int16Array(keys.length).fill(none);
  }

  /** Keys count from 0 again, in lanes of `width`. Empties the queue, whatever became of the keys of what waits. */
  reset(width: number): void {
    for (let lane = this.#lane; this.#size > 0; lane++) {
      for (let item = this.#first[lane]!; item !== none; item = this.#next[item]!) {
        this.#laneOf[item] = none;
        this.#size--;
      }
      this.#first[lane] = none;
    }
    this.#lane = 0;
    this.#start = 0;
    this.#width = Math.max(width, Number.MIN_VALUE);
  }

  /** Lets `item` wait, or wait at its lower key. Keys are not below that of the last item taken. */
  put(item: number): void {
    const place = (this.#keys[item]! - this.#start) / this.#width;
    const lane = place < far ? Math.max(place | 0, this.#lane) : far;
    const before = this.#laneOf[item]!;
    if (before === lane) return;
    if (before === none) this.#size++;
    else this.#unlink(item, before);
    const next = this.#first[lane]!;
    this.#next[item] = next;
    this.#previous[item] = none;
    if (next !== none) this.#previous[next] = item;
    this.#first[lane] = item;
    this.#laneOf[item] = lane;
  }

  /** An item of the nearest lane; -1: nothing waits. */
  take(): number {
    if (this.#size === 0) return none;
    while (this.#first[this.#lane] === none) this.#lane++;
    if (this.#lane === far) this.#spread();
    const item = this.#first[this.#lane]!;
    this.#unlink(item, this.#lane);
    this.#laneOf[item] = none;
    this.#size--;
    return item;
  }

  /** Takes out an item that waits, wherever it is. */
  drop(item: number): void {
    this.#unlink(item, this.#laneOf[item]!);
    this.#laneOf[item] = none;
    this.#size--;
  }

  /** Lays the lanes out from the least key on of those that were too far. */
  #spread(): void {
    let least = Infinity;
    for (let item = this.#first[far]!; item !== none; item = this.#next[item]!) {
      least = Math.min(least, this.#keys[item]!);
    }
    this.#start = least;
    this.#lane = 0;
    for (let item = this.#first[far]!; item !== none;) {
      const next = this.#next[item]!;
      this.put(item);
      item = next;
    }
  }

  #unlink(item: number, lane: number): void {
    const next = this.#next[item]!;
    const previous = this.#previous[item]!;
    if (previous === none) this.#first[lane] = next;
    else this.#next[previous] = next;
    if (next !== none) this.#previous[next] = previous;
  }
}
