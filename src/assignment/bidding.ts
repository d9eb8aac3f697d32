/** Rows bid for the columns they like best: an auction with candidate lists. Without a least raise, it keeps prices exact. */
import type { CandidateLists } from './candidate-lists.js';
import type { PricedAssignment } from './priced-assignment.js';
import type { WorkMeter } from './work-meter.js';

export class Bidding {
  readonly #state: PricedAssignment;
  readonly #lists: CandidateLists;
  readonly #meter: WorkMeter;
  /** [n] of a row with a place: its bid, the price up to which it is sure (but for `raise`) to want no other column more. */
  readonly #bid: Float64Array;
  /** [n] the two best columns when the whole row was read last, read first the next time: nearly all others are seen to be dearer then. -1: none. */
  readonly #bestBefore: Int32Array;
  readonly #secondBefore: Int32Array;
  /** The last choice: its column and reduced cost, and that of the second best. */
  #column = -1;
  #best = Infinity;
  #second = Infinity;

  constructor(state: PricedAssignment, lists: CandidateLists, meter: WorkMeter) {
    this.#state = state;
    this.#lists = lists;
    this.#meter = meter;
    this.#bid = new Float64Array(state.rows);
    this.#bestBefore = new Int32Array(state.rows).fill(-1);
    this.#secondBefore = new Int32Array(state.rows).fill(-1);
  }

  /** Says that `row` holds a column which is its best at the price of now, by an unknown margin. */
  holdsAtPrice(row: number): void {
    this.#bid[row] = this.#state.price[this.#state.columnOfRow[row]!]!;
  }

  /**
   * Lets the first `count` of `rows` (undecided) bid, and whom they drive out, `maxBids` times at most. A full column keeps its highest
   * bidders and costs what the lowest of them bid. Bids exceed what makes a row indifferent by `raise` (>= 0); at 0,
   * holders' columns stay their best exactly, and a row that no price can tell from its rival is left over.
   * Rows left over are the first of `rows`; returns how many.
   */
  run(rows: Int32Array, count: number, raise: number, maxBids: number): number {
    let leftOver = 0;
    let bids = 0;
    // Rows left over grow from the front into what has been taken from the queue.
    for (let at = 0; at < count; at++) {
      let row = rows[at]!;
      while (row >= 0) {
        if (bids >= maxBids || this.#meter.due()) {
          rows[leftOver++] = row;
          break;
        }
        bids++;
        const next = this.#place(row, raise);
        if (next === row) {
          rows[leftOver++] = row;
          break;
        }
        row = next === turnedAway ? row : next;
      }
    }
    return leftOver;
  }

  /** The row driven out, -1 for none, `row` itself where it is left over, or `turnedAway`. */
  #place(row: number, raise: number): number {
    const state = this.#state;
    const { width, idleCost } = state;
    if (this.#lists.whole) this.#chooseFromRow(row);
    else this.#chooseFromList(row);
    if (this.#best >= idleCost) {
      if (idleCost === Infinity) return row;
      state.hold(row, width, idleCost);
      return -1;
    }
    const column = this.#column;
    const cost = this.#lists.costs[row * width + column]!;
    const bid = this.#second - cost + raise;
    if (state.room[column]! > 0) {
      state.hold(row, column, cost);
      this.#bid[row] = bid;
      return -1;
    }
    return this.#contend(row, column, cost, bid);
  }

  /** Finds the row's best column and what the best and the second best (idling included) come to; of equal ones, one with room. */
  #chooseFromList(row: number): void {
    const lists = this.#lists;
    const { price, room, idleCost } = this.#state;
    const { recorded, cost, column: columns, lowered } = lists;
    lists.reads++;
    for (let fresh = false; ; fresh = true) {
      let best = Infinity;
      let second = idleCost;
      let chosen = -1;
      const from = row * lists.length;
      const to = from + lists.count[row]!;
      let at = from;
      for (; at < to && recorded[at]! - lowered < second; at++) {
        const column = columns[at]!;
        const value = cost[at]! + price[column]!;
        if (value < best) {
          if (best < second) second = best;
          best = value;
          chosen = column;
        } else if (value < second) {
          second = value;
          if (value === best && room[chosen] === 0 && room[column]! > 0) chosen = column;
        }
      }
      this.#meter.work += at - from + 8;
      if (at < to || fresh || lists.guard[row]! - lowered >= second) {
        this.#best = best;
        this.#second = second;
        this.#column = chosen;
        return;
      }
      lists.fill(row);
      this.#meter.work += 3 * price.length;
    }
  }

  #chooseFromRow(row: number): void {
    const { price, room, idleCost, width } = this.#state;
    const { costs } = this.#lists;
    const base = row * width;
    let best = Infinity;
    let second = idleCost;
    let chosen = -1;
    let runnerUp = -1;
    const before = this.#bestBefore[row]!;
    const beside = this.#secondBefore[row]!;
    if (beside >= 0) {
      const one = costs[base + before]! + price[before]!;
      const other = costs[base + beside]! + price[beside]!;
      const isOne = one < other || (one === other && room[before]! >= room[beside]!);
      const least = isOne ? one : other;
      if (least < idleCost) {
        best = least;
        chosen = isOne ? before : beside;
        const more = isOne ? other : one;
        if (more < idleCost) {
          second = more;
          runnerUp = isOne ? beside : before;
        }
      }
    }
    const last = width - 4;
    for (let column = 0; column < width; column++) {
      // Most columns are of no interest, four at a time.
      while (
        column <= last &&
        costs[base + column]! + price[column]! >= second &&
        costs[base + column + 1]! + price[column + 1]! >= second &&
        costs[base + column + 2]! + price[column + 2]! >= second &&
        costs[base + column + 3]! + price[column + 3]! >= second
      ) {
        column += 4;
      }
      if (column >= width) break;
      const value = costs[base + column]! + price[column]!;
      if (value >= second || column === chosen) continue;
      if (value < best) {
        second = best < second ? best : second;
        runnerUp = chosen;
        best = value;
        chosen = column;
      } else {
        second = value;
        runnerUp = column;
        if (value === best && room[chosen] === 0 && room[column]! > 0) {
          runnerUp = chosen;
          chosen = column;
        }
      }
    }
    this.#bestBefore[row] = chosen;
    this.#secondBefore[row] = runnerUp;
    this.#meter.work += width;
    this.#best = best;
    this.#second = second;
    this.#column = chosen;
  }

  #contend(row: number, column: number, cost: number, bid: number): number {
    const state = this.#state;
    const { first, next, price } = state;
    const bids = this.#bid;
    let lowestRow = first[column]!;
    let lowest = bids[lowestRow]!;
    let secondLowest = Infinity;
    for (let holder = next[lowestRow]!; holder >= 0; holder = next[holder]!) {
      const value = bids[holder]!;
      if (value < lowest) {
        secondLowest = lowest;
        lowest = value;
        lowestRow = holder;
      } else if (value < secondLowest) secondLowest = value;
    }
    if (bid <= lowest) {
      if (!(lowest > price[column]!) || lowest === Infinity) return row;
      price[column] = lowest;
      return turnedAway;
    }
    let paid = bid < secondLowest ? bid : secondLowest;
    // Who has no second choice bids without limit, and pays what drove the other out.
    if (paid === Infinity) paid = lowest;
    if (!(paid > price[column]!)) return row;
    price[column] = paid;
    state.release(lowestRow);
    state.hold(row, column, cost);
    bids[row] = bid;
    return lowestRow;
  }
}

const turnedAway = -2;
