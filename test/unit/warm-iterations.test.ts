import { describe, expect, it } from 'vitest';
import { avoidanceAfter, convergedBelow, iterationCount, noAvoidance } from '../../src/warm-iterations.js';

const last = (iterations: number, marginalError: number, avoided = 0) => ({
  iterations,
  marginalError,
  avoidance: avoided === 0 ? noAvoidance : { iterations: avoided, ticks: 3 },
});
const exact = convergedBelow / 100;
const close = convergedBelow / 2;
const missed = convergedBelow * 2;

describe('the iteration count', () => {
  it('is what was asked for where nothing is known of the last tick', () => {
    expect(iterationCount(50, last(0, 0))).toBe(50);
  });

  it('goes down one step a tick where the target was met with room to spare, to the least there is', () => {
    expect(iterationCount(50, last(50, exact))).toBe(20);
    expect(iterationCount(50, last(20, exact))).toBe(10);
    expect(iterationCount(50, last(10, exact))).toBe(5);
    expect(iterationCount(50, last(5, exact))).toBe(5);
    expect(iterationCount(1000, last(1000, exact))).toBe(500);
  });

  it('stays where the target was just met', () => {
    expect(iterationCount(50, last(20, close))).toBe(20);
    expect(iterationCount(50, last(50, close))).toBe(50);
  });

  it('goes back to all where the target was missed, or the error is no number', () => {
    for (const error of [missed, Infinity, NaN, convergedBelow]) expect(iterationCount(50, last(5, error))).toBe(50);
  });

  it('never exceeds what is asked for, whatever the last tick claims', () => {
    for (const full of [1, 3, 5, 7, 50, 1000]) {
      for (const iterations of [0, 1, 5, 33, 1000, 4_000_000_000]) {
        for (const error of [0, exact, close, missed]) {
          const count = iterationCount(full, last(iterations, error));
          expect(count).toBeGreaterThanOrEqual(Math.min(full, 5));
          expect(count).toBeLessThanOrEqual(full);
        }
      }
    }
  });

  it('is one that there are programs for, also after ticks that asked for another', () => {
    expect(iterationCount(50, last(33, close))).toBe(50);
    expect(iterationCount(50, last(15, close))).toBe(20);
    expect(iterationCount(7, last(50, close))).toBe(7);
  });

  it('is not lowered to what missed the target lately, and is again once that is forgotten', () => {
    expect(iterationCount(50, last(20, exact, 10))).toBe(20);
    let avoidance = avoidanceAfter(noAvoidance, 10, 50, missed);
    expect(avoidance.iterations).toBe(10);
    let ticks = 0;
    while (avoidance.iterations > 0) {
      avoidance = avoidanceAfter(avoidance, 20, 50, exact);
      ticks += 1;
      expect(ticks).toBeLessThan(1000);
    }
    expect(ticks).toBeGreaterThan(10);
    expect(iterationCount(50, { iterations: 20, marginalError: exact, avoidance })).toBe(10);
  });

  it('that was all there is leaves nothing to avoid, though it missed', () => {
    expect(avoidanceAfter(noAvoidance, 50, 50, missed)).toEqual(noAvoidance);
  });
});
