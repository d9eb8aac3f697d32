import { describe, expect, it } from 'vitest';
import { decideRest } from '../../src/assignment/insertion.js';
import { type Reduction, reduceProblem } from '../../src/assignment/reduction.js';
import { checkColumns } from './assignment-certificate.js';
import { hardProblem, randomFrom, uniformUtility } from './assignment-problems.js';

const seed = 4_242;

/** `costs` row by row, over the rows that are given, and rows beside them that only want columns of their own. */
function withBystanders(costs: number[][], capacities: number[], elsewhere = 1000): Reduction {
  const bystanders = 24;
  const width = capacities.length + bystanders;
  const rows = costs.map((row) => [...row, ...new Array<number>(bystanders).fill(elsewhere)]);
  for (let index = 0; index < bystanders; index++) {
    rows.push(Array.from({ length: width }, (_, column) => (column === capacities.length + index ? -5 : elsewhere)));
  }
  const utility = Float32Array.from(rows.flat(), (cost) => -cost);
  const places = Uint32Array.from([...capacities, ...new Array<number>(bystanders).fill(1)]);
  return reduceProblem(hardProblem(rows.length, width, utility, { capacities: places }));
}

/** The first rows as given, bystanders with their own columns; returns what the first rows end with. */
function decided(reduction: Reduction, first: number[], columns: number): number[] {
  const bystanders = reduction.agents.length - first.length;
  const columnOfRow = Int32Array.from([...first, ...Array.from({ length: bystanders }, (_, index) => columns + index)]);
  decideRest(reduction, new Float64Array(reduction.tasks.length), columnOfRow);
  checkColumns(reduction, columnOfRow);
  return Array.from(columnOfRow.subarray(0, first.length));
}

describe('the rest of an unfinished assignment', () => {
  it('is placed by the cheapest chain: a row takes the place of one that hardly minds going elsewhere', () => {
    const costs = [
      [1, 50, 9],
      [2, 3, 90],
      [50, 60, 1],
    ];
    const reduction = withBystanders(costs, [1, 1, 1]);
    expect(decided(reduction, [-1, 0, 2], 3)).toEqual([0, 1, 2]);
  });

  it('takes a free place where that is cheaper than any chain', () => {
    const costs = [
      [1, 4],
      [2, 9],
    ];
    expect(decided(withBystanders(costs, [1, 1]), [-1, 0], 2)).toEqual([1, 0]);
  });

  it('sends away the holder of a shared column that minds least', () => {
    const costs = [
      [1, 50],
      [2, 30],
      [2, 10],
      [2, 20],
    ];
    expect(decided(withBystanders(costs, [3, 1]), [-1, 0, 0, 0], 2)).toEqual([0, 0, 1, 0]);
  });

  it('lets somebody idle where that is cheaper, if it is allowed', () => {
    const rows = 20;
    // All hold a column of their own but the last, who wants that of row 0 most.
    const utility = Float32Array.from({ length: rows * (rows - 1) }, (_, cell) => {
      const row = Math.floor(cell / (rows - 1));
      const column = cell % (rows - 1);
      return row === column ? 2 : row === rows - 1 && column === 0 ? 9 : -1;
    });
    const reduction = reduceProblem(hardProblem(rows, rows - 1, utility, { idleUtility: 0 }));
    const columnOfRow = Int32Array.from({ length: rows }, (_, row) => (row === rows - 1 ? -1 : row));
    decideRest(reduction, new Float64Array(rows - 1), columnOfRow);
    expect(checkColumns(reduction, columnOfRow).cost).toBe(-2 * (rows - 2) - 9);
    expect([columnOfRow[0], columnOfRow[rows - 1]]).toEqual([-1, 0]);
  });

  it('keeps idle whom the solver let idle, and is of greatest cardinality where idling is not allowed', () => {
    const costs = [
      [1, 50],
      [2, 3],
      [4, 4],
    ];
    const places = withBystanders(costs, [1, 1]);
    const idle = places.tasks.length;
    expect(decided(places, [-1, 0, idle], 2)).toEqual([0, 1, -1]);
    const forbidden = [
      [1, Infinity, Infinity],
      [2, 3, Infinity],
      [3, 1, 7],
    ];
    // Two steps do not reach the last free column.
    expect(decided(withBystanders(forbidden, [1, 1, 1], Infinity), [-1, 0, 1], 3)).toEqual([0, 1, 2]);
  });

  it(`is allowed and of greatest cardinality from any beginning, few undecided or many (seed ${seed})`, () => {
    const random = randomFrom(seed);
    for (let trial = 0; trial < 200; trial++) {
      const agents = 10 + Math.floor(40 * random());
      const tasks = 5 + Math.floor(40 * random());
      const utility = uniformUtility(agents, tasks, seed + trial).map((value) =>
        random() < 0.3 ? -Infinity : value - 0.5,
      );
      const capacities = Uint32Array.from({ length: tasks }, () => Math.floor(3 * random()));
      const idleUtility = trial % 3 === 0 ? 0 : null;
      const reduction = reduceProblem(hardProblem(agents, tasks, utility, { capacities, idleUtility }));
      const width = reduction.tasks.length;
      const rows = reduction.agents.length;
      const best = new Int32Array(rows).fill(-1);
      decideRest(reduction, new Float64Array(width), best);
      const { cardinality } = checkColumns(reduction, best);
      const share = random();
      const begun = best.map((column) => (random() < share ? -1 : column < 0 ? width : column));
      decideRest(reduction, Float64Array.from({ length: width }, random), begun);
      const outcome = checkColumns(reduction, begun);
      if (idleUtility === null) expect(outcome.cardinality).toBe(cardinality);
      else expect(outcome.cost).toBeLessThanOrEqual(0);
    }
  });
});
