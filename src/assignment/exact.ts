/**
 * The optimal assignment of a reduced problem, by the `munkres` package (Hungarian method, O(k^2 X) for k = min(n, C)
 * and X = max(n, C), C being the joint capacity). Ties: deterministic, otherwise as the package breaks them.
 *
 * munkres matches every line of the shorter side and knows no unavailable pair, so such a pair gets a finite price:
 * - with an idle utility 0, the cost of idling: since no available pair costs more, a full matching loses nothing;
 * - without, more than any saving elsewhere could repay: high + (k + 1) (high - low), where low and high are the extreme
 *   available costs. So the fewest unavailable pairs are used first, which is greatest cardinality, then the least cost.
 *   Duals grow to a few times that price, so costs are told apart to about 1e-12 of their range.
 * Every chosen pair is checked against the original costs. A task of capacity c becomes c identical lines of the matrix.
 */
import { munkres } from 'munkres';
import { CoordinatorError } from '../errors.js';
import { dropNeedlessPairs } from './capacity-pruning.js';
import type { Reduction } from './reduction.js';

/** Cells of the matrix after the expansion of capacities: 1 GiB of float64. */
export const maxExactCells = 2 ** 27;

/** Capacity above this multiple of the agents is worth pruning; below, pruning costs as much as it saves. */
const pruneAbove = 4;

/** Lines are as long as this before an interrupt costs less than a tenth of the time. */
const shortestInterruptible = 128;

class Interrupted extends Error {}

/**
 * [n] column or -1 of each row, or null where `shouldStop` said so: it is asked every few scans of a line (microseconds
 * apart), of matrices large enough to take a millisecond. May remove pairs from `reduction` that an optimal answer does not need.
 * Throws SIZE_LIMIT where the capacities need more than `maxExactCells`.
 */
export function solveExact(reduction: Reduction, shouldStop: () => boolean): Int32Array | null {
  const rows = reduction.agents.length;
  const columnOfRow = new Int32Array(rows).fill(-1);
  if (rows === 0) return columnOfRow;
  let slots = columnOfSlots(reduction.capacities);
  if (slots.length > pruneAbove * rows) {
    dropNeedlessPairs(reduction);
    slots = columnOfSlots(reduction.capacities);
  }
  // Copies of a task can share a line, copies of a column cannot.
  const byAgent = rows < slots.length || (rows === slots.length && slots.length === reduction.tasks.length);
  if (byAgent && rows * slots.length > maxExactCells) {
    const received = `${rows} agents and a joint capacity of ${slots.length}`;
    const expected = `agents x joint capacity of at most ${maxExactCells} for EXACT`;
    throw CoordinatorError.field('SIZE_LIMIT', 'assignment.capacities', expected, received);
  }
  const lines = byAgent ? agentLines(reduction, slots) : taskLines(reduction, slots);
  const pairs = match(lines, shouldStop);
  if (pairs === null) return null;
  const { cost, tasks } = reduction;
  for (const [line, position] of pairs) {
    const row = byAgent ? line : position;
    const column = slots[byAgent ? position : line]!;
    if (cost[row * tasks.length + column]! < Infinity) columnOfRow[row] = column;
  }
  return columnOfRow;
}

/**
 * munkres has no way to stop, but it fetches the line from the outer array once per scan of that line, where the lines
 * are not shorter than their number (always so here). A proxy in the outer array's place throws there.
 */
function match(lines: readonly Float64Array[], shouldStop: () => boolean): [number, number][] | null {
  if (lines[0]!.length < shortestInterruptible) return munkres(lines);
  let scans = 0;
  const watched = new Proxy(lines, {
    get(target, key): unknown {
      if ((++scans & 15) === 0 && shouldStop()) throw new Interrupted();
      return Reflect.get(target, key);
    },
  });
  try {
    return munkres(watched);
  } catch (thrown) {
    if (thrown instanceof Interrupted) return null;
    throw thrown;
  }
}

/** [C] the column of each slot, ascending. */
function columnOfSlots(capacities: Int32Array): Int32Array {
  let total = 0;
  for (const capacity of capacities) total += capacity;
  const slots = new Int32Array(total);
  let at = 0;
  for (let column = 0; column < capacities.length; column++) {
    slots.fill(column, at, at + capacities[column]!);
    at += capacities[column]!;
  }
  return slots;
}

/** n lines of C: views of the costs themselves where nothing needs to be copied or replaced. */
function agentLines(reduction: Reduction, slots: Int32Array): Float64Array[] {
  const rows = reduction.agents.length;
  const width = reduction.tasks.length;
  const slotCount = slots.length;
  let table = reduction.cost;
  if (!reduction.dense || slotCount !== width) {
    const price = unavailablePrice(reduction, slotCount);
    table = new Float64Array(rows * slotCount);
    for (let row = 0, to = 0; row < rows; row++) {
      const from = row * width;
      for (let slot = 0; slot < slotCount; slot++) table[to++] = Math.min(price, reduction.cost[from + slots[slot]!]!);
    }
  }
  const lines = new Array<Float64Array>(rows);
  for (let row = 0; row < rows; row++) lines[row] = table.subarray(row * slotCount, (row + 1) * slotCount);
  return lines;
}

/** C lines of n; the copies of a task share one. */
function taskLines(reduction: Reduction, slots: Int32Array): Float64Array[] {
  const rows = reduction.agents.length;
  const width = reduction.tasks.length;
  const price = unavailablePrice(reduction, slots.length);
  const columns = new Array<Float64Array>(width);
  for (let column = 0; column < width; column++) columns[column] = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    const from = row * width;
    for (let column = 0; column < width; column++) {
      columns[column]![row] = Math.min(price, reduction.cost[from + column]!);
    }
  }
  return Array.from(slots, (column) => columns[column]!);
}

/** Infinity where there is no unavailable pair to price. */
function unavailablePrice(reduction: Reduction, slotCount: number): number {
  if (reduction.idleAllowed) return 0;
  if (reduction.dense) return Infinity;
  let low = Infinity;
  let high = -Infinity;
  const { cost } = reduction;
  for (let cell = 0; cell < cost.length; cell++) {
    const value = cost[cell]!;
    if (value === Infinity) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const matched = Math.min(reduction.agents.length, slotCount);
  // Equal costs leave no range, and a range below the costs' rounding is no safe distance.
  return high + Math.max((matched + 1) * (high - low), Math.abs(high) * 1e-6, Number.MIN_VALUE / Number.EPSILON);
}
