/** Which numbers of a request may be what: rejected agents, forbidden pairs, and everything else finite. */
import { CoordinatorError } from '../errors.js';
import type { Matrix } from '../problem.js';
import { rowSquares } from '../row-squares.js';

/** Beyond this, states are taken for broken sensors: squares and sums of them would leave float32's range. */
export const largestMagnitude = 1e15;

/** A row whose squares add up to no more holds nothing that is broken; above it, the row is looked at number by number. */
const harmlessSquare = largestMagnitude ** 2;

/** The matrix with its `rowSquares`. */
export function measured(matrix: Matrix): Matrix {
  return { ...matrix, rowSquares: rowSquares(matrix) };
}

/** Whether row `row` holds NaN, an infinity or a magnitude above `largestMagnitude`. */
export function isRowBroken(matrix: Matrix, row: number): boolean {
  const { data, columns, rowSquares: squares } = matrix;
  if (squares !== undefined && squares[row]! <= harmlessSquare) return false;
  const end = (row + 1) * columns;
  for (let i = row * columns; i < end; i++) {
    // Written so that NaN fails it.
    if (!(Math.abs(data[i]!) <= largestMagnitude)) return true;
  }
  return false;
}

/**
 * Task states [M,e]: finite and at most `largestMagnitude` in the rows of active tasks. Masked tasks are as if absent:
 * their rows may hold anything, and where they do not hold numbers the answer is a copy with zeros there.
 */
export function checkTaskStates(field: string, tasks: Matrix, taskActive: Uint8Array): Matrix {
  const checked = measured(tasks);
  const { data, columns } = tasks;
  if (checked.rowSquares !== undefined && areHarmless(checked.rowSquares)) return checked;
  let copy: Float32Array | null = null;
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    if (Math.abs(value) <= largestMagnitude) continue;
    const row = Math.floor(i / columns);
    if (taskActive[row] === 1) {
      const place = `${value} at [${row},${i % columns}]`;
      if (Number.isFinite(value)) {
        throw CoordinatorError.field('REQUEST_INVALID', field, `magnitudes of at most ${largestMagnitude}`, place);
      }
      throw CoordinatorError.field('TENSOR_NOT_FINITE', field, 'finite numbers', place);
    }
    copy ??= data.slice();
    copy[i] = 0;
  }
  return copy === null ? checked : measured({ ...tasks, data: copy });
}

/** A loop: `every` makes an object of each number. */
function areHarmless(squares: Float64Array): boolean {
  for (let row = 0; row < squares.length; row++) {
    // Written so that NaN fails it.
    if (!(squares[row]! <= harmlessSquare)) return false;
  }
  return true;
}

/**
 * Utilities of pairs [N,M]: finite, or -Infinity for a forbidden pair. Pairs of inactive agents or tasks are as if
 * absent: they may hold anything, and where that is NaN or +Infinity the answer is a copy with zeros there.
 */
export function checkPairUtilities(
  field: string,
  data: Float32Array,
  agentActive: Uint8Array,
  taskActive: Uint8Array,
): Float32Array {
  const columns = taskActive.length;
  let copy: Float32Array | null = null;
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    // False for NaN and +Infinity alone.
    if (value < Infinity) continue;
    const row = Math.floor(i / columns);
    const column = i % columns;
    if (agentActive[row] === 1 && taskActive[column] === 1) {
      const place = `${value} at [${row},${column}]`;
      throw CoordinatorError.field('TENSOR_NOT_FINITE', field, 'finite numbers or -Infinity (a forbidden pair)', place);
    }
    copy ??= data.slice();
    copy[i] = 0;
  }
  return copy ?? data;
}
