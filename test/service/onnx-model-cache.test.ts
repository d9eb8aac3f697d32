import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { ExecutableCache } from '../../src/engine/executable-cache.js';
import { OnnxEngine } from '../../src/engine/onnx-engine.js';
import { OnnxModelCache } from '../../src/engine/onnx-model-cache.js';
import { createMetrics } from '../../src/metrics.js';
import { shapeIn, type Bucket, type TensorData } from '../../src/operators/signature.js';
import { parametersOf } from '../../src/planning/job-inputs.js';
import { defaultSpecs } from '../../src/planning/spec.js';
import { builtInPolicies } from '../../src/policies/built-in.js';

const bucket: Bucket = { batch: 2, agents: 16, tasks: 16 };
const reference = builtInPolicies().find((policy) => policy.projection !== null)!;
const weights = parametersOf(reference);
const spec = defaultSpecs(reference)[0]!;
const host = 'this one';
const folders: string[] = [];

afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

async function newFolder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'onnx-models-'));
  folders.push(made);
  return made;
}

function openCache(directory: string) {
  const metrics = createMetrics(new Registry());
  const logged: string[] = [];
  const cache = new ExecutableCache({
    directory,
    limitBytes: 2 ** 26,
    metrics,
    log: (message) => logged.push(message),
  });
  const results = async (): Promise<Record<string, number>> =>
    Object.fromEntries(
      (await metrics.executableCache.get()).values
        .filter(({ value }) => value > 0)
        .map(({ labels, value }) => [String(labels.result), value]),
    );
  return { cache, metrics, logged, results };
}

/** What a process that starts with the folder loads and answers; it has ended when this resolves. */
async function runOnce(directory: string, on = host, parameters = weights) {
  const { cache, metrics, logged, results } = openCache(directory);
  const engine = new OnnxEngine({ clock: systemClock, metrics, hangTimeoutMs: 120_000, cache, host: on });
  try {
    const program = await engine.load({ spec, bucket, parameters });
    const inputs = program.signature.inputs.map((input, position): TensorData => {
      const length = shapeIn(input, bucket).reduce((size, axis) => size * axis, 1);
      return input.dtype === 'int32'
        ? new Int32Array(length).fill(1)
        : Float32Array.from({ length }, (_, index) => Math.abs(Math.sin(index * 7.1 + position)));
    });
    const { outputs } = await program.run(inputs);
    const bytes = outputs.map((output) => Buffer.from(output.buffer, output.byteOffset, output.byteLength));
    return { fingerprint: program.fingerprint, answer: Buffer.concat(bytes).toString('hex'), results, logged };
  } finally {
    await engine.close();
  }
}

describe('ONNX models on disk', () => {
  it('are loaded by the next process instead of being compiled, and answer the same to the bit', async () => {
    const directory = await newFolder();
    const first = await runOnce(directory);
    expect(await first.results()).toEqual({ disk_miss: 1 });
    const files = await readdir(directory);
    expect(files).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.tcx$/)]);
    const second = await runOnce(directory);
    expect(await second.results()).toEqual({ disk_hit: 1 });
    expect(second.answer).toBe(first.answer);
    expect(second.fingerprint).toBe(first.fingerprint);
    expect(await readdir(directory)).toEqual(files);
    expect([...first.logged, ...second.logged]).toEqual([]);
  }, 120_000);

  it('are not taken on another host, nor for other weights', async () => {
    const directory = await newFolder();
    const first = await runOnce(directory);
    const elsewhere = await runOnce(directory, 'another one');
    expect(await elsewhere.results()).toEqual({ disk_miss: 1 });
    const others = new Map(weights).set('projection_bias', new Float32Array(8).fill(1));
    const changed = await runOnce(directory, host, others);
    expect(await changed.results()).toEqual({ disk_miss: 1 });
    expect(changed.fingerprint).not.toBe(first.fingerprint);
  }, 120_000);

  it('are forgotten and compiled anew where the runtime does not take them', async () => {
    const directory = await newFolder();
    const { answer } = await runOnce(directory);
    const { cache } = openCache(directory);
    const entry = new OnnxModelCache(cache, host).entryOf({ spec, bucket, parameters: weights });
    await cache.write(entry, Buffer.from('0123456789abcdef and then no model'));
    const again = await runOnce(directory);
    expect(await again.results()).toEqual({ disk_hit: 1, disk_refused: 1 });
    expect(again.answer).toBe(answer);
    const after = await runOnce(directory);
    expect(await after.results()).toEqual({ disk_hit: 1 });
    expect(after.answer).toBe(answer);
  }, 120_000);

  it('are compiled, at the cost of a warning, where the disk takes none', async () => {
    const folder = await newFolder();
    const directory = join(folder, 'taken');
    await writeFile(directory, 'a file stands where the folder should be');
    const { results, logged, answer } = await runOnce(directory);
    expect(answer.length).toBeGreaterThan(0);
    expect(await results()).toEqual({ disk_miss: 1 });
    expect(logged.filter((message) => message.includes('written'))).toHaveLength(1);
  }, 120_000);
});
