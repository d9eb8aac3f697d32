/** Lists of numbers that only grow, all emptied together: what the trees of a search hold, and what is next to them. */
const none = -1;
const firstRoom = 1024;

export class ItemChains {
  #first = new Int32Array(0);
  #items = new Int32Array(firstRoom);
  #next = new Int32Array(firstRoom);
  #used = 0;

  /** `count` empty chains. */
  reset(count: number): void {
    if (this.#first.length < count) this.#first = new Int32Array(count);
    this.#first.fill(none, 0, count);
    this.#used = 0;
  }

  add(chain: number, item: number): void {
    const entry = this.#used++;
    if (entry === this.#items.length) this.#grow();
    this.#items[entry] = item;
    this.#next[entry] = this.#first[chain]!;
    this.#first[chain] = entry;
  }

  /** The entry that was added last; below 0: none. Entries stay what they are while others are added. */
  first(chain: number): number {
    return this.#first[chain]!;
  }

  /** The entry added before; below 0: none. */
  next(entry: number): number {
    return this.#next[entry]!;
  }

  item(entry: number): number {
    return this.#items[entry]!;
  }

  #grow(): void {
    const items = new Int32Array(2 * this.#items.length);
    const next = new Int32Array(items.length);
    items.set(this.#items);
    next.set(this.#next);
    this.#items = items;
    this.#next = next;
  }
}
