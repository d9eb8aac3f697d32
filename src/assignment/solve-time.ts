/** How long solving takes, learnt from what it took: rules of thumb from sizes, corrected by recent measurements. Milliseconds. */

/** `pass`: one reading of all costs. `solve`: a whole problem as the pool sees it, whichever solver. */
export type SolveKind = 'pass' | 'exact' | 'exact-warm' | 'auction' | 'auction-warm' | 'greedy' | 'solve';

/** Nanoseconds per cell, and per cell and 1000 of the shorter side, for uniform utilities on one core of a 2024 server. */
const rules: Readonly<Record<SolveKind, readonly [number, number]>> = {
  pass: [2, 0],
  exact: [25, 15],
  'exact-warm': [8, 2],
  auction: [40, 0],
  'auction-warm': [15, 0],
  greedy: [50, 0],
  solve: [35, 15],
};
const fixedMs = 0.05;

/** Weight of the latest measurement. */
const weight = 0.25;
/** What was too slow to be tried is thought this much quicker each time, so that it is tried again some day. */
const forgiveness = 0.95;
/** What was stopped is thought to take so many times what it had, at least. */
const stoppedFactor = 1.5;

/**
 * Inputs of one size differ by a factor of ten or more (agents that all want the same tasks are slow), so an estimate is no promise.
 * Measurements count for their size class (a factor of two in cells) and, until that has its own, for the next ones.
 */
export class SolveTimes {
  /** kind -> size class -> measured / rule. */
  readonly #ratios = new Map<SolveKind, Map<number, number>>();

  expectedMs(kind: SolveKind, agents: number, tasks: number): number {
    return ruleMs(kind, agents, tasks) * this.#ratio(kind, sizeClass(agents, tasks));
  }

  record(kind: SolveKind, agents: number, tasks: number, ms: number): void {
    const ratio = ms / ruleMs(kind, agents, tasks);
    const size = sizeClass(agents, tasks);
    const ratios = this.#ratiosOf(kind);
    const known = ratios.get(size);
    ratios.set(size, known === undefined ? ratio : known + weight * (ratio - known));
  }

  /** It was stopped after `ms`, with who knows how much to go. */
  recordStopped(kind: SolveKind, agents: number, tasks: number, ms: number): void {
    const least = (stoppedFactor * ms) / ruleMs(kind, agents, tasks);
    const size = sizeClass(agents, tasks);
    this.#ratiosOf(kind).set(size, Math.max(least, this.#ratio(kind, size)));
  }

  /** It was not tried because it seemed too slow. */
  recordSkipped(kind: SolveKind, agents: number, tasks: number): void {
    const size = sizeClass(agents, tasks);
    this.#ratiosOf(kind).set(size, forgiveness * this.#ratio(kind, size));
  }

  #ratiosOf(kind: SolveKind): Map<number, number> {
    let ratios = this.#ratios.get(kind);
    if (ratios === undefined) this.#ratios.set(kind, (ratios = new Map<number, number>()));
    return ratios;
  }

  #ratio(kind: SolveKind, size: number): number {
    const ratios = this.#ratios.get(kind);
    if (ratios === undefined) return 1;
    let nearest = 1;
    let distance = Infinity;
    for (const [at, ratio] of ratios) {
      if (Math.abs(at - size) >= distance) continue;
      distance = Math.abs(at - size);
      nearest = ratio;
    }
    return nearest;
  }
}

function sizeClass(agents: number, tasks: number): number {
  return Math.round(Math.log2(Math.max(1, agents * tasks)));
}

function ruleMs(kind: SolveKind, agents: number, tasks: number): number {
  const [perCell, perThousand] = rules[kind];
  return fixedMs + 1e-6 * agents * tasks * (perCell + (perThousand * Math.min(agents, tasks)) / 1000);
}
