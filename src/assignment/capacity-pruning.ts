/** Removes pairs that large capacities make pointless, before capacities are expanded into copies. */
import type { Reduction } from './reduction.js';

/**
 * Makes unavailable, in place, every pair that some optimal assignment does without, and lowers capacities to the agents
 * that still reach the task (0 where none does).
 *
 * An agent needs only its best tasks up to a joint capacity of n: the other n - 1 agents leave a free place on one of
 * them, and moving there costs no agent its place and no utility. Moving agents one by one, none ends on a pair that was
 * removed. O(n (m + p log m)), p being the tasks an agent keeps.
 */
export function dropNeedlessPairs(reduction: Reduction): void {
  const { cost, capacities } = reduction;
  const rows = reduction.agents.length;
  const width = capacities.length;
  const heap = new Int32Array(width);
  const reach = new Int32Array(width);
  for (let row = 0; row < rows; row++) {
    const line = cost.subarray(row * width, (row + 1) * width);
    let size = 0;
    for (let column = 0; column < width; column++) if (line[column]! < Infinity) heap[size++] = column;
    for (let top = (size >> 1) - 1; top >= 0; top--) sink(heap, size, top, line);
    let places = 0;
    while (size > 0 && places < rows) {
      const column = heap[0]!;
      places += capacities[column]!;
      reach[column]!++;
      heap[0] = heap[--size]!;
      sink(heap, size, 0, line);
    }
    if (size > 0) reduction.dense = false;
    for (let rest = 0; rest < size; rest++) line[heap[rest]!] = Infinity;
  }
  for (let column = 0; column < width; column++) capacities[column] = Math.min(capacities[column]!, reach[column]!);
}

/** Restores the heap order (cheapest on top, ties to the lower column) below `top`. */
function sink(heap: Int32Array, size: number, top: number, line: Float64Array): void {
  const column = heap[top]!;
  let at = top;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= size) break;
    if (child + 1 < size && before(heap[child + 1]!, heap[child]!, line)) child++;
    if (before(column, heap[child]!, line)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = column;
}

function before(left: number, right: number, line: Float64Array): boolean {
  const difference = line[left]! - line[right]!;
  return difference < 0 || (difference === 0 && left < right);
}
