import { describe, expect, it } from 'vitest';
import { PointTree } from '../../src/assignment/point-tree.js';
import { planeNumbers, PricePlanes } from '../../src/assignment/price-planes.js';
import { PriceLayer } from '../../src/assignment/price-tree.js';
import { randomFrom } from './assignment-problems.js';

const count = 3000;
const metres = 1000;

function randomTree(random: () => number): PointTree {
  const data = Float32Array.from({ length: 2 * count }, () => metres * random());
  return new PointTree(
    data,
    2,
    2,
    Int32Array.from({ length: count }, (_, at) => at),
  );
}

/** Prices at which all points are worth nearly the same in the corner at 0. */
function fallingPrice(tree: PointTree, at: number): number {
  return 2 * metres - Math.hypot(tree.points[2 * at]!, tree.points[2 * at + 1]!);
}

describe('planes below prices', () => {
  it('are below the price of every point in their box, while prices rise', () => {
    const random = randomFrom(5);
    const tree = randomTree(random);
    const leaves = new Float64Array(3 * count);
    for (let at = 0; at < count; at++) {
      leaves.set([tree.points[2 * at]!, tree.points[2 * at + 1]!, fallingPrice(tree, at) + 10 * random()], 3 * at);
    }
    const planes = new PricePlanes(tree, leaves);
    for (let raise = 0; raise < 2000; raise++) {
      const at = Math.floor(random() * count);
      leaves[3 * at + 2] = random() < 0.01 ? Infinity : leaves[3 * at + 2]! + 40 * random();
      planes.raised(tree.leafAt[at]!);
      if (raise % 400 !== 399) continue;
      let lowest = Infinity;
      for (let node = 0; node < tree.nodeCount; node++) {
        const [height, slopeX, slopeY] = planes.planes.subarray(node * planeNumbers) as unknown as [
          number,
          number,
          number,
        ];
        const [lowX, highX, lowY, highY] = tree.boxes.subarray(4 * node) as unknown as [number, number, number, number];
        for (let point = tree.from[node]!; point < tree.to[node]!; point++) {
          const x = leaves[3 * point]! - 0.5 * (lowX + highX);
          const y = leaves[3 * point + 1]! - 0.5 * (lowY + highY);
          lowest = Math.min(lowest, leaves[3 * point + 2]! - (height + slopeX * x + slopeY * y));
        }
      }
      expect(lowest).toBeGreaterThanOrEqual(0);
    }
  });

  it('change nothing about what a search finds and bounds', () => {
    const random = randomFrom(6);
    const tree = randomTree(random);
    const layer = new PriceLayer(tree);
    for (let at = 0; at < count; at++) layer.prices[at] = fallingPrice(tree, at) + random();
    layer.refresh();
    const positions = new Int32Array(12);
    const values = new Float64Array(12);
    for (let trial = 0; trial < 3000; trial++) {
      const raised = Math.floor(random() * count);
      layer.raise(raised, layer.prices[raised]! + 5 * random());
      const place = Float64Array.of(50 * random(), 50 * random());
      const slack = trial % 2 === 0 ? 0 : 2 * random();
      const found = layer.best(place, 0, 12, positions, values, slack, null, 0);
      if (trial % 50 !== 0 && trial % 50 !== 1) continue;
      const worth = Array.from(
        layer.prices,
        (price, at) => -Math.hypot(tree.points[2 * at]! - place[0]!, tree.points[2 * at + 1]! - place[1]!) - price,
      );
      expect(found).toBe(12);
      const taken = new Set(positions);
      expect(taken.size).toBe(12);
      positions.forEach((at, rank) => expect(values[rank]).toBeCloseTo(worth[at]!, 9));
      const others = Math.max(...worth.filter((_, at) => !taken.has(at)));
      expect(others).toBeLessThanOrEqual(Math.max(layer.passedOver, values[11]!) + 1e-9);
      if (slack === 0) expect(others).toBeLessThanOrEqual(values[11]! + 1e-9);
    }
  });
});
