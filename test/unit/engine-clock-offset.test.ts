import { describe, expect, it } from 'vitest';
import { ClockOffset } from '../../src/engine/clock-offset.js';

describe('clock offset', () => {
  it('tells a slow way there from a slow way back once it saw a fast round trip, whatever the clocks show', () => {
    for (const ahead of [-5000, 0, 123456]) {
      const offset = new ClockOffset();
      offset.split(0, 0.1 + ahead, 1.1 + ahead, 1.2);
      const slowThere = offset.split(100, 107 + ahead, 110 + ahead, 110.1);
      expect(slowThere.thereMs).toBeCloseTo(7, 9);
      expect(slowThere.backMs).toBeCloseTo(0.1, 9);
      const slowBack = offset.split(200, 200.1 + ahead, 203 + ahead, 209);
      expect(slowBack.thereMs).toBeCloseTo(0.1, 9);
      expect(slowBack.backMs).toBeCloseTo(6, 9);
    }
  });

  it('never gives a negative time, and the two add up to the time on the way', () => {
    const offset = new ClockOffset();
    const trips = [
      [0, 50, 51, 3],
      [10, 60.01, 61, 11.02],
      [20, 69, 71, 30],
    ] as const;
    for (const [sent, received, replied, returned] of trips) {
      const { thereMs, backMs } = offset.split(sent, received, replied, returned);
      expect(Math.min(thereMs, backMs)).toBeGreaterThanOrEqual(0);
      expect(thereMs + backMs).toBeCloseTo(returned - sent - (replied - received), 9);
    }
  });
});
