/** How alike the agents' wishes are: what decides, beside the size, how long a solver takes. */
import type { Reduction } from './reduction.js';

/**
 * `apart`: every agent has wishes of its own, the quickest; `alike`: nearly all want the same tasks, as from one corner of a map, the
 * slowest; `mixed`: all between, as agents and tasks spread over a map.
 */
export type Contention = 'apart' | 'mixed' | 'alike';

/** Rows, and columns at most, that are looked at: microseconds, whatever the size. */
const sampledRows = 16;
const sampledColumns = 128;
/**
 * Of the variance. Without any likeness the columns' means over 16 rows have 1/16 of it; by measurement utilities at random and bilinear ones have
 * 0.03 to 0.1, agents and tasks spread over a map 0.1 to 0.4, agents in a quarter of it 0.7 to 0.9, in a corner 0.95 and more.
 */
const apartShare = 0.1;
const alikeShare = 0.6;

/**
 * By the share of the costs' variance that is a column's, the same for every row, in a fixed sample of rows and columns. What is unavailable counts as
 * the highest cost. Fewer rows than that are `mixed`. O(1).
 */
export function contentionOf({ agents, tasks, cost, lowestCost, highestCost }: Reduction): Contention {
  const [rows, width] = [agents.length, tasks.length];
  const takenColumns = Math.min(width, sampledColumns);
  // Small problems are solved in no time.
  if (rows < sampledRows || takenColumns < 2) return 'mixed';
  let ofRows = 0;
  let ofColumns = 0;
  let total = 0;
  const columnSum = new Float64Array(takenColumns);
  for (let i = 0; i < sampledRows; i++) {
    const base = Math.floor((i * rows) / sampledRows) * width;
    let rowSum = 0;
    for (let j = 0; j < takenColumns; j++) {
      const value = Math.min(cost[base + Math.floor((j * width) / takenColumns)]!, highestCost) - lowestCost;
      rowSum += value;
      columnSum[j]! += value;
      total += value * value;
    }
    ofRows += rowSum * rowSum;
  }
  let sum = 0;
  for (const value of columnSum) {
    ofColumns += value * value;
    sum += value;
  }
  const cells = sampledRows * takenColumns;
  const middle = (sum * sum) / cells;
  // What an agent adds to all its costs decides nothing.
  const withinRows = total - ofRows / takenColumns;
  const share = (ofColumns / sampledRows - middle) / withinRows;
  // Equal costs have no variance to share.
  if (Number.isNaN(share)) return 'mixed';
  return share > alikeShare ? 'alike' : share < apartShare ? 'apart' : 'mixed';
}
