/** One problem over several devices of the CPU plugin, cut along the agents by XLA's partitioner. */
import { Registry } from 'prom-client';
import { describe, expect, inject, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import type { LoadedProgram, ProgramRequest } from '../../src/engine/engine.js';
import { XlaEngine, type XlaEngineOptions } from '../../src/engine/xla-engine.js';
import { createMetrics } from '../../src/metrics.js';
import { shapeIn, type Bucket, type ProgramSpec, type TensorData } from '../../src/operators/signature.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { parametersOf } from '../../src/planning/job-inputs.js';
import { defaultSpecs } from '../../src/planning/spec.js';
import { builtInPolicies } from '../../src/policies/built-in.js';
import { worstError } from '../golden/cases.js';
import { seededNormal } from '../seeded-normal.js';

const bucket: Bucket = { batch: 1, agents: 32, tasks: 32 };
/** What different executables may differ by, relative to values above 1. */
const tolerance = 1e-6;

function open(options: Partial<XlaEngineOptions>): Promise<XlaEngine> {
  const metrics = createMetrics(new Registry());
  return XlaEngine.open({ plugin: inject('cpuPlugin'), clock: systemClock, metrics, ...options });
}

function inputsOf({ signature }: LoadedProgram, seed: number): TensorData[] {
  const random = seededNormal(seed);
  return signature.inputs.map((input) => {
    const length = shapeIn(input, bucket).reduce((size, axis) => size * axis, 1);
    if (input.dtype === 'int32') return Int32Array.from({ length }, (_, i) => 15 + (i % 2));
    if (/mask|mass|spread|max|budget/.test(input.name)) return new Float32Array(length).fill(1);
    if (input.name === 'temperature') return new Float32Array(length).fill(1);
    if (input.name === 'consensus_constants')
      return Float32Array.from({ length }, (_, i) => [6.7, 7.3, 26.1, 0][i % 4]!);
    return Float32Array.from({ length }, random);
  });
}

const soft = { iterations: 20, bias: false, slack: false, plan: true, topK: 5, potentials: true } as const;
const requests: [string, ProgramRequest][] = builtInPolicies().flatMap((policy) =>
  defaultSpecs(policy).flatMap((spec) => {
    const request = { spec, bucket, parameters: parametersOf(policy) };
    const form = policy.utility?.kind === 'bilinear' ? 'scaling' : 'log';
    const utility = spec.utility ?? ({ source: 'distance', width: spec.consensus!.width } as const);
    const everything: ProgramSpec = { ...spec, utility, utilityOut: true, soft: { ...soft, form } };
    return [
      [policy.name, request] as [string, ProgramRequest],
      [`${policy.name}, every output, ${form}`, { ...request, spec: everything }] as [string, ProgramRequest],
    ];
  }),
);

describe.each(requests)('%s', (_, request) => {
  it('gives on two and on four devices what one gives, and frees all', async () => {
    const before = livePjrtObjects();
    const single = await open({ devices: 1 });
    const alone = await single.load(request);
    const inputs = inputsOf(alone, 11);
    const expected = await alone.run(inputs);
    for (const devices of [2, 4]) {
      const engine = await open({ devices, shardFromAgents: 16, sharding: 'always' });
      const program = await engine.load(request);
      expect(program.fingerprint).not.toBe(alone.fingerprint);
      const results = await Promise.all([program.run(inputs), program.run(inputs)]);
      for (const { outputs, device } of results) {
        expect(device).toBe(`cpu:0-${devices - 1}`);
        program.signature.outputs.forEach(({ name }, index) => {
          const error = worstError(outputs[index]!, expected.outputs[index]!);
          expect(error, `${devices} devices, ${name}`).toBeLessThanOrEqual(name === 'top_k_tasks' ? 0 : tolerance);
        });
      }
      await engine.close();
    }
    await single.close();
    await expect.poll(livePjrtObjects).toBe(before);
  });
});

it('is tried on large single problems only, and runs on all devices only where that was faster', async () => {
  const tried: Readonly<Record<string, unknown>>[] = [];
  const engine = await open({
    devices: 2,
    shardFromAgents: 32,
    log: (message, fields) => {
      if (/all devices together/.test(message)) tried.push(fields);
    },
  });
  const request = requests[0]![1];
  const program = await engine.load(request);
  await engine.load({ ...request, bucket: { batch: 1, agents: 16, tasks: 16 } });
  await engine.load({ ...request, bucket: { batch: 2, agents: 32, tasks: 32 } });
  expect(tried).toMatchObject([{ bucket: 'b1 n32 m32' }]);
  const { togetherMs, aloneMs } = tried[0] as { togetherMs: number; aloneMs: number };
  const { device } = await program.run(inputsOf(program, 1));
  expect(device === 'cpu:0-1').toBe(togetherMs < aloneMs);
  await engine.close();
});
