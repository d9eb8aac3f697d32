import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainDemands, plainHardProblem } from '../../src/assignment/hard.js';
import { distancesInto, type PosedProblem, type Positions, withUtilities } from '../../src/assignment/positions.js';
import { SolverSlots } from '../../src/assignment/solver-slots.js';

const coordinate = fc.float({ min: -1000, max: 1000, noNaN: true });
const positions = fc
  .record({
    agents: fc.integer({ min: 1, max: 7 }),
    tasks: fc.integer({ min: 1, max: 7 }),
    width: fc.integer({ min: 1, max: 4 }),
  })
  .chain(({ agents, tasks, width }) =>
    fc.record({
      width: fc.constant(width),
      agents: fc
        .array(coordinate, { minLength: agents * width, maxLength: agents * width })
        .map((values) => Float32Array.from(values)),
      tasks: fc
        .array(coordinate, { minLength: tasks * width, maxLength: tasks * width })
        .map((values) => Float32Array.from(values)),
    }),
  );

function posed(utility: Positions): PosedProblem {
  const { agents, tasks, width } = utility;
  const demands = plainDemands(agents.length / width, tasks.length / width, 'EXACT');
  return { ...demands, utility, warm: null, potentials: null };
}

describe('utilities from positions', () => {
  it('are minus the Euclidean distances, in float32, row by row', () => {
    fc.assert(
      fc.property(positions, (given) => {
        const { width } = given;
        const { agentCount, taskCount, utility } = withUtilities(posed(given));
        expect(utility).toHaveLength(agentCount * taskCount);
        for (let i = 0; i < agentCount; i++) {
          for (let j = 0; j < taskCount; j++) {
            const differences = Array.from(
              { length: width },
              (_, k) => given.agents[i * width + k]! - given.tasks[j * width + k]!,
            );
            expect(utility[i * taskCount + j]).toBeCloseTo(-Math.hypot(...differences), 3);
          }
        }
      }),
    );
  });

  it('are the same in the plane as by the loop for any width', () => {
    fc.assert(
      fc.property(positions, (given) => {
        const flat =
          given.width === 2
            ? given
            : { ...given, width: 2, agents: given.agents.slice(0, 2), tasks: given.tasks.slice(0, 2) };
        fc.pre(flat.agents.length % 2 === 0 && flat.tasks.length % 2 === 0);
        const padded = (states: Float32Array) =>
          Float32Array.from({ length: (states.length / 2) * 3 }, (_, k) =>
            k % 3 === 2 ? 0 : states[Math.floor(k / 3) * 2 + (k % 3)]!,
          );
        const cells = (flat.agents.length / 2) * (flat.tasks.length / 2);
        const inSpace = { width: 3, agents: padded(flat.agents), tasks: padded(flat.tasks) };
        expect(distancesInto(new Float32Array(cells), flat)).toEqual(distancesInto(new Float32Array(cells), inSpace));
      }),
    );
  });

  it('are taken as given where they are numbers', () => {
    const utility = Float32Array.of(1, 2, 3, 4);
    expect(withUtilities(plainHardProblem(2, utility, 'EXACT')).utility).toBe(utility);
  });

  it('travel as positions in the memory that a thread shares', () => {
    const slots = new SolverSlots();
    fc.assert(
      fc.property(positions, (given) => {
        const problem = { ...posed(given), keepBonus: 0.5, previous: Int32Array.of(...posed(given).agentActive) };
        expect(slots.writeProblem(3, problem, 12)).toBe(true);
        const read = slots.readProblem(3);
        expect(read).toEqual({ ...problem, budgetMs: 12 });
        const result = {
          taskOfAgent: new Int32Array(problem.agentCount).fill(-1),
          objective: 1,
          totalUtility: 2,
          upperBound: 3,
          solver: 'exact' as const,
          taskPrices: new Float64Array(problem.taskCount).fill(4),
          changeLimited: false,
          warmStartUsed: true,
        };
        slots.writeResult(3, result, 5);
        expect(slots.readResult(3)).toEqual({ result, tookMs: 5 });
        expect(slots.readProblem(3)).toEqual({ ...problem, budgetMs: 12 });
      }),
    );
  });

  it('fit there far beyond the sizes whose utilities do', () => {
    const count = 1000;
    const given = { width: 2, agents: new Float32Array(2 * count), tasks: new Float32Array(2 * count) };
    expect(new SolverSlots().writeProblem(0, posed(given), null)).toBe(true);
    expect(new SolverSlots().writeProblem(0, { ...posed(given), utility: new Float32Array(count * count) }, null)).toBe(
      false,
    );
  });
});
