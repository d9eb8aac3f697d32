import { munkres } from 'munkres';
import { describe, expect, it } from 'vitest';
import { ScanMarket } from '../../src/assignment/sparse-market.js';
import { ShortestPaths } from '../../src/assignment/sparse-paths.js';
import { randomFrom } from './assignment-problems.js';

const never = (): boolean => false;
/** Ways are told apart exactly. */
const tiny = 1e-10;

/** `count` bidders and objects, everybody with all objects on its list, and prices to begin with. */
function crowd(count: number, seed: number) {
  const random = randomFrom(seed);
  const value = Array.from({ length: count }, () => Array.from({ length: count }, () => Math.round(20 * random()) / 2));
  const objects = Int32Array.from({ length: count }, (_, at) => at);
  const market = new ScanMarket(objects, (bidder, all, row) => all.forEach((at) => (row[at] = value[bidder]![at]!)));
  for (let at = 0; at < count; at++) market.prices[at] = seed % 3 === 0 ? 0 : 5 * random();
  const holder = new Int32Array(count).fill(-1);
  const objectOf = new Int32Array(count).fill(-1);
  const table = {
    size: count,
    counts: new Uint16Array(count).fill(count),
    positions: Int32Array.from({ length: count * count }, (_, cell) => cell % count),
    values: Float64Array.from(value.flat()),
  };
  return { value, market, holder, objectOf, table, paths: new ShortestPaths(market, table, holder, objectOf) };
}

describe('shortest paths for the last bidders of an auction', () => {
  it.each([
    { name: 'one after the other', together: 1 },
    { name: 'three at a time', together: 3 },
    { name: 'all at once', together: Infinity },
  ])(
    'give everybody an object, $name, raise prices only, and keep everybody at its best: the sum is the greatest there is',
    ({ together }) => {
      for (let seed = 0; seed < 40; seed++) {
        const count = 1 + (seed % 20);
        const { value, market, holder, objectOf, paths } = crowd(count, seed);
        for (let from = 0; from < count; from += together) {
          const to = Math.min(from + together, count);
          const before = market.prices.slice();
          const searched = Int32Array.from({ length: to - from }, (_, at) => from + at);
          expect(paths.augment(searched, tiny, never), `seed ${seed}`).toBe(0);
          for (let at = 0; at < count; at++) expect(market.prices[at]).toBeGreaterThanOrEqual(before[at]!);
          for (let served = 0; served < to; served++) {
            const own = objectOf[served]!;
            expect(holder[own], `seed ${seed}`).toBe(served);
            const worths = value[served]!.map((each, at) => each - market.prices[at]!);
            expect(worths[own], `seed ${seed}`).toBeGreaterThanOrEqual(Math.max(...worths) - 1e-9);
          }
        }
        const sum = value.reduce((total, row, bidder) => total + row[objectOf[bidder]!]!, 0);
        const best = munkres(value.map((row) => row.map((each) => -each)));
        expect(sum, `seed ${seed}`).toBeCloseTo(
          best.reduce((total, [bidder, object]) => total + value[bidder]![object]!, 0),
          6,
        );
      }
    },
  );

  it.each([1, 3])('leave those within epsilon of their best who were so before, %i at a time', (together) => {
    const epsilon = 1;
    for (let seed = 1; seed <= 40; seed++) {
      const count = 30;
      const random = randomFrom(1000 + seed);
      const { value, market, holder, objectOf, table } = crowd(count, seed);
      // Everybody but the last few has what is nearly best for it; what is free is as dear as the rest.
      for (let bidder = 0; bidder < count - 3; bidder++) {
        objectOf[bidder] = bidder;
        holder[bidder] = bidder;
      }
      for (let at = 0; at < count; at++) market.prices[at] = 12;
      for (let bidder = 0; bidder < count - 3; bidder++) {
        value[bidder]![bidder] = Math.max(...value[bidder]!) - epsilon * random();
      }
      table.values.set(value.flat());
      const paths = new ShortestPaths(market, table, holder, objectOf);
      for (let from = count - 3; from < count; from += together) {
        const searched = Int32Array.from({ length: together }, (_, at) => from + at);
        expect(paths.augment(searched, tiny, never)).toBe(0);
      }
      expect(new Set(objectOf).size).toBe(count);
      for (let bidder = 0; bidder < count; bidder++) {
        const worths = value[bidder]!.map((each, at) => each - market.prices[at]!);
        expect(worths[objectOf[bidder]!], `seed ${seed}`).toBeGreaterThanOrEqual(Math.max(...worths) - epsilon - 1e-9);
      }
    }
  });

  it('change nothing where candidates lead to no free object, nor where interrupted, and work afterwards', () => {
    const count = 1500;
    // Each bidder has the object before its own number and may move on to that of its number, which is worth 1 less to it; the last one is free.
    const chain = Int32Array.from({ length: count }, (_, at) => at);
    const market = new ScanMarket(chain, () => undefined);
    const holder = Int32Array.from(chain, (at) => (at === count - 1 ? -1 : at + 1));
    const objectOf = Int32Array.from(chain, (bidder) => bidder - 1);
    const table = {
      size: 2,
      counts: Uint16Array.from(chain, (bidder) => (bidder === 0 ? 1 : 2)),
      positions: Int32Array.from({ length: 2 * count }, (_, cell) => (cell < 2 ? 0 : (cell >> 1) - 1 + (cell & 1))),
      values: Float64Array.from({ length: 2 * count }, (_, cell) => 1 - (cell & 1)),
    };
    const paths = new ShortestPaths(market, table, holder, objectOf);
    const state = () => [market.prices.slice(), holder.slice(), objectOf.slice()];
    const before = state();
    const searched = Int32Array.of(0);
    for (const looks of [0, 1]) {
      let left = looks;
      expect(paths.augment(searched, tiny, () => left-- === 0)).toBe(1);
      expect(state()).toEqual(before);
    }
    table.counts[count - 1] = 1;
    expect(paths.augment(searched, tiny, never)).toBe(1);
    expect(state()).toEqual(before);
    table.counts[count - 1] = 2;
    expect(paths.augment(searched, tiny, never)).toBe(0);
    expect(objectOf).toEqual(chain);
    expect(holder).toEqual(chain);
    expect(market.prices).toEqual(Float64Array.from(chain, (at) => count - 1 - at));
  });

  it('serve those that they can before they are interrupted, whenever that is, and the rest afterwards', () => {
    const count = 3000;
    const reach = 8;
    const epsilon = 1e-4;
    // Along a line: everybody knows the objects next to it and has the one at its own number, but for every 15th; others are free.
    const isFreeBidder = (bidder: number): boolean => bidder % 15 === 4;
    const isFreeObject = (at: number): boolean => at % 15 === 11;
    const numbers = Int32Array.from({ length: count }, (_, at) => at);
    const bidders = numbers.filter(isFreeBidder);
    let waves = 0;
    for (let looks = 0; looks < 6; looks++) {
      const random = randomFrom(50 + looks);
      const market = new ScanMarket(numbers, () => undefined);
      const objectOf = new Int32Array(count).fill(-1);
      const holder = new Int32Array(count).fill(-1);
      const left = numbers.filter((at) => !isFreeObject(at));
      for (const [rank, bidder] of numbers.filter((at) => !isFreeBidder(at)).entries()) {
        objectOf[bidder] = left[rank]!;
        holder[left[rank]!] = bidder;
      }
      const width = 2 * reach + 1;
      const table = {
        size: width,
        counts: new Uint16Array(count),
        positions: new Int32Array(count * width),
        values: new Float64Array(count * width),
      };
      for (let bidder = 0; bidder < count; bidder++) {
        for (let at = Math.max(bidder - reach, 0); at <= Math.min(bidder + reach, count - 1); at++) {
          const cell = bidder * width + table.counts[bidder]!++;
          table.positions[cell] = at;
          // Nobody has a reason to move.
          table.values[cell] = objectOf[bidder] === at ? 10 : 10 * random();
        }
      }
      const paths = new ShortestPaths(market, table, holder, objectOf);
      let untilStop = looks;
      const searched = bidders.slice();
      const unserved = paths.augment(searched, epsilon, () => untilStop-- <= 0);
      if (unserved > 0 && unserved < bidders.length) waves++;
      const check = (): void => {
        let wrong = 0;
        let most = 0;
        for (let bidder = 0; bidder < count; bidder++) {
          const own = objectOf[bidder]!;
          if (own < 0) continue;
          if (holder[own] !== bidder) wrong++;
          let best = -Infinity;
          let ownWorth = -Infinity;
          for (let cell = bidder * width, end = cell + table.counts[bidder]!; cell < end; cell++) {
            const worth = table.values[cell]! - market.prices[table.positions[cell]!]!;
            best = Math.max(best, worth);
            if (table.positions[cell] === own) ownWorth = worth;
          }
          most = Math.max(most, best - ownWorth);
        }
        expect(wrong, `looks ${looks}`).toBe(0);
        expect(most, `looks ${looks}`).toBeLessThan(10 * epsilon);
      };
      check();
      const without = numbers.filter((bidder) => objectOf[bidder]! < 0);
      expect(searched.subarray(0, unserved).toSorted()).toEqual(without);
      expect(paths.augment(searched.subarray(0, unserved), epsilon, never)).toBe(0);
      check();
      expect(new Set(objectOf).size).toBe(count);
    }
    expect(waves).toBeGreaterThan(0);
  });

  it('tell which bidders are left, and give the others what they can', () => {
    const { market, holder, objectOf, table } = crowd(5, 3);
    // The first two can have the first object only.
    for (const bidder of [0, 1]) {
      table.counts[bidder] = 1;
      table.positions[5 * bidder] = 0;
    }
    const paths = new ShortestPaths(market, table, holder, objectOf);
    const searched = Int32Array.of(4, 1, 3, 0, 2);
    expect(paths.augment(searched, tiny, never)).toBe(1);
    expect(objectOf[searched[0]!]).toBe(-1);
    expect([0, 1]).toContain(searched[0]);
    const given = objectOf.filter((position) => position >= 0);
    expect(new Set(given).size).toBe(4);
    for (const [bidder, position] of objectOf.entries()) if (position >= 0) expect(holder[position]).toBe(bidder);
  });
});
