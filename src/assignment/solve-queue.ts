/** Problems that wait for a solver thread, the most urgent first, equally urgent ones in order of arrival. */
import type { SolveTask } from './solver-thread.js';

export class SolveQueue {
  /** Ascending. */
  readonly #tasks: SolveTask[] = [];

  get length(): number {
    return this.#tasks.length;
  }

  /** The most urgent one. */
  get first(): SolveTask | undefined {
    return this.#tasks[0];
  }

  add(task: SolveTask): void {
    let low = 0;
    let high = this.#tasks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(task, this.#tasks[middle]!)) high = middle;
      else low = middle + 1;
    }
    this.#tasks.splice(low, 0, task);
  }

  /** Removes the `count` most urgent ones. */
  take(count: number): SolveTask[] {
    return this.#tasks.splice(0, count);
  }

  /** False where it does not wait here. */
  remove(task: SolveTask): boolean {
    const at = this.#tasks.indexOf(task);
    if (at >= 0) this.#tasks.splice(at, 1);
    return at >= 0;
  }

  /** Removes those whose deadline has passed. */
  takeExpired(nowMs: number): SolveTask[] {
    if (!this.#tasks.some((task) => task.deadlineMs <= nowMs)) return [];
    const expired = this.#tasks.filter((task) => task.deadlineMs <= nowMs);
    for (const task of expired) this.remove(task);
    return expired;
  }

  expectedMs(): number {
    let total = 0;
    for (const task of this.#tasks) total += task.expectedMs;
    return total;
  }
}

export function isBefore(left: SolveTask, right: SolveTask): boolean {
  return left.urgencyMs < right.urgencyMs || (left.urgencyMs === right.urgencyMs && left.order < right.order);
}
