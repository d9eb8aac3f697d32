import { describe, expect, it } from 'vitest';
import { plainDemands } from '../../src/assignment/hard.js';
import { PointTree } from '../../src/assignment/point-tree.js';
import { PriceLayer } from '../../src/assignment/price-tree.js';
import type { SparseProblem } from '../../src/assignment/sparse-problem.js';
import { solveSparse } from '../../src/assignment/sparse-solve.js';
import { randomFrom } from './assignment-problems.js';

const mapMetres = 1000;

/** Agents in the corner of `spreadMetres`, tasks all over the map. */
function inThePlane(agentCount: number, taskCount: number, spreadMetres: number, seed: number): SparseProblem {
  const random = randomFrom(seed);
  const points = (count: number, metres: number): Float32Array =>
    Float32Array.from({ length: 2 * count }, () => metres * random());
  return {
    ...plainDemands(agentCount, taskCount, 'AUTO'),
    values: {
      kind: 'distance',
      agents: points(agentCount, spreadMetres),
      stride: 2,
      tasks: points(taskCount, mapMetres),
      width: 2,
    },
    taskPrices: null,
  };
}

/** Time passes with every look at it, so that AUTO stops at the gap it is content with, on any machine alike. */
function tickingControl(): { nowMs(): number; cancelled(): boolean } {
  let nowMs = 0;
  return { nowMs: () => (nowMs += 50), cancelled: () => false };
}

describe('large swarms in the plane', () => {
  it.each([
    { agents: 6000, tasks: 6000, spread: mapMetres, name: 'as many agents as tasks' },
    { agents: 6000, tasks: 6002, spread: mapMetres, name: 'two tasks too many' },
    { agents: 6000, tasks: 6200, spread: mapMetres, name: 'a few tasks too many' },
    { agents: 6200, tasks: 6000, spread: mapMetres, name: 'a few agents too many' },
    { agents: 6000, tasks: 7000, spread: mapMetres, name: 'many tasks too many' },
    { agents: 2000, tasks: 2000, spread: 50, name: 'all agents in one corner' },
  ])('have a certified gap below 2 %: $name', ({ agents, tasks, spread }) => {
    const result = solveSparse(inThePlane(agents, tasks, spread, 7), tickingControl());
    const given = result.taskOfAgent.filter((task) => task >= 0);
    expect(given.length).toBe(Math.min(agents, tasks));
    expect(new Set(given).size).toBe(given.length);
    expect(result.upperBound).toBeGreaterThanOrEqual(result.objective);
    expect((result.upperBound - result.objective) / -result.objective).toBeLessThan(0.02);
  });
});

describe('a search that knows how good the last one found will be', () => {
  it.each([2, 3])('finds all that are better, and bounds what it passes over, in %i coordinates', (width) => {
    const random = randomFrom(21);
    const count = 400;
    const data = Float32Array.from({ length: count * width }, random);
    const layer = new PriceLayer(
      new PointTree(
        data,
        width,
        width,
        Int32Array.from({ length: count }, (_, at) => at),
      ),
    );
    const positions = new Int32Array(12);
    const values = new Float64Array(12);
    for (let trial = 0; trial < 300; trial++) {
      for (let at = 0; at < count; at++) layer.prices[at] = 0.3 * random();
      layer.refresh();
      const place = Float64Array.from({ length: width }, random);
      const worth = Array.from({ length: count }, (_, at) => {
        const point = layer.tree.points.subarray(at * width, (at + 1) * width);
        return -Math.sqrt(point.reduce((sum, value, c) => sum + (value - place[c]!) ** 2, 0)) - layer.prices[at]!;
      });
      const sorted = worth.toSorted((a, b) => b - a);
      const least = sorted[trial % 20]!;
      const slack = trial % 3 === 0 ? 0 : 0.05 * random();
      const found = layer.best(place, 0, 12, positions, values, slack, null, 0, least);
      if (slack === 0) expect(found).toBe(Math.min(trial % 20, 12));
      const taken = new Set(positions.subarray(0, found));
      const bound = Math.max(layer.passedOver, found === 12 ? values[11]! : least);
      const others = worth.filter((_, at) => !taken.has(at));
      expect(Math.max(...others)).toBeLessThanOrEqual(bound + 1e-12);
    }
  });
});
