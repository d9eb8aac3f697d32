import { describe, expect, it } from 'vitest';
import { bilinearBound } from '../../src/planning/bilinear-bound.js';
import { chi2Quantile, sigmaFactor } from '../../src/planning/consensus-inputs.js';
import { specOf } from '../../src/planning/spec.js';
import type { Matrix } from '../../src/problem.js';
import { base, decode } from '../request-fixtures.js';
import { normalMatrix, seededNormal } from '../seeded-normal.js';

/** max_i |a_i W| over active rows, computed in full. */
function imageNorm(states: Matrix, weight: Matrix, active: Uint8Array): number {
  let largest = 0;
  for (let i = 0; i < states.rows; i++) {
    if (active[i] !== 1) continue;
    let sum = 0;
    for (let c = 0; c < weight.columns; c++) {
      let dot = 0;
      for (let k = 0; k < weight.rows; k++)
        dot += states.data[i * states.columns + k]! * weight.data[k * weight.columns + c]!;
      sum += dot * dot;
    }
    largest = Math.max(largest, Math.sqrt(sum));
  }
  return largest;
}

describe('bound of |a W|', () => {
  for (const [seed, d, e] of [
    [1, 64, 64],
    [2, 8, 20],
    [3, 20, 8],
    [4, 300, 5],
  ] as const) {
    it(`is never below the largest image norm and is tight when nothing is enough (seed ${seed}, ${d}x${e})`, () => {
      const random = seededNormal(seed);
      const weight = normalMatrix(random, d, e, 1 / Math.sqrt(d));
      const states = normalMatrix(random, 50, d);
      const active = new Uint8Array(50).fill(1);
      active[7] = 0;
      states.data.fill(NaN, 7 * d, 8 * d);
      const truth = imageNorm(states, weight, active);
      const full = bilinearBound(weight).largestImageNorm(states, active, 0);
      expect(full).toBeGreaterThanOrEqual(truth);
      if (d <= 256) expect(full).toBeLessThanOrEqual(truth * 1.01);
      for (const enough of [truth * 0.5, truth * 1.2, truth * 3]) {
        const bound = bilinearBound(weight).largestImageNorm(states, active, enough);
        expect(bound).toBeGreaterThanOrEqual(truth);
        if (truth * 1.01 < enough && d <= 256) expect(bound).toBeLessThanOrEqual(enough);
      }
    });
  }
});

describe('consensus constants', () => {
  it('agree with the published values of sigma/s for 95 % efficiency', () => {
    expect(sigmaFactor(1)).toBeCloseTo(2.11, 2);
    expect(sigmaFactor(64)).toBeCloseTo(4.94, 2);
  });

  it('give the chi-squared median and 99.9 % point', () => {
    expect(chi2Quantile(64, 0)).toBeCloseTo(63.34, 1);
    expect(chi2Quantile(2, 3.0902)).toBeGreaterThan(13);
  });
});

describe('the engine of a hard assignment by distance', () => {
  const specFor = (
    solver: 'AUTO' | 'GREEDY' | 'EXACT',
    forms: readonly ('HARD' | 'TOP_K')[],
    exactBudgetMs: number | null,
  ) =>
    specOf(decode({ ...base, operators: ['ASSIGNMENT'], assignment: { forms: [...forms], solver } }), {
      exactBudgetMs,
    });

  it('has nothing to do, however little time there is', () => {
    for (const budgetMs of [null, 40, 1e-9]) {
      expect(specFor('AUTO', ['HARD'], budgetMs)).toBeNull();
      expect(specFor('EXACT', ['HARD'], budgetMs)).toBeNull();
    }
  });

  it('gives the duals that certify greedy answers, and those of the plan that it makes anyway where time is short', () => {
    expect(specFor('GREEDY', ['HARD'], null)!.soft!.potentials).toBe(true);
    expect(specFor('AUTO', ['HARD', 'TOP_K'], 1e-9)!.soft!.potentials).toBe(true);
    expect(specFor('AUTO', ['HARD', 'TOP_K'], 40)!.soft!.potentials).toBe(false);
    expect(specFor('EXACT', ['HARD', 'TOP_K'], 1e-9)!.soft!.potentials).toBe(false);
  });
});
