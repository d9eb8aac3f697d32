import { describe, expect, it } from 'vitest';
import { UnreadAnswers } from '../../server/unread-answers.js';
import { VirtualClock } from '../virtual-clock.js';

const kib = 1024;

function setUp() {
  const clock = new VirtualClock();
  const taken = new Map<string, number>();
  const closed: string[] = [];
  const unread = new UnreadAnswers({
    clock,
    connections: { bytesTaken: (peer) => taken.get(peer) ?? 0, close: (peer) => closed.push(peer) },
    limitBytes: 400 * kib,
    timeoutMs: 10_000,
  });
  const peer = (name: string) => ({ getPeer: () => name });
  const mayCall = (name: string): boolean => {
    try {
      unread.assertRoom(peer(name));
      return true;
    } catch {
      return false;
    }
  };
  return {
    clock,
    taken,
    closed,
    unread,
    wrote: (name: string, bytes: number) => unread.wrote(peer(name), bytes),
    mayCall,
  };
}

describe('answers that are not read', () => {
  it('keep new calls from their connection beyond its quarter, until they are taken', () => {
    const { unread, wrote, mayCall } = setUp();
    const first = wrote('a', 60 * kib);
    expect(mayCall('a')).toBe(true);
    const second = wrote('a', 60 * kib);
    expect([mayCall('a'), mayCall('b')]).toEqual([false, true]);
    first();
    expect(mayCall('a')).toBe(true);
    second();
    expect(unread.bytes).toBe(0);
  });

  it('beyond the limit keep calls from every connection that holds some', () => {
    const { wrote, mayCall } = setUp();
    for (const name of ['a', 'b', 'c', 'd', 'e']) wrote(name, 90 * kib);
    expect(['a', 'e', 'f'].map(mayCall)).toEqual([false, false, true]);
  });

  it('have their connection closed when it takes nothing for the time-out', () => {
    const { clock, closed, wrote } = setUp();
    wrote('a', 50 * kib);
    clock.advance(9_500);
    expect(closed).toEqual([]);
    clock.advance(1_500);
    expect(closed).toContain('a');
  });

  it('do not have it closed while it takes them slowly', () => {
    const { clock, taken, closed, wrote } = setUp();
    const done = wrote('a', 90 * kib);
    for (let second = 1; second <= 60; second++) {
      taken.set('a', second * 10 * kib);
      clock.advance(1000);
    }
    expect(closed).toEqual([]);
    done();
    clock.advance(20_000);
    expect(closed).toEqual([]);
    expect(clock.pendingTimers).toBe(0);
  });

  it('beyond the limit have the connection closed that holds most and takes nothing', () => {
    const { clock, closed, wrote } = setUp();
    for (const name of ['a', 'b', 'c', 'd', 'e']) wrote(name, 90 * kib);
    wrote('c', 50 * kib);
    clock.advance(1_000);
    expect(closed).toEqual(['c']);
  });

  it('are not counted where they are small', () => {
    const { clock, unread, wrote } = setUp();
    wrote('a', 100);
    expect(unread.bytes).toBe(0);
    expect(clock.pendingTimers).toBe(0);
  });
});
