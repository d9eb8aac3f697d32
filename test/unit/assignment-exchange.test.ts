import { describe, expect, it } from 'vitest';
import { exchangePairs } from '../../src/assignment/pair-exchange.js';
import { costOf, reduceProblem } from '../../src/assignment/reduction.js';
import { checkColumns } from './assignment-certificate.js';
import { hardProblem, randomFrom, uniformUtility } from './assignment-problems.js';

const seed = 9_119;
const never = (): boolean => false;

/** The assignment of `costs` after all exchanges from `columns`. */
function exchanged(costs: number[][], columns: number[], idleUtility: number | null = null): number[] {
  const utility = Float32Array.from(costs.flat(), (cost) => -cost);
  const reduction = reduceProblem(hardProblem(costs.length, costs[0]!.length, utility, { idleUtility }));
  const columnOfRow = Int32Array.from(columns);
  exchangePairs(reduction, columnOfRow, never);
  checkColumns(reduction, columnOfRow);
  return Array.from(columnOfRow);
}

describe('exchanges', () => {
  it('swap the tasks of two agents where that is cheaper in all', () => {
    const costs = [
      [1, 2],
      [5, 9],
    ];
    expect(exchanged(costs, [0, 1])).toEqual([1, 0]);
  });

  it('move an agent to a cheaper free task, and another one to what that left', () => {
    const costs = [
      [5, 9, 1],
      [2, 6, 9],
    ];
    expect(exchanged(costs, [0, 1])).toEqual([2, 0]);
  });

  it('let an idle agent take over what it likes better, and a free task where idling is allowed', () => {
    expect(exchanged([[4], [3]], [0, -1])).toEqual([-1, 0]);
    const costs = [
      [-4, -1],
      [-1, -3],
    ];
    expect(exchanged(costs, [0, -1], 0)).toEqual([0, 1]);
  });

  it(`stay allowed, never cost more and keep cardinality, from any assignment (seed ${seed})`, () => {
    const random = randomFrom(seed);
    let cheaper = 0;
    for (let trial = 0; trial < 100; trial++) {
      const agents = 5 + Math.floor(30 * random());
      const tasks = 5 + Math.floor(30 * random());
      const utility = uniformUtility(agents, tasks, seed + trial).map((value) =>
        random() < 0.2 ? -Infinity : value - 0.5,
      );
      const capacities = Uint32Array.from({ length: tasks }, () => 1 + Math.floor(2 * random()));
      const idleUtility = trial % 2 === 0 ? 0 : null;
      const reduction = reduceProblem(hardProblem(agents, tasks, utility, { capacities, idleUtility }));
      const width = reduction.tasks.length;
      const left = reduction.capacities.slice();
      const columnOfRow = Int32Array.from(reduction.agents, (_, row) => {
        const column = Math.floor(width * random());
        return left[column]! > 0 && reduction.cost[row * width + column]! < Infinity && left[column]!-- > 0
          ? column
          : -1;
      });
      const before = checkColumns(reduction, columnOfRow);
      exchangePairs(reduction, columnOfRow, never);
      const after = checkColumns(reduction, columnOfRow);
      expect(after.cost).toBeLessThanOrEqual(before.cost);
      expect(after.cost).toBe(costOf(reduction, columnOfRow));
      if (idleUtility === null) expect(after.cardinality).toBe(before.cardinality);
      if (after.cost < before.cost) cheaper++;
    }
    expect(cheaper).toBeGreaterThan(90);
  });
});
