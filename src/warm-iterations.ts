/**
 * How many Sinkhorn iterations a warm request runs. A batch has no data-dependent loop, so the count is chosen before it:
 * from what the last tick needed. Cold requests run the count that was asked for, so equal ones run equal arithmetic.
 */

/** A plan counts as converged where both of its marginal errors are below this. */
export const convergedBelow = 1e-3;

/** Counts, below the one asked for, of which there are programs. */
export const reducedCounts: readonly number[] = [5, 10, 20, 50, 100, 200, 500];

/** A lower count is tried where the error was below this share of the target. */
const roomToSpare = 0.3;

/** Ticks for which a count that missed the target is not tried again. */
const avoidanceTicks = 50;

/** Of the tick before. */
export interface LastTick {
  /** 0: none that says anything about this request. */
  readonly iterations: number;
  /** The larger of its two marginal errors. */
  readonly marginalError: number;
  readonly avoidance: Avoidance;
}

/** The largest count that missed the target lately, and for how many more ticks it is remembered. Both 0: none. */
export interface Avoidance {
  readonly iterations: number;
  readonly ticks: number;
}

export const noAvoidance: Avoidance = { iterations: 0, ticks: 0 };

/**
 * `full`: what the request or its policy asks for. One count lower than the last tick's where that met the target with
 * room to spare and the lower one did not miss it lately, the same where it met it, `full` where it missed.
 */
export function iterationCount(full: number, last: LastTick): number {
  const { iterations, marginalError, avoidance } = last;
  if (iterations < 1 || !(marginalError < convergedBelow)) return full;
  const current = Math.min(iterations, full);
  if (marginalError < roomToSpare * convergedBelow) {
    const lower = reducedCounts.findLast((count) => count < current && count > avoidance.iterations);
    if (lower !== undefined) return lower;
  }
  return reducedCounts.find((count) => count >= current && count < full) ?? full;
}

/** What to remember after a warm tick that ran `iterations` of `full`. */
export function avoidanceAfter(before: Avoidance, iterations: number, full: number, marginalError: number): Avoidance {
  if (iterations < full && !(marginalError < convergedBelow)) return { iterations, ticks: avoidanceTicks };
  return before.ticks > 1 ? { iterations: before.iterations, ticks: before.ticks - 1 } : noAvoidance;
}
