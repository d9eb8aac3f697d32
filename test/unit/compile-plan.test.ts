import { describe, expect, it } from 'vitest';
import { costOf, withTurns } from '../../client/compile/cost.js';
import { parseBuckets, planPrograms } from '../../client/compile/plan.js';
import { figure, makeReport, reportPage } from '../../client/compile/report.js';
import { sizeLadder } from '../../src/batching/buckets.js';
import { builtInPolicies } from '../../src/policies/built-in.js';

const bucket = (batch: number, agents: number, tasks: number) => ({ batch, agents, tasks });

describe('a list of buckets', () => {
  it('takes one bucket, a size at both its batches, and every size, with commas and spaces anywhere', () => {
    expect(parseBuckets('b8,n128,m64')).toEqual([bucket(8, 128, 64)]);
    expect(parseBuckets('b1 n1024')).toEqual([bucket(1, 1024, 1024)]);
    expect(parseBuckets('n128')).toEqual([bucket(1, 128, 128), bucket(32, 128, 128)]);
    expect(parseBuckets('n128,m1024,b2n16')).toEqual([bucket(1, 128, 1024), bucket(2, 128, 1024), bucket(2, 16, 16)]);
    const all = parseBuckets('default');
    expect(new Set(all.map(({ agents }) => agents))).toEqual(new Set(sizeLadder));
    // The two largest sizes are never batched.
    expect(all).toHaveLength(2 * sizeLadder.length - 2);
  });

  it('holds each bucket once', () => {
    expect(parseBuckets('default,n128,b1,n128,m128')).toEqual(parseBuckets('default'));
  });
});

it('plans the default forms and TOP_K of each policy, under names that are all different', () => {
  const plan = planPrograms(builtInPolicies(), parseBuckets('n16'));
  expect(plan.map(({ name }) => name)).toEqual([
    'distance-hard-b1-n16-m0',
    'distance-hard-b32-n16-m0',
    'distance-topk-b1-n16-m16',
    'distance-topk-b32-n16-m16',
    'reference-hard-plan-b1-n16-m16',
    'reference-hard-plan-b32-n16-m16',
    'reference-topk-b1-n16-m16',
    'reference-topk-b32-n16-m16',
  ]);
});

describe('a cost', () => {
  it('leaves out the second that XLA takes off for each operation that it cannot time', () => {
    const cost = costOf(new Map([['flops', 4], ['bytes accessed', 8], ['optimal_seconds', -1.9999]])); // prettier-ignore
    expect(cost).toMatchObject({ flops: 4, bytesAccessed: 8, untimed: 2 });
    expect(cost.seconds).toBeCloseTo(1e-4, 10);
    expect(costOf(new Map([['optimal_seconds', 2e-6]]))).toMatchObject({ seconds: 2e-6, untimed: 0 });
    expect(costOf(new Map()).seconds).toBeNull();
  });

  it('counts a loop as often as it turns', () => {
    const body = { flops: 10, bytesAccessed: 20, seconds: 1e-6, untimed: 0 };
    const once = { flops: 15, bytesAccessed: 25, seconds: 2e-6, untimed: 0 };
    expect(withTurns(once, [{ turns: 4, body }])).toMatchObject({ flops: 45, bytesAccessed: 85 });
    expect(withTurns(once, [{ turns: 4, body }]).seconds).toBeCloseTo(5e-6, 12);
    expect(withTurns(once, [])).toEqual(once);
  });
});

it('prints three digits and no exponents', () => {
  expect([0, 1234.4, 0.00123456, 12.345, 1e-9].map(figure)).toEqual(['0', '1234', '0.00123', '12.3', '0.000000']);
});

it('names in the report what failed and that it was stopped', () => {
  const plan = planPrograms(builtInPolicies(), parseBuckets('b1,n16')).map((one) => ({ ...one, weightBytes: 0 }));
  const outcome = { devices: null, compiled: [], failed: [{ name: plan[0]!.name, why: 'no' }], refused: null };
  const page = reportPage(makeReport(plan, outcome, { topology: 'v5e:1x1', pluginPath: 'x', interrupted: true }));
  expect(page).toContain('- `distance-hard-b1-n16-m0`: no');
  expect(page).toContain('Stopped before the end');
});
