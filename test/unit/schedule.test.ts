/** The scheduler's simulator at a few loads: what docs/schedule.md claims of the service holds for today's batcher. */
import { describe, expect, it } from 'vitest';
import { requestSizes, sizesOf, storedCosts } from '../bench/schedule-costs.js';
import { goodputBound, simulateFixedDelay } from '../bench/schedule-fixed-delay.js';
import { arrivalKinds, capacityPerSecond, requestsOf, type SimulatedRequest } from '../bench/schedule-load.js';
import { simulateOurs } from '../bench/schedule-ours.js';
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

/** Every batch takes the engine 10 ms, every solve 3. */
const plain = {
  machine: 'none',
  engineMs: { TOP_K: everyBatch(10), HARD: everyBatch(10) },
  solverMs: { 100: 3 },
};

function everyBatch(ms: number): Record<string, Record<string, number>> {
  return Object.fromEntries(
    requestSizes.map(({ bucket }) => [bucket, Object.fromEntries(sizesOf(bucket).map((batch) => [batch, ms]))]),
  );
}

function request(arriveMs: number, withinMs: number, form: SimulatedRequest['form'] = 'TOP_K'): SimulatedRequest {
  return { arriveMs, form, count: 100, bucket: 128, deadlineMs: arriveMs + withinMs };
}

describe('what is compared with', () => {
  const window = { fromMs: 0, untilMs: 1000 };
  const steady = (): number => 1;
  const fixed = (requests: readonly SimulatedRequest[], dropsExpired = false, maxQueue = Infinity) =>
    simulateFixedDelay(requests, plain, window, steady, { delayMs: 5, maxQueue, dropsExpired });

  it('waits its delay for company, runs for as long as the table says, then solves', () => {
    expect(fixed([request(0, 100)])).toMatchObject({ good: 1, p99Ms: 15 });
    expect(fixed([request(0, 100, 'HARD')])).toMatchObject({ good: 1, p99Ms: 18 });
    expect(fixed([request(0, 14)])).toMatchObject({ good: 0, late: 1 });
  });

  it('serves who came first, in a batch with its like', () => {
    // The second family waits for the engine, however urgent it is.
    expect(fixed([request(0, 100), request(1, 100), request(2, 20, 'HARD')])).toMatchObject({ good: 2, late: 1 });
  });

  it('lets late requests run, or drops them, and refuses beyond its queue', () => {
    // The second is late when the engine is free at 15 ms, and keeps the third from being in time unless it is dropped.
    const waiting = [request(0, 100, 'HARD'), request(5, 8), request(6, 25, 'HARD')];
    expect(fixed(waiting)).toMatchObject({ good: 1, late: 2, refused: 0 });
    expect(fixed(waiting, true)).toMatchObject({ good: 2, late: 1, refused: 0 });
    expect(fixed([request(0, 100), request(1, 100), request(2, 100)], false, 2)).toMatchObject({ good: 2, refused: 1 });
  });

  it('is bounded by the engine time that there is', () => {
    const requests = Array.from({ length: 10_000 }, (_, i) => request(i / 10, 100));
    // 1000 ms, and a batch that began before: 32 of this size in 10 ms.
    expect(goodputBound(requests, plain, window)).toBe(101 * 32);
    expect(goodputBound(requests.slice(0, 7), plain, window)).toBe(7);
  });
});

describe('the service in virtual time', () => {
  it('gives an idle engine what there is at once, and solves what the engine has answered', async () => {
    const run = (requests: readonly SimulatedRequest[]) =>
      simulateOurs(requests, plain, { fromMs: 0, untilMs: 1000 }, () => 1);
    expect(await run([request(0, 100)])).toMatchObject({ good: 1, p99Ms: 10 });
    expect(await run([request(0, 100, 'HARD')])).toMatchObject({ good: 1, p99Ms: 13 });
  });
});
