/**
 * The greedy assignment of a reduced problem: again and again the cheapest available pair of an unassigned agent and a
 * task with room; equal costs go to the lower agent, then the lower task.
 *
 * Sorting all pairs of 5000 x 5000 would take most of a gigabyte. Pairs are taken in portions of ascending cost instead:
 * a threshold below which about a sixteenth of the remaining pairs lie (from a fixed sample), those pairs sorted and
 * matched, then only what is still unassigned looked at again. Where preferences differ, the first portion assigns nearly
 * everybody; where all agents prefer the same tasks, about half of the pairs are sorted in the end.
 */
import { augmentToGreatest } from './augmentation.js';
import { PairOrder } from './pair-order.js';
import type { Reduction } from './reduction.js';

/** So few pairs are sorted at once. */
const smallEnough = 8192;
const sampleSize = 2048;
const portion = 1 / 16;

/** [n] column or -1 of each row: of greatest cardinality, or where idling is allowed, of pairs no worse than idling. */
export function solveGreedy(reduction: Reduction): Int32Array {
  const columnOfRow = new Int32Array(reduction.agents.length).fill(-1);
  const left = reduction.capacities.slice();
  matchCheapestFirst(reduction, columnOfRow, left);
  if (!reduction.idleAllowed) augmentToGreatest(reduction, columnOfRow, left);
  return columnOfRow;
}

function matchCheapestFirst(reduction: Reduction, columnOfRow: Int32Array, left: Int32Array): void {
  const { cost } = reduction;
  const width = left.length;
  const rows = Int32Array.from(columnOfRow, (_, row) => row);
  const columns = Int32Array.from(left, (_, column) => column);
  let rowCount = rows.length;
  let columnCount = columns.length;
  const order = new PairOrder();
  while (rowCount > 0 && columnCount > 0) {
    const openRows = rows.subarray(0, rowCount);
    const openColumns = columns.subarray(0, columnCount);
    const threshold = pickThreshold(cost, width, openRows, openColumns);
    for (const row of openRows) {
      const base = row * width;
      for (let at = 0; at < columnCount; at++) {
        const cell = base + openColumns[at]!;
        if (cost[cell]! < threshold) order.push(cost[cell]!, cell);
      }
    }
    const cells = order.sorted();
    for (const cell of cells) {
      const row = Math.floor(cell / width);
      const column = cell - row * width;
      if (columnOfRow[row] !== -1 || left[column] === 0) continue;
      columnOfRow[row] = column;
      left[column]!--;
    }
    if (threshold === Infinity) return;
    takeAt(threshold, cost, openRows, openColumns, columnOfRow, left);
    rowCount = keepOpen(rows, rowCount, (row) => columnOfRow[row] === -1);
    columnCount = keepOpen(columns, columnCount, (column) => left[column]! > 0);
  }
}

/** Pairs that cost exactly `threshold`: row by row is already their order, however many they are. */
function takeAt(
  threshold: number,
  cost: Float64Array,
  rows: Int32Array,
  columns: Int32Array,
  columnOfRow: Int32Array,
  left: Int32Array,
): void {
  for (const row of rows) {
    if (columnOfRow[row] !== -1) continue;
    const base = row * left.length;
    for (const column of columns) {
      if (cost[base + column] !== threshold || left[column] === 0) continue;
      columnOfRow[row] = column;
      left[column]!--;
      break;
    }
  }
}

/** The cost of an available pair with about `portion` of the open pairs below it; Infinity where few are left. */
function pickThreshold(cost: Float64Array, width: number, rows: Int32Array, columns: Int32Array): number {
  const cells = rows.length * columns.length;
  if (cells <= smallEnough) return Infinity;
  const sample = new Float64Array(sampleSize);
  // A stride without a common factor with the columns spreads the sample over them.
  let stride = Math.floor(cells / sampleSize);
  while (stride > 1 && greatestCommonDivisor(stride, columns.length) > 1) stride--;
  let count = 0;
  for (let index = 0; index < sampleSize; index++) {
    const at = index * stride;
    const row = Math.floor(at / columns.length);
    const value = cost[rows[row]! * width + columns[at - row * columns.length]!]!;
    if (value < Infinity) sample[count++] = value;
  }
  if (count === 0) return Infinity;
  return sample.subarray(0, count).sort()[Math.floor(count * portion)]!;
}

function greatestCommonDivisor(left: number, right: number): number {
  return right === 0 ? left : greatestCommonDivisor(right, left % right);
}

function keepOpen(indices: Int32Array, count: number, isOpen: (index: number) => boolean): number {
  let kept = 0;
  for (let at = 0; at < count; at++) if (isOpen(indices[at]!)) indices[kept++] = indices[at]!;
  return kept;
}
