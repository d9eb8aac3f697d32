/** Shortest augmenting paths that read whole rows: quicker than lists and a heap where a search passes through most rows. */
import type { PricedAssignment } from './priced-assignment.js';
import type { WorkMeter } from './work-meter.js';

export class DensePaths {
  readonly #state: PricedAssignment;
  readonly #costs: Float64Array;
  readonly #meter: WorkMeter;
  /** [m] of columns reached or not, in this search. */
  readonly #distance: Float64Array;
  readonly #fromRow: Int32Array;
  /** [m] columns not expanded, the first `#openCount`; those expanded from the end on. */
  readonly #open: Int32Array;
  #openCount = 0;
  /** Position in `#open` of the nearest column, -1 for none; one with room before one without. */
  #nearestAt = -1;

  constructor(state: PricedAssignment, costs: Float64Array, meter: WorkMeter) {
    this.#state = state;
    this.#costs = costs;
    this.#meter = meter;
    this.#distance = new Float64Array(state.width);
    this.#fromRow = new Int32Array(state.width);
    this.#open = new Int32Array(state.width);
  }

  /** As ShortestPaths.place. */
  place(source: number): boolean {
    const { width, price, idleCost, first, next, paid, room } = this.#state;
    const distance = this.#distance;
    const open = this.#open;
    for (let column = 0; column < width; column++) open[column] = column;
    this.#openCount = width;
    distance.fill(Infinity);
    let idle = idleCost;
    let idler = source;
    this.#relax(source, 0);
    for (;;) {
      if (this.#meter.due()) return false;
      const at = this.#nearestAt;
      const column = at < 0 ? -1 : open[at]!;
      const nearest = at < 0 ? Infinity : distance[column]!;
      if (idle <= nearest) {
        if (idle === Infinity) return false;
        this.#raise(idle);
        this.#flip(source, idler, width);
        return true;
      }
      if (room[column]! > 0) {
        this.#raise(nearest);
        this.#flip(source, this.#fromRow[column]!, column);
        return true;
      }
      open[at] = open[--this.#openCount]!;
      open[this.#openCount] = column;
      for (let row = first[column]!; row >= 0; row = next[row]!) {
        const shift = paid[row]! + price[column]! - nearest;
        if (idleCost - shift < idle) {
          idle = Math.max(nearest, idleCost - shift);
          idler = row;
        }
        this.#relax(row, shift);
      }
    }
  }

  #relax(row: number, shift: number): void {
    const { width, price, room } = this.#state;
    const costs = this.#costs;
    const distance = this.#distance;
    const open = this.#open;
    const fromRow = this.#fromRow;
    const count = this.#openCount;
    const base = row * width;
    let nearest = Infinity;
    let nearestAt = -1;
    for (let at = 0; at < count; at++) {
      const column = open[at]!;
      const reduced = costs[base + column]! + price[column]! - shift;
      let known = distance[column]!;
      if (reduced < known) {
        distance[column] = reduced;
        fromRow[column] = row;
        known = reduced;
      }
      if (known > nearest) continue;
      if (known < nearest || (room[column]! > 0 && nearestAt >= 0 && room[open[nearestAt]!]! === 0)) {
        nearest = known;
        nearestAt = at;
      }
    }
    this.#nearestAt = nearestAt;
    this.#meter.work += count;
  }

  #raise(best: number): void {
    const { width, price } = this.#state;
    for (let at = this.#openCount; at < width; at++) {
      const column = this.#open[at]!;
      const gain = best - this.#distance[column]!;
      if (gain > 0) price[column]! += gain;
    }
  }

  #flip(source: number, finder: number, end: number): void {
    const state = this.#state;
    let row = finder;
    let column = end;
    for (;;) {
      const released = state.release(row);
      state.hold(row, column, column === state.width ? state.idleCost : this.#costs[row * state.width + column]!);
      if (row === source) return;
      column = released;
      row = this.#fromRow[column]!;
    }
  }
}
