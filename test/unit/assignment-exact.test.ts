import { munkres } from 'munkres';
import { describe, expect, it } from 'vitest';
import { certifiedUpperBound } from '../../src/assignment/bound.js';
import { solveExact } from '../../src/assignment/exact.js';
import { type Reduction, reduceProblem } from '../../src/assignment/reduction.js';
import type { SolverStart } from '../../src/assignment/solver-outcome.js';
import { checkColumns, leastCost } from './assignment-certificate.js';
import { distanceUtility, hardProblem, randomFrom, uniformUtility } from './assignment-problems.js';

const never = (): boolean => false;
const seed = 5_150;

/** The least cost by the Hungarian method of a package, columns written out as often as their capacity. */
function costByMunkres(reduction: Reduction): number {
  const width = reduction.tasks.length;
  const slots: number[] = [];
  reduction.capacities.forEach((capacity, column) => {
    for (let place = 0; place < capacity; place++) slots.push(column);
  });
  const line = (row: number) => slots.map((column) => reduction.cost[row * width + column]!);
  const lines = Array.from(reduction.agents, (_, row) => line(row));
  return munkres(lines).reduce((sum, [row, slot]) => sum + lines[row]![slot]!, 0);
}

/** Solves, and proves the answer the best there is by the prices that came with it. */
function solveProven(reduction: Reduction, start: SolverStart | null = null) {
  const outcome = solveExact(reduction, start, never);
  expect(outcome.complete).toBe(true);
  const { cost, cardinality } = checkColumns(reduction, outcome.columnOfRow);
  const size = reduction.magnitude * (reduction.agents.length + 1);
  expect(Math.abs(cost - leastCost(reduction, outcome.columnPrice, cardinality))).toBeLessThan(1e-10 * size);
  return { ...outcome, cost, cardinality };
}

/** Agents in one place but for `spread`, tasks all over a map of side 100. */
const crowd = (agents: number, tasks: number) => distanceUtility(agents, tasks, 0.3, seed);

const kinds: { name: string; make: (agents: number, tasks: number) => Float32Array }[] = [
  { name: 'uniform', make: (agents, tasks) => uniformUtility(agents, tasks, seed) },
  { name: 'distances', make: (agents, tasks) => distanceUtility(agents, tasks, 100, seed) },
  { name: 'distances from one corner', make: crowd },
  {
    name: 'whole numbers with many ties',
    make: (agents, tasks) => uniformUtility(agents, tasks, seed).map((value) => Math.floor(4 * value)),
  },
  { name: 'one number', make: (agents, tasks) => new Float32Array(agents * tasks).fill(-7) },
  {
    name: 'wide magnitudes',
    make: (agents, tasks) => uniformUtility(agents, tasks, seed).map((value) => -(10 ** (12 * value))),
  },
];

const shapes = [
  { agents: 300, tasks: 300, capacity: 1 },
  { agents: 120, tasks: 300, capacity: 1 },
  { agents: 300, tasks: 120, capacity: 1 },
  { agents: 200, tasks: 40, capacity: 5 },
  { agents: 200, tasks: 40, capacity: 4 },
  { agents: 150, tasks: 40, capacity: 50 },
];

describe('the exact solver against the Hungarian method of a package', () => {
  for (const { name, make } of kinds) {
    for (const { agents, tasks, capacity } of shapes) {
      it(`costs as little for ${name}, ${agents} x ${tasks} x ${capacity} (seed ${seed})`, () => {
        const capacities = new Uint32Array(tasks).fill(capacity);
        const reduction = reduceProblem(hardProblem(agents, tasks, make(agents, tasks), { capacities }));
        const { cost, cardinality } = solveProven(reduction);
        expect(cardinality).toBe(Math.min(agents, tasks * capacity));
        const expected = costByMunkres(reduction);
        expect(Math.abs(cost - expected)).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(expected)));
      });
    }
  }
});

describe('the exact solver with constraints', () => {
  const random = randomFrom(seed);
  const patchy = (kind: Float32Array, share: number) => kind.map((value) => (random() < share ? -Infinity : value));

  for (const share of [0.05, 0.7, 0.985]) {
    it(`proves its answer where ${100 * share} % of the pairs are forbidden, with and without idling (seed ${seed})`, () => {
      for (const { make } of kinds.slice(0, 4)) {
        for (const [agents, tasks] of [
          [150, 150],
          [150, 100],
          [100, 150],
        ] as const) {
          const utility = patchy(make(agents, tasks), share);
          const capacities = Uint32Array.from({ length: tasks }, () => Math.floor(3 * random()));
          solveProven(reduceProblem(hardProblem(agents, tasks, utility)));
          solveProven(reduceProblem(hardProblem(agents, tasks, utility, { capacities })));
          const idleUtility = utility.reduce((sum, value) => sum + Math.max(-100, value), 0) / utility.length;
          solveProven(reduceProblem(hardProblem(agents, tasks, utility, { capacities, idleUtility })));
        }
      }
    });
  }
});

describe('the exact solver from an earlier answer', () => {
  it('costs as little as from nothing after every agent has moved, whatever the constraints', () => {
    const random = randomFrom(seed);
    for (const { agents, tasks, capacity } of shapes) {
      for (const idleUtility of [null, -40]) {
        for (const make of [crowd, kinds[0]!.make, kinds[1]!.make]) {
          const capacities = new Uint32Array(tasks).fill(capacity);
          const before = make(agents, tasks);
          const after = before.map((value) => value + 0.2 * (random() - 0.5));
          const last = solveProven(reduceProblem(hardProblem(agents, tasks, before, { capacities, idleUtility })));
          const reduction = reduceProblem(hardProblem(agents, tasks, after, { capacities, idleUtility }));
          // With an idle utility, tasks and agents without a worthwhile pair are left out: another shape, another start.
          const fits = reduction.tasks.length === last.columnPrice.length;
          const cold = solveProven(reduction);
          if (!fits) continue;
          const warm = solveProven(reduction, last);
          expect(warm.cost).toBeCloseTo(cold.cost, 6);
          expect(warm.cardinality).toBe(cold.cardinality);
          const again = solveProven(reduction, { columnPrice: warm.columnPrice, columnOfRow: null });
          expect(again.cost).toBeCloseTo(cold.cost, 6);
        }
      }
    }
  });

  it('keeps an answer that is still the best', () => {
    const reduction = reduceProblem(hardProblem(300, 300, crowd(300, 300)));
    const last = solveProven(reduction);
    expect(solveProven(reduction, last).columnOfRow).toEqual(last.columnOfRow);
  });

  it('is as right from prices and tasks that mean nothing', () => {
    const random = randomFrom(seed);
    const nonsense = [NaN, Infinity, -Infinity, -3, 1e300, 1e12, 0, 5e-324];
    for (const { agents, tasks, capacity } of shapes) {
      const capacities = new Uint32Array(tasks).fill(capacity);
      const reduction = reduceProblem(hardProblem(agents, tasks, crowd(agents, tasks), { capacities }));
      const cold = solveProven(reduction);
      for (const share of [0.05, 0.5, 1]) {
        const columnPrice = cold.columnPrice.map((price) =>
          random() < share ? nonsense[Math.floor(random() * nonsense.length)]! : price,
        );
        const columnOfRow = Int32Array.from({ length: agents }, () => Math.floor(random() * (tasks + 9)) - 4);
        expect(solveProven(reduction, { columnPrice, columnOfRow }).cost).toBeCloseTo(cold.cost, 6);
        const scattered = cold.columnPrice.map(() => 200 * random());
        expect(solveProven(reduction, { columnPrice: scattered, columnOfRow }).cost).toBeCloseTo(cold.cost, 6);
      }
    }
  });

  it('does not change what it starts from, and answers the same twice', () => {
    const reduction = reduceProblem(hardProblem(120, 150, crowd(120, 150)));
    const start = { columnPrice: new Float64Array(150).fill(3), columnOfRow: new Int32Array(120).fill(2) };
    const first = solveExact(reduction, start, never);
    expect(start.columnPrice.every((price) => price === 3)).toBe(true);
    expect(start.columnOfRow.every((column) => column === 2)).toBe(true);
    expect(solveExact(reduction, start, never)).toEqual(first);
  });
});

describe('the exact solver when it is stopped', () => {
  it(`answers something allowed with a bound that holds, whenever that is (seed ${seed})`, () => {
    const random = randomFrom(seed);
    for (const { agents, tasks, capacity } of shapes) {
      for (const idleUtility of [null, -40]) {
        for (const forbidden of [0, 0.5]) {
          const utility = crowd(agents, tasks).map((value) => (random() < forbidden ? -Infinity : value));
          const capacities = new Uint32Array(tasks).fill(capacity);
          const reduction = reduceProblem(hardProblem(agents, tasks, utility, { capacities, idleUtility }));
          let asked = 0;
          const best = solveExact(reduction, null, () => ++asked < 0, 64);
          const optimum = checkColumns(reduction, best.columnOfRow);
          for (let trial = 0; trial < 8; trial++) {
            const stopAt = 1 + Math.floor(random() * asked);
            let calls = 0;
            const start = trial % 2 === 0 ? null : { ...best, columnPrice: best.columnPrice.map((v) => v * random()) };
            const outcome = solveExact(reduction, start, () => ++calls >= stopAt, 64);
            // From a start it may be done before it is asked that often.
            if (start === null || !outcome.complete) expect(outcome.complete).toBe(false);
            if (!outcome.complete) expect(calls).toBe(stopAt);
            const { cost, cardinality } = checkColumns(reduction, outcome.columnOfRow);
            if (idleUtility === null) expect(cardinality).toBe(optimum.cardinality);
            const slack = 1e-9 * reduction.magnitude * (agents + 1);
            expect(cost).toBeGreaterThanOrEqual(optimum.cost - slack);
            const bound = leastCost(reduction, outcome.columnPrice, optimum.cardinality);
            expect(bound).toBeLessThanOrEqual(optimum.cost + slack);
          }
        }
      }
    }
  });

  it(`is within 4 % of the best distance wherever it is stopped in the last fifth of its work (seeds ${seed} to ${seed + 2})`, () => {
    for (let trial = 0; trial < 3; trial++) {
      const reduction = reduceProblem(hardProblem(200, 200, distanceUtility(200, 200, 100, seed + trial)));
      let asked = 0;
      const best = checkColumns(reduction, solveExact(reduction, null, () => ++asked < 0, 512).columnOfRow);
      expect(asked).toBeGreaterThan(500);
      for (let stop = 0; stop < 20; stop++) {
        let calls = 0;
        const stopAt = Math.floor((0.8 + 0.01 * stop) * asked);
        const outcome = solveExact(reduction, null, () => ++calls >= stopAt, 512);
        expect(outcome.complete).toBe(false);
        expect(checkColumns(reduction, outcome.columnOfRow).cost / best.cost - 1).toBeLessThan(0.04);
      }
    }
  });

  it('asks again within a few thousand reads of a cost, and not once more when told to stop', () => {
    const reduction = reduceProblem(hardProblem(300, 300, crowd(300, 300)));
    let calls = 0;
    expect(solveExact(reduction, null, () => ++calls === 3).complete).toBe(false);
    expect(calls).toBe(3);
  });
});

describe('the prices of an exact answer', () => {
  it('make the bound of bound.ts as good as the answer', () => {
    for (const { agents, tasks, capacity } of shapes) {
      const capacities = new Uint32Array(tasks).fill(capacity);
      const reduction = reduceProblem(hardProblem(agents, tasks, crowd(agents, tasks), { capacities }));
      const { cost, cardinality, columnPrice } = solveProven(reduction);
      // The bound takes them as Sinkhorn's potentials: g = -price.
      const column = new Float32Array(tasks);
      columnPrice.forEach((price, index) => (column[reduction.tasks[index]!] = -price));
      const potentials = { row: new Float32Array(agents), column };
      const bound = certifiedUpperBound(reduction, cardinality, -cost - 1000, potentials);
      expect(bound).toBeGreaterThanOrEqual(-cost);
      // Potentials are float32.
      expect(bound).toBeLessThan(-cost + 1e-4 * agents);
    }
  });
});
