/** What a stream knows of its last ticks: nothing but the latest tasks and the latest state, so at most a few numbers and an id for each member. */
import type { Answer, Problem } from '../problem.js';
import { type TaskState, tasksBefore, type TickState, warmStartFor } from '../warm-start.js';

export class StreamMemory {
  /** Of the last tick that made an assignment hard, of whatever policy: whose task is whose does not depend on utilities. */
  #tasks: TaskState | null = null;
  #state: TickState | null = null;

  /**
   * The problem with what it leaves out taken from the ticks before: `assignment.previous` and the warm start. What the
   * request itself brings wins, also the tasks in its own `warm_start`, which is how another stream is resumed. The
   * problem itself where there is nothing to add.
   */
  carryInto(problem: Problem): Problem {
    const state = this.#state;
    const warmStart = problem.warmStart ?? (state === null ? null : warmStartFor(state, problem));
    const previous = this.#previousFor(problem);
    if (previous === null && warmStart === problem.warmStart) return problem;
    const { assignment } = problem;
    return {
      ...problem,
      warmStart,
      assignment: assignment === null || previous === null ? assignment : { ...assignment, previous },
    };
  }

  /** `problem` is the one that was answered. */
  remember(problem: Problem, { assignment, tick }: Answer): void {
    const hard = assignment?.hard ?? null;
    if (hard !== null) {
      const { agentCount, taskCount, agentIds, taskIds } = problem;
      this.#tasks = { agentCount, taskCount, agentIds, taskIds, taskOfAgent: hard.taskOfAgent };
    }
    if (tick !== null) this.#state = merged(this.#state, tick);
  }

  /** Null where the request brings its own, has no assignment, or nothing lines up. */
  #previousFor(problem: Problem): Int32Array | null {
    if (problem.assignment === null || problem.assignment.previous !== null) return null;
    if (problem.warmStart?.taskOfAgent != null) return problem.warmStart.taskOfAgent;
    return this.#tasks === null ? null : tasksBefore(this.#tasks, problem);
  }
}

/** A tick without consensus keeps the last centroid, one without assignment the last prices and potentials. */
function merged(before: TickState | null, now: TickState): TickState {
  if (before === null || (now.taskOfAgent === null && now.columnPotential === null)) {
    return before === null ? now : { ...before, centroid: now.centroid };
  }
  return now.centroid === null && before.centroid !== null ? { ...now, centroid: before.centroid } : now;
}
