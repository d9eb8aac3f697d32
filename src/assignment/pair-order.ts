/** A growable list of (cost, pair) that sorts by cost in linear time. */

/** Below this many entries 8-bit digits win: fewer counters to clear. */
const wideDigitsFrom = 8192;

export class PairOrder {
  #costs = new Float64Array(1024);
  #pairs = new Uint32Array(1024);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  clear(): void {
    this.#size = 0;
  }

  /** `cost` is finite; `pair` any 32-bit number. */
  push(cost: number, pair: number): void {
    const at = this.#size++;
    if (at === this.#costs.length) this.#grow();
    // + 0 turns -0 into 0: they are the same cost, but not the same bits.
    this.#costs[at] = cost + 0;
    this.#pairs[at] = pair;
  }

  /**
   * The pairs, cheapest first, equal costs in the order of `push`. A radix sort of the bits: IEEE numbers order like
   * integers once negative ones are inverted and the others get their sign bit set. Valid until the next call; empties the list.
   */
  sorted(): Uint32Array {
    const size = this.#size;
    this.#size = 0;
    let keys = new Uint32Array(this.#costs.buffer, 0, 2 * size);
    for (let at = 1; at < keys.length; at += 2) {
      const high = keys[at]!;
      const negative = high >>> 31 === 1;
      keys[at] = negative ? ~high : high ^ 0x80000000;
      if (negative) keys[at - 1] = ~keys[at - 1]!;
    }
    const bits = size < wideDigitsFrom ? 8 : 16;
    const digitsPerWord = 32 / bits;
    let pairs = this.#pairs.subarray(0, size);
    let spareKeys = new Uint32Array(2 * size);
    let sparePairs = new Uint32Array(size);
    const starts = new Uint32Array(1 << bits);
    for (let digit = 0; digit < 2 * digitsPerWord; digit++) {
      const word = digit < digitsPerWord ? 0 : 1;
      const shift = (digit % digitsPerWord) * bits;
      if (!countDigits(keys, size, word, shift, starts)) continue;
      scatter(keys, pairs, spareKeys, sparePairs, word, shift, starts);
      [keys, spareKeys] = [spareKeys, keys];
      [pairs, sparePairs] = [sparePairs, pairs];
    }
    return pairs;
  }

  #grow(): void {
    const costs = new Float64Array(2 * this.#costs.length);
    costs.set(this.#costs);
    this.#costs = costs;
    const pairs = new Uint32Array(2 * this.#pairs.length);
    pairs.set(this.#pairs);
    this.#pairs = pairs;
  }
}

/** Fills `starts` with the first position of each digit; false where all entries have the same one. */
function countDigits(keys: Uint32Array, size: number, word: number, shift: number, starts: Uint32Array): boolean {
  const mask = starts.length - 1;
  starts.fill(0);
  for (let at = word; at < 2 * size; at += 2) starts[(keys[at]! >>> shift) & mask]!++;
  let from = 0;
  for (let digit = 0; digit <= mask; digit++) {
    const count = starts[digit]!;
    if (count === size) return false;
    starts[digit] = from;
    from += count;
  }
  return size > 0;
}

function scatter(
  keys: Uint32Array,
  pairs: Uint32Array,
  toKeys: Uint32Array,
  toPairs: Uint32Array,
  word: number,
  shift: number,
  starts: Uint32Array,
): void {
  const mask = starts.length - 1;
  for (let at = 0; at < pairs.length; at++) {
    const to = starts[(keys[2 * at + word]! >>> shift) & mask]!++;
    toKeys[2 * to] = keys[2 * at]!;
    toKeys[2 * to + 1] = keys[2 * at + 1]!;
    toPairs[to] = pairs[at]!;
  }
}
