import { Counter, Gauge, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { prefersOpenMetrics, renderOpenMetrics } from '../../server/open-metrics.js';
import { CallHistogram } from '../../src/call-histogram.js';

test('counters, gauges and histograms are written as OpenMetrics has them, exemplars beside their buckets', async () => {
  const registry = new Registry();
  const registers = [registry];
  new Counter({ name: 'calls_total', help: 'Calls.', labelNames: ['code'], registers }).inc({ code: 'OK' }, 3);
  const odd = new Gauge({ name: 'odd', help: 'A "quoted" \\ line\nand another.', labelNames: ['path'], registers });
  odd.set({ path: 'a"b\\c\nd' }, Infinity);
  odd.set({ path: '' }, NaN);
  const labelName = 'stage';
  const times = new CallHistogram({ name: 'seconds', help: 'Time.', labelName, buckets: [0.1, 1], registry });
  times.observe({ stage: 'pack' }, 0.5);
  const ids = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) };
  times.exemplify({ stage: 'pack' }, 0.4, { ...ids, epochSeconds: 1_700_000_000 });
  times.exemplify({ stage: 'pack' }, 0.5, { ...ids, epochSeconds: 1_700_000_001.5 });
  const plain = await registry.metrics();
  expect(await renderOpenMetrics(registry)).toBe(
    [
      '# HELP calls Calls.',
      '# TYPE calls counter',
      'calls_total{code="OK"} 3',
      '# HELP odd A \\"quoted\\" \\\\ line\\nand another.',
      '# TYPE odd gauge',
      'odd{path="a\\"b\\\\c\\nd"} +Inf',
      'odd{path=""} NaN',
      '# HELP seconds Time.',
      '# TYPE seconds histogram',
      'seconds_bucket{le="0.1",stage="pack"} 0',
      `seconds_bucket{le="1",stage="pack"} 1 # {trace_id="${ids.traceId}",span_id="${ids.spanId}"} 0.5 1700000001.500`,
      'seconds_bucket{le="+Inf",stage="pack"} 1',
      'seconds_sum{stage="pack"} 0.5',
      'seconds_count{stage="pack"} 1',
      '# EOF',
      '',
    ].join('\n'),
  );
  expect(await registry.metrics()).toBe(plain);
  expect(plain).not.toContain('trace_id');
});

test.each([
  [undefined, false],
  ['', false],
  ['*/*', false],
  ['text/plain', false],
  // Prometheus 2 and 3.
  [
    'application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
    true,
  ],
  ['application/openmetrics-text; version=1.0.0, text/plain;q=0.5', true],
  ['application/openmetrics-text', true],
  ['application/openmetrics-text;version=0.0.1', false],
  ['application/openmetrics-text;version=1.0.0;q=0.1,text/plain;q=0.5', false],
  ['application/openmetrics-text;q=0', false],
  ['application/openmetrics-text;q=nonsense', false],
])('Accept: %s', (accept, expected) => {
  expect(prefersOpenMetrics(accept)).toBe(expected);
});
