import { describe, expect, it } from 'vitest';
import { ItemChains } from '../../src/assignment/item-chains.js';

function itemsOf(chains: ItemChains, chain: number): number[] {
  const items: number[] = [];
  for (let entry = chains.first(chain); entry >= 0; entry = chains.next(entry)) items.push(chains.item(entry));
  return items;
}

describe('chains of items', () => {
  it('keep what was added to each, the last first, however much it is', () => {
    const chains = new ItemChains();
    chains.reset(3);
    for (let item = 0; item < 5000; item++) chains.add(item % 2 === 0 ? 0 : 2, item);
    expect(itemsOf(chains, 0)).toEqual(Array.from({ length: 2500 }, (_, at) => 4998 - 2 * at));
    expect(itemsOf(chains, 1)).toEqual([]);
    expect(itemsOf(chains, 2)).toEqual(Array.from({ length: 2500 }, (_, at) => 4999 - 2 * at));
  });

  it('are empty after a reset, of which there may be more then', () => {
    const chains = new ItemChains();
    chains.reset(1);
    chains.add(0, 7);
    chains.reset(4);
    expect([0, 1, 2, 3].map((chain) => itemsOf(chains, chain))).toEqual([[], [], [], []]);
    chains.add(3, 8);
    expect(itemsOf(chains, 3)).toEqual([8]);
  });

  it('may be added to while one is walked: what is new is not met', () => {
    const chains = new ItemChains();
    chains.reset(1);
    chains.add(0, 1);
    chains.add(0, 2);
    const met: number[] = [];
    for (let entry = chains.first(0); entry >= 0; entry = chains.next(entry)) {
      met.push(chains.item(entry));
      for (let more = 0; more < 1000; more++) chains.add(0, 9);
    }
    expect(met).toEqual([2, 1]);
  });
});
