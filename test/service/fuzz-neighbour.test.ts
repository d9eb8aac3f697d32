/** Hostile requests that share batches with well-behaved ones, which get the same answers to the last bit. The longer runs are `npm run fuzz`. */
import { expect, test } from 'vitest';
import { readCorpus } from '../fuzz/corpus.js';
import { openNeighbourTarget } from '../fuzz/target-neighbour.js';

test('no input of the corpus changes the answer of a neighbour', async () => {
  const target = await openNeighbourTarget();
  try {
    let accepted = 0;
    for (const input of [...target.seeds, ...readCorpus(target.name)]) if (await target.check(input)) accepted++;
    expect(accepted).toBeGreaterThan(0);
    // The seeds are of the neighbours' own programs.
    expect(target.summary!()).not.toContain(' 0 of them from a batch');
  } finally {
    await target.close!();
  }
});
