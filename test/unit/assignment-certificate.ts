/** What an answer of a solver must keep, and what proves it the best, by definitions of their own. */
import { expect } from 'vitest';
import type { Reduction } from '../../src/assignment/reduction.js';

/** Checks every rule of the reduced problem; returns the answer's cost and how many rows have a column. */
export function checkColumns(
  reduction: Reduction,
  columnOfRow: Int32Array,
): { readonly cost: number; readonly cardinality: number } {
  const width = reduction.tasks.length;
  const used = new Array<number>(width).fill(0);
  let cost = 0;
  let cardinality = 0;
  expect(columnOfRow).toHaveLength(reduction.agents.length);
  columnOfRow.forEach((column, row) => {
    if (column === -1) return;
    expect(column).toBeGreaterThanOrEqual(0);
    expect(column).toBeLessThan(width);
    used[column]!++;
    cardinality++;
    cost += reduction.cost[row * width + column]!;
  });
  expect(Number.isFinite(cost)).toBe(true);
  used.forEach((count, column) => expect(count).toBeLessThanOrEqual(reduction.capacities[column]!));
  return { cost, cardinality };
}

/**
 * A lower bound of the cost of every assignment (of `cardinality` rows, where idling is not allowed) at prices >= 0: by weak duality, whoever
 * computes it. At the optimum of a linear program some prices reach it.
 */
export function leastCost(reduction: Reduction, columnPrice: Float64Array, cardinality: number): number {
  const width = reduction.tasks.length;
  const least = Array.from(reduction.agents, (_, row) => {
    let value = Infinity;
    for (let column = 0; column < width; column++) {
      value = Math.min(value, reduction.cost[row * width + column]! + columnPrice[column]!);
    }
    return value;
  });
  let bound = 0;
  columnPrice.forEach((price, column) => {
    expect(price).toBeGreaterThanOrEqual(0);
    bound -= reduction.capacities[column]! * price;
  });
  if (reduction.idleAllowed) for (const value of least) bound += Math.min(0, value);
  else for (const value of least.sort((a, b) => a - b).slice(0, cardinality)) bound += value;
  return bound;
}
