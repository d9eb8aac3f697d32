import { describe, expect, it } from 'vitest';
import { CostModel } from '../../src/batching/cost-model.js';
import type { EngineName } from '../../src/engine/engine.js';
import { specKey, type Bucket, type ProgramSpec } from '../../src/operators/signature.js';
import { givenSpec } from '../fake-programs.js';

const bucketOf = (batch: number, agents = 128, tasks = 128): Bucket => ({ batch, agents, tasks });

function setUp() {
  const model = new CostModel();
  let nowMs = 0;
  const ran = (bucket: Bucket, ms: number, spec: ProgramSpec = givenSpec(), engine: EngineName = 'onnx') =>
    model.observe({ engine, spec, bucket }, specKey(spec), ms, nowMs);
  const costOf = (bucket: Bucket, spec: ProgramSpec = givenSpec()) => {
    model.know(specKey(spec), spec);
    return model.runMs(specKey(spec), bucket);
  };
  const wait = (ms: number) => {
    nowMs += ms;
  };
  return { model, ran, costOf, wait };
}

describe('a batch size that was measured', () => {
  it('costs what its runs took', () => {
    const { ran, costOf } = setUp();
    ran(bucketOf(1), 3);
    ran(bucketOf(32), 17);
    expect([costOf(bucketOf(1)), costOf(bucketOf(32))]).toEqual([3, 17]);
  });

  it('is not believed to be slow because of single runs, a first one included', () => {
    const { ran, costOf } = setUp();
    for (const ms of [200, 10, 10.5, 95, 11, 10.2]) ran(bucketOf(32), ms);
    expect(costOf(bucketOf(32))).toBeGreaterThanOrEqual(10);
    expect(costOf(bucketOf(32))).toBeLessThan(11);
  });

  it('is believed to be slower, or faster, after a few runs that all say so', () => {
    const { ran, costOf } = setUp();
    for (let i = 0; i < 20; i++) ran(bucketOf(8), 5);
    for (let i = 0; i < 8; i++) ran(bucketOf(8), 50);
    expect(costOf(bucketOf(8))).toBe(50);
    for (let i = 0; i < 2; i++) ran(bucketOf(8), 5);
    expect(costOf(bucketOf(8))).toBe(5);
  });

  it('tells each run what had been expected of it', () => {
    const { ran } = setUp();
    ran(bucketOf(4), 8);
    expect([ran(bucketOf(4), 6), ran(bucketOf(4), 6)]).toEqual([8, 6]);
  });
});

describe('a batch size that was not measured', () => {
  it('lies on the line between those that were', () => {
    const { ran, costOf } = setUp();
    ran(bucketOf(8), 10);
    ran(bucketOf(16), 18);
    ran(bucketOf(32), 50);
    expect([costOf(bucketOf(12)), costOf(bucketOf(24))]).toEqual([14, 34]);
  });

  it('lies on the line beyond them, with a part for each slot and a fixed part that is not negative', () => {
    const { ran, costOf } = setUp();
    ran(bucketOf(8), 10);
    ran(bucketOf(16), 18);
    expect([costOf(bucketOf(1)), costOf(bucketOf(2)), costOf(bucketOf(32))]).toEqual([3, 4, 34]);
    const noisy = setUp();
    noisy.ran(bucketOf(8), 10);
    noisy.ran(bucketOf(16), 9);
    expect([noisy.costOf(bucketOf(4)), noisy.costOf(bucketOf(32))]).toEqual([10, 9]);
    const steep = setUp();
    steep.ran(bucketOf(8), 10);
    steep.ran(bucketOf(16), 40);
    expect([steep.costOf(bucketOf(4)), steep.costOf(bucketOf(32))]).toEqual([5, 80]);
  });

  it('follows the work where one size was measured', () => {
    const { ran, costOf } = setUp();
    ran(bucketOf(8), 10);
    expect(costOf(bucketOf(4))).toBeGreaterThanOrEqual(5);
    expect(costOf(bucketOf(4))).toBeLessThan(10);
    expect(costOf(bucketOf(16))).toBeGreaterThan(10);
    expect(costOf(bucketOf(16))).toBeLessThanOrEqual(20);
  });

  it('follows the work at the speed of other programs where none was, and a plain guess before any ran', () => {
    const { model, ran, costOf } = setUp();
    const guess = costOf(bucketOf(1, 1024, 1024));
    expect(guess).toBeGreaterThan(costOf(bucketOf(1)));
    const small = costOf(bucketOf(1, 64, 64));
    ran(bucketOf(1, 64, 64), 5 * small);
    expect(costOf(bucketOf(1, 1024, 1024))).toBeCloseTo(5 * guess);
    expect(costOf(bucketOf(1), givenSpec(1000))).toBeGreaterThan(costOf(bucketOf(1), givenSpec(10)));
    const key = specKey(givenSpec());
    expect([model.isMeasured(key, bucketOf(32, 64, 64)), model.isMeasured(key, bucketOf(1))]).toEqual([true, false]);
  });

  it('is what becomes of one that was not run for long, so that one wrongly held dear is tried again', () => {
    const { ran, costOf, wait } = setUp();
    ran(bucketOf(1), 3);
    ran(bucketOf(16), 1000);
    wait(20_000);
    ran(bucketOf(1), 3);
    expect(costOf(bucketOf(16))).toBe(1000);
    wait(20_000);
    ran(bucketOf(1), 3);
    expect(costOf(bucketOf(16))).toBeLessThanOrEqual(48);
    ran(bucketOf(16), 20);
    expect(costOf(bucketOf(16))).toBe(20);
  });
});

describe('what the model keeps', () => {
  it('is apart for each engine, and speaks of the one that ran last', () => {
    const { ran, costOf } = setUp();
    ran(bucketOf(1), 3, givenSpec(), 'xla');
    ran(bucketOf(1), 9, givenSpec(), 'onnx');
    expect(costOf(bucketOf(1))).toBe(9);
    ran(bucketOf(2), 4, givenSpec(), 'xla');
    expect(costOf(bucketOf(1))).toBe(3);
  });

  it('is bounded: programs that were not used for long are forgotten, others not', () => {
    const { model, ran, costOf } = setUp();
    ran(bucketOf(1), 7, givenSpec(1));
    ran(bucketOf(1), 7, givenSpec(2));
    for (let other = 100; other < 400; other++) {
      ran(bucketOf(1), 1, givenSpec(other));
      expect(costOf(bucketOf(1), givenSpec(1))).toBe(7);
    }
    expect(model.isMeasured(specKey(givenSpec(1)), bucketOf(1))).toBe(true);
    expect(model.isMeasured(specKey(givenSpec(2)), bucketOf(1))).toBe(false);
  });

  it('is always more than nothing', () => {
    const { model, ran, costOf } = setUp();
    ran(bucketOf(1), 0);
    expect(costOf(bucketOf(1))).toBeGreaterThan(0);
    expect(model.runMs('unknown', bucketOf(1))).toBeGreaterThan(0);
  });
});
