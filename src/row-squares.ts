/** Sums of squares of a matrix's rows: one quick pass that tells both whether all numbers are usable and how large the states are. */
import type { Matrix } from './problem.js';

/** [rows, columns] -> [rows], in double precision: NaN where the row holds NaN, finite or Infinity otherwise. */
export function rowSquares({ rows, columns, data }: Pick<Matrix, 'rows' | 'columns' | 'data'>): Float64Array {
  const squares = new Float64Array(rows);
  for (let row = 0, at = 0; row < rows; row++) {
    const end = at + columns;
    // Sums of their own, eight numbers a turn: one sum would wait for itself at every addition.
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (; at + 8 <= end; at += 8) {
      const v0 = data[at]!;
      const v1 = data[at + 1]!;
      const v2 = data[at + 2]!;
      const v3 = data[at + 3]!;
      const v4 = data[at + 4]!;
      const v5 = data[at + 5]!;
      const v6 = data[at + 6]!;
      const v7 = data[at + 7]!;
      a += v0 * v0 + v4 * v4;
      b += v1 * v1 + v5 * v5;
      c += v2 * v2 + v6 * v6;
      d += v3 * v3 + v7 * v7;
    }
    for (; at < end; at++) a += data[at]! * data[at]!;
    squares[row] = a + b + (c + d);
  }
  return squares;
}
