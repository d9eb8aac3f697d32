/** Between an assignment within a limit of changes and a better one beyond it: the changes that are worth most. */
import type { KeepProblem } from './keep-problem.js';

/** Pairs of agents looked at for an exchange, at most. */
const maxPairs = 2e7;

interface Step {
  readonly chain: number;
  /** Rows of the chain, from its end, that move. */
  readonly length: number;
  readonly gain: number;
  readonly changes: number;
}

/**
 * Moves `columnOfRow` [n] in place towards `target` [n] as far as `allowed` changes go, best gain per change first.
 *
 * The moves from one to the other are chains: a row takes a place that is free, or that the next row of its chain leaves.
 * The end of a chain (or a whole ring) can move alone, so either all places stay within capacity, or nothing moves.
 */
export function mixTowards(problem: KeepProblem, columnOfRow: Int32Array, target: Int32Array, allowed: number): void {
  const { keepColumn } = problem;
  const chains = chainsBetween(problem, columnOfRow, target);
  const steps: Step[] = [];
  chains.forEach(({ rows, ring }, chain) => {
    let gain = 0;
    let changes = 0;
    rows.forEach((row, index) => {
      const from = columnOfRow[row]!;
      const to = target[row]!;
      gain += problem.gain(row, to) - problem.gain(row, from);
      changes += Number(to !== keepColumn[row]) - Number(from !== keepColumn[row]);
      if (!ring || index === rows.length - 1) steps.push({ chain, length: index + 1, gain, changes });
    });
  });
  const worth = (step: Step): number => (step.changes <= 0 ? Infinity : step.gain / step.changes);
  const useful = steps.filter((step) => step.gain > 0);
  useful.sort((one, other) => {
    const difference = worth(other) - worth(one);
    return Number.isNaN(difference) || difference === 0 ? other.gain - one.gain : difference;
  });
  const taken = new Array<Step | undefined>(chains.length);
  let changes = problem.changesOf(columnOfRow);
  for (const step of useful) {
    const before = taken[step.chain];
    if (step.length <= (before?.length ?? 0) || step.gain <= (before?.gain ?? 0)) continue;
    const more = step.changes - (before?.changes ?? 0);
    if (changes + more > allowed) continue;
    changes += more;
    taken[step.chain] = step;
  }
  taken.forEach((step, chain) => {
    if (step === undefined) return;
    for (const row of chains[chain]!.rows.slice(0, step.length)) columnOfRow[row] = target[row]!;
  });
}

/** Rows that move, chain by chain; the first row of a chain depends on none, each other one on the row before it. A ring moves as a whole. */
function chainsBetween(
  problem: KeepProblem,
  columnOfRow: Int32Array,
  target: Int32Array,
): { readonly rows: number[]; readonly ring: boolean }[] {
  const { capacities, tasks } = problem.reduction;
  const room = capacities.slice();
  for (const column of columnOfRow) if (column >= 0) room[column]!--;
  // Who leaves which column, and for whom it makes room.
  const leaving = Array.from(tasks, (): number[] => []);
  const moving: number[] = [];
  columnOfRow.forEach((column, row) => {
    if (column === target[row]) return;
    moving.push(row);
    if (column >= 0) leaving[column]!.push(row);
  });
  const before = new Int32Array(columnOfRow.length).fill(-1);
  const after = new Int32Array(columnOfRow.length).fill(-1);
  for (const row of moving) {
    const column = target[row]!;
    if (column < 0) continue;
    if (room[column]! > 0) {
      room[column]!--;
      continue;
    }
    // The target fits, so whoever does not find room finds somebody who leaves.
    const leaver = leaving[column]!.pop()!;
    before[row] = leaver;
    after[leaver] = row;
  }
  const chains: { rows: number[]; ring: boolean }[] = [];
  const seen = new Uint8Array(columnOfRow.length);
  const follow = (first: number, ring: boolean): void => {
    const rows: number[] = [];
    for (let row = first; row >= 0 && seen[row] === 0; row = after[row]!) {
      seen[row] = 1;
      rows.push(row);
    }
    chains.push({ rows, ring });
  };
  for (const row of moving) if (before[row] === -1) follow(row, false);
  for (const row of moving) if (seen[row] === 0) follow(row, true);
  return chains;
}

/** Two agents exchange places, or one takes a free one, where that gains and stays within `allowed` changes; in place. */
export function exchangeWithin(
  problem: KeepProblem,
  columnOfRow: Int32Array,
  allowed: number,
  shouldStop: () => boolean,
): void {
  const { keepColumn } = problem;
  const { capacities } = problem.reduction;
  const rows = columnOfRow.length;
  const left = capacities.slice();
  for (const column of columnOfRow) if (column >= 0) left[column]!--;
  const isChange = (row: number, column: number): number => Number(column !== keepColumn[row]);
  let changes = problem.changesOf(columnOfRow);
  let pairs = maxPairs;
  for (let improved = true; improved && pairs > 0;) {
    improved = false;
    for (let row = 0; row < rows && pairs > 0; row++) {
      if (shouldStop()) return;
      pairs -= rows + left.length;
      for (let column = 0; column < left.length; column++) {
        const own = columnOfRow[row]!;
        if (left[column] === 0 || problem.gain(row, column) <= problem.gain(row, own)) continue;
        const more = isChange(row, column) - isChange(row, own);
        if (changes + more > allowed) continue;
        changes += more;
        if (own >= 0) left[own]!++;
        left[column]!--;
        columnOfRow[row] = column;
        improved = true;
      }
      for (let other = row + 1; other < rows; other++) {
        const own = columnOfRow[row]!;
        const theirs = columnOfRow[other]!;
        if (own === theirs) continue;
        const before = problem.gain(row, own) + problem.gain(other, theirs);
        if (problem.gain(row, theirs) + problem.gain(other, own) <= before) continue;
        const more = isChange(row, theirs) + isChange(other, own) - isChange(row, own) - isChange(other, theirs);
        if (changes + more > allowed) continue;
        changes += more;
        columnOfRow[row] = theirs;
        columnOfRow[other] = own;
        improved = true;
      }
    }
  }
}
