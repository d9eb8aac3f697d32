/** What the fuzzer found keeps its promises, and a short run finds nothing new. The longer runs are `npm run fuzz`. */
import { describe, expect, it } from 'vitest';
import { readCorpus } from '../fuzz/corpus.js';
import { fuzz } from '../fuzz/fuzzer.js';
import { promise, type Target } from '../fuzz/target.js';
import { decoderTargets } from '../fuzz/targets.js';
import { fieldsOf, messageOf } from '../fuzz/wire-fields.js';
import { seededUniform } from '../seeded-normal.js';

const seed = 20261121;
const forever = { random: seededUniform(seed), corpus: [], endMs: Infinity, mostRuns: 1500 };

describe.each(decoderTargets)('hostile bytes at the $name decoder', (target) => {
  it('every input of the corpus keeps its promises', async () => {
    const inputs = [...target.seeds, ...readCorpus(target.name)];
    expect(inputs.length).toBeGreaterThan(target.seeds.length);
    for (const input of inputs) await target.check(Buffer.from(input));
  });

  it(`a short run from seed ${seed} breaks none`, async () => {
    const { failure, runs, accepted } = await fuzz(target, forever);
    expect(failure).toBeNull();
    expect(runs).toBe(forever.mostRuns);
    expect(accepted).toBeGreaterThan(0);
  });
});

describe('the fuzzer itself', () => {
  it('finds a broken promise and makes its input short', async () => {
    const picky: Target = {
      name: 'picky',
      seeds: [Buffer.from('some bytes that are fine')],
      mostBytes: 64,
      check(bytes) {
        promise(!bytes.includes(200), 'no byte is 200');
        return true;
      },
    };
    const { failure } = await fuzz(picky, { ...forever, mostRuns: 100_000 });
    expect(String(failure?.error)).toBe('Broken: no byte is 200');
    expect(failure?.input).toEqual(Buffer.of(200));
  });

  it('takes messages apart and puts them together as they were', () => {
    expect(fieldsOf(Buffer.from('0a0372', 'hex'))).toBeNull();
    for (const bytes of [...decoderTargets[0]!.seeds, Buffer.from('0a02723110011d0000803f', 'hex')]) {
      expect(messageOf(fieldsOf(bytes)!)).toEqual(bytes);
    }
  });
});
