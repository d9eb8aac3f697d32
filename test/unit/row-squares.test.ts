import { describe, expect, it } from 'vitest';
import { rowSquares } from '../../src/row-squares.js';
import { seededNormal } from '../seeded-normal.js';

describe('sums of squares of rows', () => {
  it('are those of every number of the row, at every width around the eight that one turn takes', () => {
    const normal = seededNormal(7);
    for (const columns of [1, 3, 7, 8, 9, 16, 23, 64]) {
      const data = Float32Array.from({ length: 5 * columns }, normal);
      const found = rowSquares({ rows: 5, columns, data });
      for (let row = 0; row < 5; row++) {
        const expected = data.slice(row * columns, (row + 1) * columns).reduce((sum, value) => sum + value * value, 0);
        expect(found[row]).toBeCloseTo(expected, 10);
      }
    }
  });

  it('tell a number that is not usable wherever it stands', () => {
    for (let at = 0; at < 19; at++) {
      for (const [bad, is] of [
        [NaN, Number.isNaN],
        [-Infinity, (sum: number) => sum === Infinity],
        [1.1e15, (sum: number) => sum > 1e30],
        [3.4e38, (sum: number) => sum > 1e30 && sum < Infinity],
      ] as const) {
        const data = new Float32Array(38).fill(1);
        data[19 + at] = bad;
        const [first, second] = rowSquares({ rows: 2, columns: 19, data });
        expect(first).toBe(19);
        expect(is(second!)).toBe(true);
      }
    }
  });
});
