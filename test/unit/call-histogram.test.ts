import { Histogram, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { CallHistogram } from '../../src/call-histogram.js';

const buckets = [0.00005, 0.1, 1, 2.5];

test("shows what prom-client's histogram shows of the same observations", async () => {
  const [registry, reference] = [new Registry(), new Registry()];
  const [name, help] = ['stage_seconds', 'Stages, in "seconds".'];
  const ours = new CallHistogram({ name, help, labelName: 'stage', buckets, registry });
  const theirs = new Histogram({ name, help, labelNames: ['stage'], buckets, registers: [reference] });
  expect(await registry.metrics()).toBe(await reference.metrics());
  for (const [stage, value] of [
    ['pack', 0.1],
    ['queue', 0],
    ['queue', 3],
    ['pack', 0.1000001],
    ['queue', 0.00002],
  ] as const) {
    ours.observe({ stage }, value);
    theirs.observe({ stage }, value);
  }
  expect(await registry.metrics()).toBe(await reference.metrics());
  ours.reset();
  expect(await registry.metrics()).not.toContain('pack');
});

test('shows zeros before anything is observed where there is no label', async () => {
  const [registry, reference] = [new Registry(), new Registry()];
  const [name, help] = ['gap', 'Gap.'];
  const ours = new CallHistogram({ name, help, buckets, registry });
  const theirs = new Histogram({ name, help, buckets, registers: [reference] });
  expect(await registry.metrics()).toBe(await reference.metrics());
  ours.observe(0.5);
  theirs.observe(0.5);
  expect(await registry.metrics()).toBe(await reference.metrics());
});

test('refuses what is no finite number', () => {
  const histogram = new CallHistogram({ name: 'a', help: 'b', buckets, registry: new Registry() });
  expect(() => histogram.observe(NaN)).toThrow('expected a finite number');
  expect(() => histogram.observe(Infinity)).toThrow('expected a finite number');
});
