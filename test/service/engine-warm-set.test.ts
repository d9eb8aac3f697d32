import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { maxBatch } from '../../src/batching/buckets.js';
import { systemClock } from '../../src/clock.js';
import { OnnxEngine } from '../../src/engine/onnx-engine.js';
import { ProgramStore } from '../../src/engine/program-store.js';
import { warmRequests } from '../../src/engine/warmup.js';
import { createMetrics } from '../../src/metrics.js';
import { specKey, type ProgramSpec } from '../../src/operators/signature.js';
import { parametersOf } from '../../src/planning/job-inputs.js';
import { defaultSpecs } from '../../src/planning/spec.js';
import { builtInPolicies } from '../../src/policies/built-in.js';

const engines: OnnxEngine[] = [];

function start() {
  const metrics = createMetrics(new Registry());
  const engine = new OnnxEngine({ clock: systemClock, metrics });
  engines.push(engine);
  const store = new ProgramStore({ engine, memoryLimitBytes: 2 ** 29, clock: systemClock, metrics });
  return { engine, store };
}

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

describe('warm set of the built-in policies', () => {
  it('loads whole and serves its buckets at once', async () => {
    const { store } = start();
    const requests = warmRequests(builtInPolicies(), {
      defaultSpecs,
      parametersOf,
      largestBatch: (agents, tasks) => maxBatch(agents, tasks, 32),
    });
    expect(await store.warm(requests)).toEqual([]);
    for (const { spec, bucket, parameters } of requests) {
      expect(store.ready(spec, specKey(spec), bucket, parameters)?.bucket).toEqual(bucket);
    }
  });

  it('gives equal fingerprints in every worker, and others for other weights', async () => {
    const reference = builtInPolicies().find((policy) => policy.projection !== null)!;
    const [spec] = defaultSpecs(reference);
    const bucket = { batch: 1, agents: 16, tasks: 16 };
    const parameters = parametersOf(reference);
    const fingerprints = await Promise.all(
      [parameters, parameters, new Map(parameters).set('projection_bias', new Float32Array(8).fill(1))].map(
        async (weights) => (await start().engine.load({ spec: spec!, bucket, parameters: weights })).fingerprint,
      ),
    );
    expect(fingerprints[1]).toBe(fingerprints[0]);
    expect(fingerprints[2]).not.toBe(fingerprints[0]);
  });

  it('refuses a program whose weights are missing with COMPILE_FAILED', async () => {
    const spec: ProgramSpec = {
      parameters: 'x',
      projection: { width: 4, kinds: 2 },
      utility: null,
      utilityOut: false,
      soft: null,
      consensus: null,
    };
    const bucket = { batch: 1, agents: 16, tasks: 0 };
    await expect(start().engine.load({ spec, bucket, parameters: new Map() })).rejects.toMatchObject({
      code: 'COMPILE_FAILED',
      message: expect.stringContaining('projection_weight') as string,
    });
  });
});
