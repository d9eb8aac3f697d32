/** Finds prices at which everybody would rather stay, or who should change places, from an assignment that is nearly the best. */
import type { CandidateLists } from './candidate-lists.js';
import type { PricedAssignment } from './priced-assignment.js';
import type { WorkMeter } from './work-meter.js';

/**
 * Where a row would rather have another column, that one's price rises until it would not, which may make the column's holders
 * want others, and so on: Bellman and Ford's shortest paths. Where the raises come back to where they started, the rows on
 * that round all gain by passing their columns along it, and do. Ends when no row wants to move, or after `maxSteps` rows were looked at.
 */
export class Settlement {
  readonly #state: PricedAssignment;
  readonly #lists: CandidateLists;
  readonly #meter: WorkMeter;
  readonly #tolerance: number;
  /** [m] the row for whose sake the price was raised last, or -1. */
  readonly #raisedFor: Int32Array;
  /** [n] ring of rows to look at, each at most once. */
  readonly #queue: Int32Array;
  readonly #queued: Uint8Array;
  #head = 0;
  #length = 0;
  /** [m] the round in which a column was visited by the search for rounds. */
  readonly #visited: Int32Array;

  constructor(state: PricedAssignment, lists: CandidateLists, meter: WorkMeter, tolerance: number) {
    this.#state = state;
    this.#lists = lists;
    this.#meter = meter;
    this.#tolerance = tolerance;
    this.#raisedFor = new Int32Array(state.width).fill(-1);
    this.#queue = new Int32Array(state.rows);
    this.#queued = new Uint8Array(state.rows);
    this.#visited = new Int32Array(state.width);
  }

  /** Looks at `maxSteps` rows at most. Rows that would rather have a column with room, or idle, lose theirs. */
  run(maxSteps: number): void {
    const { rows, width, columnOfRow } = this.#state;
    for (let row = 0; row < rows; row++) if (columnOfRow[row]! >= 0) this.#enqueue(row);
    let sinceSearch = 0;
    for (let step = 0; step < maxSteps && this.#length > 0 && !this.#meter.due(); step++) {
      const row = this.#queue[this.#head]!;
      this.#head = this.#head + 1 === rows ? 0 : this.#head + 1;
      this.#length--;
      this.#queued[row] = 0;
      sinceSearch += this.#look(row);
      if (sinceSearch >= width) {
        sinceSearch = 0;
        this.#passAround();
      }
    }
  }

  #enqueue(row: number): void {
    if (this.#queued[row] === 1) return;
    this.#queued[row] = 1;
    let at = this.#head + this.#length++;
    if (at >= this.#state.rows) at -= this.#state.rows;
    this.#queue[at] = row;
  }

  /** Raises what `row` would rather have; returns how many prices. */
  #look(row: number): number {
    const { columnOfRow, paid, price, width, idleCost } = this.#state;
    const held = columnOfRow[row]!;
    if (held < 0) return 0;
    const own = paid[row]! + (held === width ? 0 : price[held]!);
    const enough = own - this.#tolerance;
    if (idleCost < enough) {
      this.#state.release(row);
      return 0;
    }
    const lists = this.#lists;
    let raised = 0;
    if (lists.whole) {
      const { costs } = lists;
      const base = row * width;
      this.#meter.work += width;
      const last = width - 4;
      for (let column = 0; column < width; column++) {
        // Most columns are of no interest, four at a time.
        while (
          column <= last &&
          costs[base + column]! + price[column]! >= enough &&
          costs[base + column + 1]! + price[column + 1]! >= enough &&
          costs[base + column + 2]! + price[column + 2]! >= enough &&
          costs[base + column + 3]! + price[column + 3]! >= enough
        ) {
          column += 4;
        }
        if (column >= width) break;
        if (costs[base + column]! + price[column]! >= enough || column === held) continue;
        if (!this.#raise(row, column, own - costs[base + column]!)) return raised;
        raised++;
      }
      return raised;
    }
    lists.reads++;
    for (;;) {
      const from = row * lists.length;
      const to = from + lists.count[row]!;
      let at = from;
      for (; at < to && lists.recorded[at]! - lists.lowered < enough; at++) {
        const column = lists.column[at]!;
        if (lists.cost[at]! + price[column]! >= enough || column === held) continue;
        if (!this.#raise(row, column, own - lists.cost[at]!)) return raised;
        raised++;
      }
      this.#meter.work += at - from + 8;
      if (at < to || lists.guard[row]! - lists.lowered >= enough) return raised;
      lists.fill(row);
      this.#meter.work += 3 * width;
    }
  }

  /** False where the column has room: then `row` gives up what it holds, to be given the column later. */
  #raise(row: number, column: number, price: number): boolean {
    const { room, first, next } = this.#state;
    if (room[column]! > 0) {
      this.#state.release(row);
      return false;
    }
    this.#state.price[column] = price;
    this.#raisedFor[column] = row;
    for (let holder = first[column]!; holder >= 0; holder = next[holder]!) this.#enqueue(holder);
    return true;
  }

  /** Finds every round among the last raises and passes columns along it. */
  #passAround(): void {
    const { width, columnOfRow } = this.#state;
    const visited = this.#visited.fill(0);
    for (let start = 0; start < width; start++) {
      let column = start;
      while (column >= 0 && column < width && visited[column] === 0) {
        visited[column] = start + 1;
        const row = this.#raisedFor[column]!;
        column = row < 0 ? -1 : columnOfRow[row]!;
      }
      if (column >= 0 && column < width && visited[column] === start + 1) this.#pass(column);
    }
    this.#meter.work += 2 * width;
  }

  #pass(start: number): void {
    const state = this.#state;
    const { costs } = this.#lists;
    const moves: number[] = [];
    let column = start;
    do {
      const row = this.#raisedFor[column]!;
      this.#raisedFor[column] = -1;
      moves.push(row, column);
      column = state.columnOfRow[row]!;
    } while (column !== start);
    for (let at = 0; at < moves.length; at += 2) state.release(moves[at]!);
    for (let at = 0; at < moves.length; at += 2) {
      state.hold(moves[at]!, moves[at + 1]!, costs[moves[at]! * state.width + moves[at + 1]!]!);
      this.#enqueue(moves[at]!);
    }
  }
}
