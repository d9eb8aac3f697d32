/** The scheduler's simulator at a few loads: what docs/schedule.md claims of the service holds for today's batcher. */
import { describe, expect, it } from 'vitest';
import { storedCosts } from '../bench/schedule-costs.js';
import { arrivalKinds, capacityPerSecond, requestsOf } from '../bench/schedule-load.js';
import { simulateLoad } from '../bench/schedule.js';

const costs = storedCosts();
const short = { costs, seconds: 1, seed: 7 };

describe(`the simulated scheduler (seed ${short.seed})`, () => {
  for (const kind of arrivalKinds) {
    it(`answers at least 1.3 times as many in time as a fixed delay at 1.2 times capacity, and leaves few waiting in vain: ${kind}`, async () => {
      const { ours, fixedDelay, fixedDelayDropping, boundPerSecond } = await simulateLoad(kind, 1.2, short);
      expect(ours.goodputPerSecond).toBeGreaterThanOrEqual(1.3 * fixedDelay.goodputPerSecond);
      expect(ours.goodputPerSecond).toBeGreaterThan(fixedDelayDropping.goodputPerSecond);
      expect(ours.late).toBeLessThan(0.03 * ours.arrived);
      expect(ours.goodputPerSecond).toBeLessThanOrEqual(boundPerSecond);
    });
  }

  it('answers everybody in time at a fifth of capacity', async () => {
    const { ours } = await simulateLoad('poisson', 0.2, short);
    expect(ours).toMatchObject({ late: 0, refused: 0 });
    expect(ours.good).toBeGreaterThan(0.98 * ours.arrived);
  });

  it('gives the same outcome for the same seed, and another for another', async () => {
    const first = await simulateLoad('bursty', 1, { ...short, seconds: 0.3 });
    expect(await simulateLoad('bursty', 1, { ...short, seconds: 0.3 })).toEqual(first);
    expect(await simulateLoad('bursty', 1, { ...short, seconds: 0.3, seed: 8 })).not.toEqual(first);
  });
});

describe('simulated arrivals', () => {
  it.each(arrivalKinds)('have the rate that was asked for, in order: %s', (kind) => {
    const rate = capacityPerSecond(costs);
    const requests = requestsOf(kind, rate, 3000, 3);
    expect(Math.abs(requests.length / (3 * rate) - 1)).toBeLessThan(0.05);
    for (let i = 1; i < requests.length; i++) {
      expect(requests[i]!.arriveMs).toBeGreaterThanOrEqual(requests[i - 1]!.arriveMs);
    }
  });
});
