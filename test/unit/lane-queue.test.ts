import { describe, expect, it } from 'vitest';
import { LaneQueue } from '../../src/assignment/lane-queue.js';
import { randomFrom } from './assignment-problems.js';

describe('a queue in lanes', () => {
  for (const [what, width, spread] of [
    ['near', 1, 300],
    ['far, so that lanes are laid out anew,', 1e-3, 1e6],
  ] as const) {
    it(`gives each item once, none more than a lane's width before a nearer one, where keys are ${what} and fall`, () => {
      for (let seed = 1; seed <= 20; seed++) {
        const random = randomFrom(seed);
        const count = 400;
        const keys = new Float64Array(count);
        const queue = new LaneQueue(keys);
        queue.reset(width);
        const waiting = new Set<number>();
        const taken: number[] = [];
        let low = 0;
        for (let at = 0; at < count; at++) {
          keys[at] = low + spread * random() ** 4;
          queue.put(at);
          waiting.add(at);
          const [other] = waiting;
          keys[other!] = low + (keys[other!]! - low) * random();
          queue.put(other!);
          if (at % 3 !== 0) continue;
          const item = queue.take();
          const nearest = Math.min(...[...waiting].map((each) => keys[each]!));
          expect(waiting.delete(item), `seed ${seed}`).toBe(true);
          expect(keys[item]! - nearest, `seed ${seed}`).toBeLessThanOrEqual(width * (1 + 1e-9));
          low = Math.max(low, keys[item]!);
          for (const each of waiting) {
            if (keys[each]! >= low) continue;
            keys[each] = low;
            queue.put(each);
          }
          taken.push(item);
        }
        for (let item = queue.take(); item >= 0; item = queue.take()) taken.push(item);
        expect(new Set(taken).size, `seed ${seed}`).toBe(count);
        expect(taken.length).toBe(count);
      }
    });
  }

  it('is empty after a reset, whatever became of the keys, and holds nothing of before', () => {
    const keys = Float64Array.of(3, 1, 1e6, 2e6);
    const queue = new LaneQueue(keys);
    queue.reset(1);
    for (let item = 0; item < 4; item++) queue.put(item);
    expect(queue.take()).toBe(1);
    keys.fill(Infinity);
    queue.reset(1);
    expect(queue.take()).toBe(-1);
    keys.set([1e6, 7, 3, 2e6]);
    for (const item of [3, 0, 1]) queue.put(item);
    expect([queue.take(), queue.take(), queue.take(), queue.take()]).toEqual([1, 0, 3, -1]);
  });

  it('gives everything at a width of 0, too', () => {
    const keys = Float64Array.of(3, 1, 2);
    const queue = new LaneQueue(keys);
    queue.reset(0);
    for (let item = 0; item < 3; item++) queue.put(item);
    expect([queue.take(), queue.take(), queue.take(), queue.take()]).toEqual([1, 2, 0, -1]);
  });

  it('lets go of what is dropped, wherever it waits, and keeps the rest', () => {
    const keys = Float64Array.of(2, 2, 2, 5e5, 6e5, 1);
    const queue = new LaneQueue(keys);
    queue.reset(1);
    for (let item = 0; item < 6; item++) queue.put(item);
    for (const item of [1, 3, 5]) queue.drop(item);
    const near = [queue.take(), queue.take()];
    expect(near.toSorted()).toEqual([0, 2]);
    expect([queue.take(), queue.take()]).toEqual([4, -1]);
    keys[3] = 7e5;
    queue.put(3);
    expect(queue.take()).toBe(3);
  });
});
