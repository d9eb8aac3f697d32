import { describe, expect, it } from 'vitest';
import {
  agentBucket,
  batchSizes,
  maxBatch,
  paddedWidth,
  sizeLadder,
  smallestBatch,
  taskBucket,
} from '../../src/batching/buckets.js';
import { CoordinatorError } from '../../src/errors.js';

const thrownBy = (act: () => unknown): CoordinatorError => {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof CoordinatorError) return thrown;
  }
  throw new Error('expected a CoordinatorError');
};

describe('the bucket ladder', () => {
  it('pads N and M to the smallest rung that holds them', () => {
    for (const size of sizeLadder) {
      expect(agentBucket(size)).toBe(size);
      expect(taskBucket(size)).toBe(size);
      if (size < 5120) expect(agentBucket(size + 1)).toBeGreaterThan(size);
    }
    expect(agentBucket(1)).toBe(16);
    expect(agentBucket(100)).toBe(128);
    expect(taskBucket(2049)).toBe(5120);
  });

  it('gives programs without a task axis M = 0', () => {
    expect(taskBucket(0)).toBe(0);
    expect(maxBatch(128, 0, 32)).toBe(32);
  });

  it('refuses what is beyond the largest bucket, naming field and limit', () => {
    for (const [error, field, limit] of [
      [thrownBy(() => agentBucket(5121)), 'agents', '5120'],
      [thrownBy(() => taskBucket(5121)), 'tasks', '5120'],
      [thrownBy(() => paddedWidth(1025, 'consensus.responses')), 'consensus.responses', '1024'],
    ] as const) {
      expect(error.code).toBe('SIZE_LIMIT');
      expect(error.violations[0]?.field).toBe(field);
      expect(error.message).toContain(limit);
    }
  });

  it('limits the batch by the greater of N and M', () => {
    const expected = [
      [16, 32],
      [128, 32],
      [256, 16],
      [512, 8],
      [1024, 2],
      [2048, 1],
      [5120, 1],
    ] as const;
    for (const [size, limit] of expected) {
      expect(maxBatch(size, 16, 32)).toBe(limit);
      expect(maxBatch(16, size, 32)).toBe(limit);
    }
    expect(maxBatch(128, 128, 8)).toBe(8);
    expect(maxBatch(512, 128, 16)).toBe(8);
  });

  it('compiles powers of two up to the largest batch', () => {
    expect(batchSizes(128, 16, 32)).toEqual([1, 2, 4, 8, 16, 32]);
    expect(batchSizes(128, 16, 24)).toEqual([1, 2, 4, 8, 16, 24]);
    expect(batchSizes(5120, 16, 32)).toEqual([1]);
  });

  it('picks the smallest compiled batch that holds the jobs', () => {
    for (const configured of [1, 2, 5, 24, 32]) {
      const sizes = batchSizes(64, 64, configured);
      for (let count = 1; count <= maxBatch(64, 64, configured); count++) {
        expect(smallestBatch(count, 64, 64, configured)).toBe(sizes.find((size) => size >= count));
      }
    }
    expect(thrownBy(() => smallestBatch(3, 1024, 16, 32)).code).toBe('INTERNAL');
  });

  it('pads widths to 4, 16, 64, 256 or 1024', () => {
    expect([1, 4, 5, 16, 17, 64, 65, 256, 257, 1024].map((width) => paddedWidth(width))).toEqual([
      4, 4, 16, 16, 64, 64, 256, 256, 1024, 1024,
    ]);
  });
});
