import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { builtInPolicies, referenceWeightsPath } from '../../src/policies/built-in.js';
import { referenceWeightsFile } from '../../src/policies/reference-weights.js';

const [distance, reference] = builtInPolicies();

function deviation(data: Float32Array): number {
  const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
  return Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length);
}

describe('built-in policies', () => {
  it('distance has no weights and the defaults of the contract', () => {
    expect(distance).toMatchObject({
      name: 'distance',
      version: '1',
      defaults: { forms: ['HARD'], temperature: 0.1, iterations: 50, sigma: null, start: 'MEDOID' },
      projection: null,
      utility: { kind: 'distance' },
    });
  });

  it('reference has d = e = 64, k = 8, normal weights over sqrt(64), no bias and a maximum of 1', () => {
    expect(reference).toMatchObject({
      name: 'reference',
      version: '1',
      defaults: { forms: ['HARD', 'PLAN'], temperature: 1, iterations: 10, sigma: null, start: 'MEDOID' },
      projection: {
        weight: { rows: 64, columns: 8 },
        bias: new Float32Array(8),
        resourceMax: new Float32Array(8).fill(1),
      },
      utility: { kind: 'bilinear', weight: { rows: 64, columns: 64 } },
    });
    const { projection, utility } = reference!;
    // 4096 and 512 samples: the sample deviation is within 5 and 13 % of 1/8 with four standard errors to spare.
    expect(deviation((utility as { weight: { data: Float32Array } }).weight.data) * 8).toBeCloseTo(1, 1);
    expect(Math.abs(deviation(projection!.weight.data) * 8 - 1)).toBeLessThan(0.13);
  });

  it('the committed weights are those that the seed gives', () => {
    const committed = readFileSync(referenceWeightsPath);
    expect(Buffer.from(referenceWeightsFile()).equals(committed)).toBe(true);
  });

  it('have different fingerprints', () => {
    expect(distance!.fingerprint).toMatch(/^[0-9a-f]{64}$/);
    expect(reference!.fingerprint).not.toBe(distance!.fingerprint);
  });
});
