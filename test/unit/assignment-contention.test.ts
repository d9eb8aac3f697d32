/** What AUTO knows of a problem beside its size: how alike the agents' wishes are. */
import { describe, expect, it } from 'vitest';
import { type Contention, contentionOf } from '../../src/assignment/contention.js';
import { reduceProblem } from '../../src/assignment/reduction.js';
import { solveHard } from '../../src/assignment/solve.js';
import { SolveTimes } from '../../src/assignment/solve-time.js';
import { distanceUtility, hardProblem, randomFrom, uniformUtility } from './assignment-problems.js';

const seed = 4_117;

function bilinearUtility(count: number, width: number): Float32Array {
  const random = randomFrom(seed);
  const states = () => Float64Array.from({ length: count * width }, () => random() - 0.5);
  const [agents, tasks] = [states(), states()];
  return Float32Array.from({ length: count * count }, (_, cell) => {
    const [agent, task] = [Math.floor(cell / count) * width, (cell % count) * width];
    let sum = 0;
    for (let k = 0; k < width; k++) sum += agents[agent + k]! * tasks[task + k]!;
    return sum;
  });
}

function seenIn(count: number, utility: Float32Array): Contention {
  return contentionOf(reduceProblem(hardProblem(count, utility.length / count, utility)));
}

describe(`contention (seed ${seed})`, () => {
  for (const count of [50, 300, 1000]) {
    it(`tells wishes of their own, a map and a corner of it apart: N=M=${count}`, () => {
      expect(seenIn(count, uniformUtility(count, count, seed))).toBe('apart');
      expect(seenIn(count, bilinearUtility(count, 64))).toBe('apart');
      expect(seenIn(count, distanceUtility(count, count, 100, seed))).toBe('mixed');
      expect(seenIn(count, distanceUtility(count, count, 5, seed))).toBe('alike');
    });
  }

  it('is not moved by what an agent or everybody adds to all utilities', () => {
    const utility = uniformUtility(100, 100, seed);
    const perAgent = utility.map((value, cell) => value + 1000 * (Math.floor(cell / 100) % 7));
    expect(seenIn(100, perAgent)).toBe('apart');
    expect(seenIn(100, utility.map((value) => value + 4096))).toBe('apart'); // prettier-ignore
  });

  it('has an answer where there is nothing to tell: few agents, one task, equal costs, forbidden pairs', () => {
    expect(seenIn(5, uniformUtility(5, 100, seed))).toBe('mixed');
    expect(seenIn(100, uniformUtility(100, 1, seed))).toBe('mixed');
    expect(seenIn(100, new Float32Array(10_000))).toBe('mixed');
    const random = randomFrom(seed);
    expect(seenIn(100, uniformUtility(100, 100, seed).map((value) => (random() < 0.5 ? value : -Infinity)))).toBe('apart'); // prettier-ignore
  });
});

describe('what contention decides', () => {
  const count = 200;

  it('estimates are learnt for each contention by itself, and differ before that', () => {
    const times = new SolveTimes();
    const of = (contention: Contention): number => times.expectedMs('exact', count, count, contention);
    expect(of('apart')).toBeLessThan(of('mixed'));
    expect(of('mixed')).toBeLessThan(of('alike'));
    const [mixedMs, alikeMs] = [of('mixed'), of('alike')];
    for (let run = 0; run < 40; run++) times.record('exact', count, count, 10 * alikeMs, 'alike');
    expect(of('alike')).toBeCloseTo(10 * alikeMs, 6);
    expect(of('mixed')).toBe(mixedMs);
  });

  it('a swarm in a corner that takes long does not keep AUTO from solving others exactly', () => {
    const solverAfterSlow = (contention: Contention): string => {
      const times = new SolveTimes();
      for (let run = 0; run < 40; run++) times.record('exact', count, count, 1000, contention);
      const problem = hardProblem(count, count, uniformUtility(count, count, seed), { budgetMs: 20 });
      return solveHard(problem, { nowMs: () => 0, cancelled: () => false }, times)!.solver;
    };
    expect(solverAfterSlow('alike')).toBe('exact');
    expect(solverAfterSlow('apart')).toBe('auction');
  });
});
