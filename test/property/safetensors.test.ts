import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PolicyFileError, readPolicyFile } from '../../src/policies/policy-file.js';
import { readSafetensors, SafetensorsError, writeSafetensors } from '../../src/policies/safetensors.js';

const tensor = fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 3 }).chain((shape) => {
  const count = shape.reduce((product, length) => product * length, 1);
  const numbers = fc.float32Array({ minLength: count, maxLength: count, noNaN: true, noDefaultInfinity: true });
  return numbers.map((data) => ({ shape, data }));
});
const file = fc.dictionary(fc.string({ minLength: 1 }), tensor, { maxKeys: 4, noNullPrototype: true });

describe('safetensors files', () => {
  it('come back as they were written', () => {
    fc.assert(
      fc.property(file, fc.string(), (tensors, text) => {
        const map = new Map(Object.entries(tensors).filter(([name]) => !['__metadata__', '__proto__'].includes(name)));
        const read = readSafetensors(writeSafetensors(map, new Map([['version', text]])));
        expect(new Map([...read.tensors].sort())).toEqual(new Map([...map].sort()));
        expect(read.metadata.get('version')).toBe(text);
      }),
    );
  });

  it('that are damaged are read or refused by name', () => {
    const good = Buffer.from(
      writeSafetensors(
        new Map([
          ['assignment.bilinear', { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }],
          ['projection.weight', { shape: [2, 1], data: Float32Array.of(1, 2) }],
        ]),
        new Map([['temperature', '2']]),
      ),
    );
    expect(readPolicyFile('p', good).defaults.temperature).toBe(2);
    const damage = fc.array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), { maxLength: 4 });
    fc.assert(
      fc.property(damage, fc.nat({ max: good.length }), fc.boolean(), (changes, kept, cut) => {
        const bytes = Buffer.from(good);
        for (const [at, value] of changes) bytes[at] = value;
        try {
          readPolicyFile('p', cut ? bytes.subarray(0, kept) : bytes);
        } catch (error) {
          if (!(error instanceof SafetensorsError || error instanceof PolicyFileError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });
});
