/** Thousands of executions on one engine: nothing may add up. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Registry } from 'prom-client';
import { expect, inject, test } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { bundlingOf, travellingShapes } from '../../src/compiler/bundling.js';
import type { LoadedProgram } from '../../src/engine/engine.js';
import { XlaEngine } from '../../src/engine/xla-engine.js';
import { createMetrics } from '../../src/metrics.js';
import { shapeIn, type Bucket, type ProgramSpec, type TensorData } from '../../src/operators/signature.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { seededNormal } from '../seeded-normal.js';
import { FaultPlugin } from './fault-plugin.js';

process.env['TF_CPP_MIN_LOG_LEVEL'] = '2';
const executions = Number(process.env['TC_TEST_SOAK_EXECUTIONS'] ?? 3_000);
const lanes = 4;

/** Weights, inputs, and results of every kind: 64 agents and tasks in each of four slots. */
const bucket: Bucket = { batch: 4, agents: 64, tasks: 64 };
const spec: ProgramSpec = {
  parameters: 'weights',
  projection: { width: 8, kinds: 3 },
  utility: { source: 'bilinear', agentWidth: 8, taskWidth: 8 },
  utilityOut: true,
  soft: { iterations: 5, bias: false, slack: false, plan: true, topK: 4, potentials: false, form: 'log' },
  consensus: null,
};
const random = seededNormal(3);
const parameters = new Map([
  ['projection_weight', Float32Array.from({ length: 24 }, random)],
  ['projection_bias', Float32Array.from({ length: 3 }, random)],
  ['bilinear', Float32Array.from({ length: 64 }, random)],
] as const);

/** The engine owns what it is given, so every run gets arrays of its own. */
function inputsOf({ signature }: LoadedProgram): TensorData[] {
  return signature.inputs.map((input) => {
    const length = shapeIn(input, bucket).reduce((size, axis) => size * axis, 1);
    return new Float32Array(length).fill(1);
  });
}

async function runMany(program: LoadedProgram, count: number): Promise<void> {
  let left = count;
  const lane = async () => {
    while (left-- > 0) {
      const { outputs } = await program.run(inputsOf(program));
      if (outputs.some((output) => Number.isNaN(output[0]!))) throw new Error('a result is NaN');
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Without what the garbage collector has not got round to. */
function settledRss(): number {
  collect();
  return process.memoryUsage().rss;
}

test(`${executions} executions leave memory flat and no object behind`, { timeout: 600_000 }, async () => {
  const engine = await XlaEngine.open({
    plugin: inject('cpuPlugin'),
    clock: systemClock,
    metrics: createMetrics(new Registry()),
  });
  const program = await engine.load({ spec, bucket, parameters });
  await runMany(program, 1_000); // allocators and compilers settle
  const objects = 3 + parameters.size; // the client, the program loaded and not, and its weights
  await expect.poll(livePjrtObjects, { message: 'before' }).toBe(objects);
  const rss = [settledRss()];
  for (let quarter = 0; quarter < 4; quarter++) {
    await runMany(program, executions / 4);
    // What was lent is given back a moment after its buffer is disposed.
    await expect.poll(livePjrtObjects).toBe(objects);
    rss.push(settledRss());
  }
  const megabytes = rss.map((bytes) => Math.round(bytes / 1e6));
  console.info(
    `${executions} executions: resident MB at every quarter ${megabytes.join(', ')}; live objects ${objects}`,
  );
  // Each run moves 160 KB: kept, they would be half a gigabyte.
  expect(rss.at(-1)! - rss[0]!, `MB: ${megabytes.join(', ')}`).toBeLessThan(64e6);
  await engine.close();
  await expect.poll(livePjrtObjects).toBe(0);
});

test('every object of a thousand executions is destroyed, by the plugin’s own count', async () => {
  const plugin = new FaultPlugin(inject('cpuPlugin'));
  const engine = await XlaEngine.open({
    plugin: plugin.api(),
    clock: systemClock,
    metrics: createMetrics(new Registry()),
  });
  const program = await engine.load({ spec, bucket, parameters });
  const before = plugin.ledger.live();
  await runMany(program, 1_000);
  await expect.poll(() => plugin.ledger.live()).toEqual(before);
  const { inputs, outputs } = program.signature;
  const travelling = [inputs, outputs].flatMap((tensors) =>
    travellingShapes(bundlingOf(tensors, bucket), tensors, bucket),
  );
  expect(plugin.ledger.total('buffer')).toBe(1_000 * travelling.length + parameters.size);
  await engine.close();
  await expect.poll(() => plugin.ledger.live(), { message: 'objects by the plugin’s count' }).toEqual({});
  expect(plugin.ledger.violations).toEqual([]);
});
