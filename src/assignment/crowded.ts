/** Problems with fewer places than agents, seen from the other side: the places choose among the agents. */
import type { Reduction } from './reduction.js';
import type { SolverOutcome, SolverStart } from './solver-outcome.js';

/** Cells of the matrix of places and agents: 128 MiB of float64. */
const maxCells = 2 ** 24;

/**
 * Whether the other side is the better one: agents that are left out would bid prices up until they give up, places always find
 * somebody. Only where every pair is available and idling is not, so that every place is taken.
 */
export function isCrowded(reduction: Reduction, places: number): boolean {
  const rows = reduction.agents.length;
  return reduction.dense && !reduction.idleAllowed && places < rows && places * rows <= maxCells;
}

/** [places] the column of each place, ascending. */
export function columnsOfPlaces(reduction: Reduction, places: number): Int32Array {
  const columnOfPlace = new Int32Array(places);
  let at = 0;
  for (let column = 0; column < reduction.capacities.length; column++) {
    columnOfPlace.fill(column, at, at + reduction.capacities[column]!);
    at += reduction.capacities[column]!;
  }
  return columnOfPlace;
}

/** The problem in which the places are rows and the agents columns. */
export function turned(reduction: Reduction, columnOfPlace: Int32Array): Reduction {
  const rows = reduction.agents.length;
  const width = reduction.tasks.length;
  const places = columnOfPlace.length;
  const cost = new Float64Array(places * rows);
  for (let row = 0; row < rows; row++) {
    const base = row * width;
    for (let place = 0, to = row; place < places; place++, to += rows) {
      cost[to] = reduction.cost[base + columnOfPlace[place]!]!;
    }
  }
  return {
    ...reduction,
    agents: new Int32Array(places),
    tasks: reduction.agents,
    capacities: new Int32Array(rows).fill(1),
    cost,
  };
}

/**
 * The start for the turned problem. With a row's least reduced cost r, an agent is worth max(0, s - r) to the places, where s is
 * such that as many agents as there are places are worth something.
 */
export function turnStart(reduction: Reduction, start: SolverStart, columnOfPlace: Int32Array): SolverStart | null {
  const { columnPrice: known, columnOfRow } = start;
  if (known === null) return null;
  const { cost } = reduction;
  const rows = reduction.agents.length;
  const width = reduction.tasks.length;
  const price = known.map((value) => (value >= 0 && value < Infinity ? value : Infinity));
  const least = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    const base = row * width;
    let lowest = Infinity;
    for (let column = 0; column < width; column++) {
      const value = cost[base + column]! + price[column]!;
      if (value < lowest) lowest = value;
    }
    least[row] = lowest;
  }
  const worth = least.slice().sort()[columnOfPlace.length]!;
  if (!(worth < Infinity)) return null;
  const agentPrice = least.map((value) => Math.max(0, worth - value));
  if (columnOfRow === null) return { columnPrice: agentPrice, columnOfRow: null };
  const next = new Int32Array(width).fill(-1);
  for (let place = columnOfPlace.length - 1; place >= 0; place--) next[columnOfPlace[place]!] = place;
  const agentOfPlace = new Int32Array(columnOfPlace.length).fill(-1);
  for (let row = 0; row < rows; row++) {
    const column = columnOfRow[row]!;
    if (!(column >= 0 && column < width)) continue;
    const place = next[column]!;
    if (columnOfPlace[place] !== column) continue;
    agentOfPlace[place] = row;
    next[column] = place + 1;
  }
  return { columnPrice: agentPrice, columnOfRow: agentOfPlace };
}

/**
 * The answer to `reduction` from that to the turned problem. A place pays u = cost + price of its agent; the column costs what
 * its places pay less than the one that pays most, and where not all is done yet, that is a price like any other.
 */
export function turnBack(reduction: Reduction, outcome: SolverOutcome, columnOfPlace: Int32Array): SolverOutcome {
  const width = reduction.tasks.length;
  const columnOfRow = new Int32Array(reduction.agents.length).fill(-1);
  const pays = new Float64Array(width).fill(-Infinity);
  let most = -Infinity;
  for (let place = 0; place < columnOfPlace.length; place++) {
    const row = outcome.columnOfRow[place]!;
    const column = columnOfPlace[place]!;
    columnOfRow[row] = column;
    pays[column] = Math.max(pays[column]!, reduction.cost[row * width + column]! + outcome.columnPrice[row]!);
    most = Math.max(most, pays[column]);
  }
  return { columnOfRow, columnPrice: pays.map((value) => most - value), complete: outcome.complete };
}
