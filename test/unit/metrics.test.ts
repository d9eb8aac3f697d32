import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { errorRegistry } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';

function setUp() {
  const registry = new Registry();
  return { registry, metrics: createMetrics(registry) };
}

test('every status that a call may end with is there, with zeros, before the first call ends with it', async () => {
  const { registry } = setUp();
  const text = await registry.metrics();
  for (const status of ['OK', ...Object.values(errorRegistry).map((kind) => kind.status)])
    expect(text).toContain(`coordinate_request_duration_seconds_count{code="${status}"} 0\n`);
});

test.each([
  'coordinate_shed_total{reason="queue_full"}',
  'coordinate_engine_restart_total{engine="xla",reason="device_lost"}',
  'coordinate_executable_cache_total{result="disk_refused"}',
  'coordinate_slow_reader_closed_total',
  'coordinate_stage_duration_seconds_count{stage="queue"}',
])('%s starts at 0, so that its first event is an increase', async (series) => {
  const { registry } = setUp();
  expect(await registry.metrics()).toContain(`\n${series} 0\n`);
});

test('watched gauges are 0 until somebody knows better, and asked at each scrape', async () => {
  const { registry, metrics } = setUp();
  const gauge = async () => (await registry.getSingleMetric('coordinate_open_calls')!.get()).values[0]?.value;
  expect(await gauge()).toBe(0);
  let open = 3;
  metrics.watchOpenCalls(() => open);
  expect(await gauge()).toBe(3);
  open = 4;
  expect(await gauge()).toBe(4);
});

test('engines are shown by their names in the ladder, as usable or not', async () => {
  const { registry, metrics } = setUp();
  metrics.watchUsableEngines(() => [
    ['xla cpu', false],
    ['onnx cpu', true],
  ]);
  const text = await registry.metrics();
  expect(text).toContain('coordinate_engine_usable{rung="xla cpu"} 0\n');
  expect(text).toContain('coordinate_engine_usable{rung="onnx cpu"} 1\n');
});
