/** How long solving takes, learnt from what it took: rules of thumb from sizes and contention, corrected by recent measurements. Milliseconds. */
import type { Contention } from './contention.js';

/** `pass`: one reading of all costs. `solve`: a whole problem as the pool sees it, whichever solver. */
export type SolveKind = 'pass' | 'exact' | 'exact-warm' | 'auction' | 'auction-warm' | 'greedy' | 'solve';

/** Nanoseconds per cell, and per cell and 1000 of the shorter side, for agents and tasks spread over a map, on one core of a 2024 server. */
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
/** So many times that, by contention (N=1000, exact: 8 to 16 ms apart, 31 mixed, 87 to 101 alike). */
const contentionFactor: Readonly<Record<Contention, number>> = { apart: 0.4, mixed: 1, alike: 2.5 };

/** Weight of the latest measurement. */
const weight = 0.25;
/** What was too slow to be tried is thought this much quicker each time, so that it is tried again some day. */
const forgiveness = 0.95;
/** What was stopped is thought to take so many times what it had, at least. */
const stoppedFactor = 1.5;

/**
 * Inputs of one size differ by a factor of ten or more, also within one kind of contention, so an estimate is no promise. Measurements count for their kind,
 * contention (`mixed` where that makes no difference) and size class (a factor of two in cells) and, until that has its own, for the next ones.
 */
export class SolveTimes {
  /** Kind and contention -> size class -> measured / rule. */
  readonly #ratios = new Map<string, Map<number, number>>();

  expectedMs(kind: SolveKind, agents: number, tasks: number, contention: Contention = 'mixed'): number {
    return ruleMs(kind, agents, tasks, contention) * this.#ratio(kind, contention, sizeClass(agents, tasks));
  }

  record(kind: SolveKind, agents: number, tasks: number, ms: number, contention: Contention = 'mixed'): void {
    const ratio = ms / ruleMs(kind, agents, tasks, contention);
    const size = sizeClass(agents, tasks);
    const ratios = this.#ratiosOf(kind, contention);
    const known = ratios.get(size);
    ratios.set(size, known === undefined ? ratio : known + weight * (ratio - known));
  }

  /** It was stopped after `ms`, with who knows how much to go. */
  recordStopped(kind: SolveKind, agents: number, tasks: number, ms: number, contention: Contention): void {
    const least = (stoppedFactor * ms) / ruleMs(kind, agents, tasks, contention);
    const size = sizeClass(agents, tasks);
    this.#ratiosOf(kind, contention).set(size, Math.max(least, this.#ratio(kind, contention, size)));
  }

  /** It was not tried because it seemed too slow. */
  recordSkipped(kind: SolveKind, agents: number, tasks: number, contention: Contention): void {
    const size = sizeClass(agents, tasks);
    this.#ratiosOf(kind, contention).set(size, forgiveness * this.#ratio(kind, contention, size));
  }

  #ratiosOf(kind: SolveKind, contention: Contention): Map<number, number> {
    const key = `${kind} ${contention}`;
    let ratios = this.#ratios.get(key);
    if (ratios === undefined) this.#ratios.set(key, (ratios = new Map<number, number>()));
    return ratios;
  }

  #ratio(kind: SolveKind, contention: Contention, size: number): number {
    const ratios = this.#ratios.get(`${kind} ${contention}`);
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

function ruleMs(kind: SolveKind, agents: number, tasks: number, contention: Contention): number {
  const [perCell, perThousand] = rules[kind];
  const perCellNs = contentionFactor[contention] * (perCell + (perThousand * Math.min(agents, tasks)) / 1000);
  return fixedMs + 1e-6 * agents * tasks * perCellNs;
}
