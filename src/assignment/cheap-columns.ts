/** The cheapest columns by price alone, for bidders that want any place at all. */

/** Columns remembered from a look at all prices. */
const remembered = 64;

export class CheapColumns {
  /** Of the last `find`: the cheapest column. */
  column = -1;
  /** What the second cheapest costs; Infinity where there is none. */
  second = Infinity;
  readonly #price: Float64Array;
  readonly #columns: Int32Array;
  #count = 0;
  /** Nothing that is not remembered costs less. */
  #guard = -Infinity;

  /** Over all of `price`, which may rise between calls; where one falls, `forget` must be called. */
  constructor(price: Float64Array) {
    this.#price = price;
    this.#columns = new Int32Array(Math.min(remembered, price.length));
  }

  forget(): void {
    this.#guard = -Infinity;
  }

  /** Sets `column` and `second`; true where all prices had to be looked at. */
  find(): boolean {
    this.#search();
    const looked = this.second > this.#guard;
    if (looked) {
      this.#look();
      this.#search();
    }
    this.second = Math.min(this.second, this.#guard);
    return looked;
  }

  #search(): void {
    const price = this.#price;
    let best = Infinity;
    let second = Infinity;
    let chosen = -1;
    for (let at = 0; at < this.#count; at++) {
      const column = this.#columns[at]!;
      const value = price[column]!;
      if (value >= second) continue;
      if (value < best) {
        second = best;
        best = value;
        chosen = column;
      } else second = value;
    }
    this.column = chosen;
    this.second = second;
  }

  #look(): void {
    const price = this.#price;
    const columns = this.#columns;
    let count = 0;
    let guard = Infinity;
    for (let column = 0; column < price.length; column++) {
      const value = price[column]!;
      if (count === columns.length) {
        const worst = price[columns[count - 1]!]!;
        guard = Math.min(guard, Math.max(value, worst));
        if (value >= worst) continue;
        count--;
      }
      let at = count++;
      for (; at > 0 && price[columns[at - 1]!]! > value; at--) columns[at] = columns[at - 1]!;
      columns[at] = column;
    }
    this.#count = count;
    this.#guard = guard;
  }
}
