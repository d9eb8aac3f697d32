import { describe, expect, it } from 'vitest';
import { CircuitBreaker, longestProbeMs } from '../../src/engine/circuit-breaker.js';
import { VirtualClock } from '../virtual-clock.js';

function setUp() {
  const clock = new VirtualClock(5_000);
  const probes: number[] = [];
  let works = false;
  let closings = 0;
  const breaker = new CircuitBreaker({
    clock,
    probe() {
      probes.push(clock.nowMs() - 5_000);
      return works ? Promise.resolve() : Promise.reject(new Error('still broken'));
    },
    onClosed: () => closings++,
  });
  return { clock, breaker, probes, repair: () => (works = true), closings: () => closings };
}

describe('a circuit breaker', () => {
  it('opens after three failures in a row, and a success in between starts the count anew', () => {
    const { breaker } = setUp();
    expect([breaker.failed(), breaker.failed()]).toEqual([false, false]);
    breaker.succeeded();
    expect([breaker.failed(), breaker.failed(), breaker.failed()]).toEqual([false, false, true]);
    expect(breaker.state).toBe('open');
    expect(breaker.failed()).toBe(false);
  });

  it('opens at once where it is tripped, and says so once', () => {
    const { breaker } = setUp();
    expect([breaker.trip(), breaker.trip()]).toEqual([true, false]);
  });

  it('is probed after a second, then after twice as long each time, up to a minute', async () => {
    const { clock, breaker, probes } = setUp();
    breaker.trip();
    await clock.advanceAsync(190_000);
    expect(probes).toEqual([1_000, 3_000, 7_000, 15_000, 31_000, 63_000, 123_000, 183_000]);
    expect(breaker.state).toBe('open');
  });

  it('closes when a probe succeeds, and stays closed', async () => {
    const { clock, breaker, probes, repair, closings } = setUp();
    breaker.trip();
    await clock.advanceAsync(1_500);
    repair();
    await clock.advanceAsync(1_500);
    expect([breaker.state, closings(), probes]).toEqual(['closed', 1, [1_000, 3_000]]);
    await clock.advanceAsync(100_000);
    expect(clock.pendingTimers).toBe(0);
  });

  it('waits ever longer for an engine that fails again soon, and starts anew for one that held', async () => {
    const { clock, breaker, probes, repair } = setUp();
    repair();
    breaker.trip();
    await clock.advanceAsync(1_000);
    breaker.trip();
    await clock.advanceAsync(2_000);
    expect(probes).toEqual([1_000, 3_000]);
    await clock.advanceAsync(longestProbeMs);
    breaker.trip();
    await clock.advanceAsync(1_000);
    expect(probes).toEqual([1_000, 3_000, 64_000]);
  });

  it('is half open while the probe runs, counts nothing then, and probes no more once stopped', async () => {
    const clock = new VirtualClock();
    let probes = 0;
    let end = (): void => undefined;
    const probe = () => {
      probes++;
      return new Promise<void>((_resolve, reject) => (end = () => reject(new Error('no'))));
    };
    const breaker = new CircuitBreaker({ clock, probe, onClosed: () => undefined });
    breaker.trip();
    await clock.advanceAsync(1_000);
    expect([breaker.state, breaker.trip(), breaker.failed()]).toEqual(['half-open', false, false]);
    breaker.stop();
    end();
    await clock.advanceAsync(300_000);
    expect(probes).toBe(1);
    expect(clock.pendingTimers).toBe(0);
  });
});
