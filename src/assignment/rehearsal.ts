/** Solves problems that nobody asked for, so that the solvers are compiled when somebody does. */
import { type HardProblem, type HardResult, plainHardProblem } from './hard.js';
import { solveHard } from './solve.js';
import { SolveTimes } from './solve-time.js';

/** Agents and tasks of the rounds: each begins with what smaller ones have had compiled, so none of its problems takes long. */
const sizes = [48, 48, 96, 96, 160, 160, 224, 224, 224, 224];
/** Shares of the exact solver's time that AUTO gets: what comes after a stop is code of its own. */
const stopShares = [0.3, 0.5, 0.7, 0.9];

/** Yields every answer. What it learns of times is forgotten: they are those of code that is not compiled yet. `nowMs` is monotonic. */
export function* rehearsal(nowMs: () => number): Generator<HardResult | null, void> {
  for (const [round, size] of sizes.entries()) {
    const times = new SolveTimes();
    for (const utility of [distances(size, round), noise(size, round)]) {
      const problem = plainHardProblem(size, utility, 'EXACT');
      const solve = (more: Partial<HardProblem>) =>
        solveHard({ ...problem, ...more }, { nowMs, cancelled: () => false }, times);
      const beganMs = nowMs();
      const exact = solve({});
      const exactMs = nowMs() - beganMs;
      yield exact;
      yield solve({ warm: exact && { taskPrices: exact.taskPrices, taskOfAgent: exact.taskOfAgent } });
      for (const share of stopShares) yield solve({ solver: 'AUTO', budgetMs: share * exactMs });
      for (const solver of ['AUCTION', 'GREEDY'] as const) yield solve({ solver, budgetMs: exactMs });
    }
  }
}

/** [size, size] minus distances of points on a map of side 1. */
function distances(size: number, seed: number): Float32Array {
  const at = (index: number): number => ((index + 1) * (seed + 1) * 0.618_033_988_75) % 1;
  const across = (index: number): number => ((index + 1) * (seed + 2) * 0.754_877_666_25) % 1;
  return Float32Array.from({ length: size * size }, (_, cell) => {
    const agent = Math.floor(cell / size);
    const task = size + (cell % size);
    return -Math.hypot(at(agent) - at(task), across(agent) - across(task));
  });
}

/** [size, size] numbers from 0 to 1 without a pattern. */
function noise(size: number, seed: number): Float32Array {
  return Float32Array.from({ length: size * size }, (_, cell) => {
    let mixed = Math.imul(cell + size * seed + 1, 0x9e3779b1);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b);
    return ((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32;
  });
}
