import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { bundled, bundlingOf, travellingShapes, unbundled } from '../../src/compiler/bundling.js';
import { ExecutableCache } from '../../src/engine/executable-cache.js';
import { XlaCompiler } from '../../src/engine/xla-compiler.js';
import { createMetrics } from '../../src/metrics.js';
import {
  programSignature,
  shapeIn,
  type Bucket,
  type ProgramSpec,
  type TensorData,
} from '../../src/operators/signature.js';
import { PjrtError } from '../../src/pjrt/call.js';
import { PjrtClient } from '../../src/pjrt/client.js';
import type { PjrtDevice } from '../../src/pjrt/device.js';
import type { PjrtLoadedExecutable } from '../../src/pjrt/executable.js';
import type { HostArray } from '../../src/pjrt/host-array.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { runOnHostArrays } from '../../src/pjrt/run.js';
import { givenSpec } from '../fake-programs.js';

const bucket: Bucket = { batch: 1, agents: 16, tasks: 16 };
const spec = givenSpec();

let directory = '';
let client: PjrtClient;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'compiler-'));
  client = await PjrtClient.create(loadPlugin(inject('cpuPlugin')), { cpu_device_count: 2 });
});

afterEach(async () => {
  vi.restoreAllMocks();
  client.dispose();
  // What was lent is given back a moment after its buffer is disposed.
  await expect.poll(livePjrtObjects).toBe(0);
  await rm(directory, { recursive: true, force: true });
});

/** A compiler as a process of its own would have it. */
function open(host = 'this one') {
  const metrics = createMetrics(new Registry());
  const logged: string[] = [];
  const log = (message: string) => logged.push(message);
  const cache = new ExecutableCache({ directory, limitBytes: 1e8, metrics, log });
  const results = async (): Promise<Record<string, number>> =>
    Object.fromEntries(
      (await metrics.executableCache.get()).values
        .filter(({ value }) => value > 0)
        .map(({ labels, value }) => [String(labels.result), value]),
    );
  return { compiler: new XlaCompiler({ wide: client, narrow: null }, { cache, host, log }), logged, results };
}

/** The plan of a fixed problem. */
async function planOf(executable: PjrtLoadedExecutable, device?: PjrtDevice): Promise<number[]> {
  const signature = programSignature(spec);
  const tensors = signature.inputs.map((input) => {
    const length = shapeIn(input, bucket).reduce((size, axis) => size * axis, 1);
    return Float32Array.from({ length }, (_, index) => (input.name === 'utility' ? Math.sin(index) : 1));
  });
  const arriving = bundlingOf(signature.inputs, bucket);
  const shapes = travellingShapes(arriving, signature.inputs, bucket);
  const inputs = bundled(arriving, tensors).map((data, index) => ({ data: data as HostArray, dims: shapes[index]! }));
  const { outputs } = await runOnHostArrays(client, executable, inputs, systemClock, device && { device });
  const results = unbundled(bundlingOf(signature.outputs, bucket), outputs as readonly TensorData[]);
  return Array.from(results[signature.outputs.findIndex(({ name }) => name === 'plan')]!);
}

describe('compiling for XLA with a cache', () => {
  it('takes out of the cache what an earlier compiler put there, and it computes the same bits', async () => {
    const first = open();
    const made = await first.compiler.compile(spec, bucket);
    await first.compiler.close();
    const second = open();
    const found = await second.compiler.compile({ ...spec, parameters: 'other weights, same program' }, bucket);
    expect(await first.results()).toEqual({ disk_miss: 1 });
    expect(await second.results()).toEqual({ disk_hit: 1 });
    expect(found.key).toBe(made.key);
    expect(found.serializedBytes).toBe(made.serializedBytes);
    expect(found.serializedBytes).toBeGreaterThan(10_000);
    expect(await planOf(found.executable)).toEqual(await planOf(made.executable));
    await second.compiler.close();
    made.executable.dispose();
    found.executable.dispose();
  });

  it('keeps a portable executable portable, and apart from one for the first device', async () => {
    const first = open();
    const made = await first.compiler.compile(spec, bucket, { portable: true });
    await first.compiler.close();
    const second = open();
    const found = await second.compiler.compile(spec, bucket, { portable: true });
    const fixed = await second.compiler.compile(spec, bucket);
    expect(await second.results()).toEqual({ disk_hit: 1, disk_miss: 1 });
    expect(fixed.key).not.toBe(found.key);
    const expected = await planOf(made.executable);
    for (const device of client.devices) expect(await planOf(found.executable, device)).toEqual(expected);
    await second.compiler.close();
    for (const { executable } of [made, found, fixed]) executable.dispose();
  });

  it('compiles anew for another host, another bucket and other options of the program', async () => {
    const first = open();
    (await first.compiler.compile(spec, bucket)).executable.dispose();
    await first.compiler.close();
    const other = open('another CPU');
    (await other.compiler.compile(spec, bucket)).executable.dispose();
    expect(await other.results()).toEqual({ disk_miss: 1 });
    await other.compiler.close();
    const same = open();
    const changed: ProgramSpec = { ...spec, soft: { ...spec.soft!, iterations: 11 } };
    (await same.compiler.compile(spec, { ...bucket, tasks: 32 })).executable.dispose();
    (await same.compiler.compile(changed, bucket)).executable.dispose();
    expect(await same.results()).toEqual({ disk_miss: 2 });
    await same.compiler.close();
  });

  it('compiles what the plugin cannot load, though its file is whole', async () => {
    const first = open();
    (await first.compiler.compile(spec, bucket)).executable.dispose();
    await first.compiler.close();
    vi.spyOn(client, 'deserialize').mockRejectedValue(new PjrtError('INVALID_ARGUMENT', 'not mine', 'test'));
    const second = open();
    const made = await second.compiler.compile(spec, bucket);
    await second.compiler.close();
    expect(await second.results()).toEqual({ disk_refused: 1, disk_hit: 1 });
    expect(second.logged).toEqual([expect.stringContaining('refused')]);
    vi.restoreAllMocks();
    const third = open();
    const found = await third.compiler.compile(spec, bucket);
    expect(await third.results()).toEqual({ disk_hit: 1 });
    expect(found.key).toBe(made.key);
    await third.compiler.close();
    made.executable.dispose();
    found.executable.dispose();
  });

  it('finds out once that a plugin cannot serialize, says so once, and compiles', async () => {
    const compile = client.compile.bind(client);
    vi.spyOn(client, 'compile').mockImplementation(async (...given) => {
      const executable = await compile(...given);
      vi.spyOn(executable.executable, 'serialize').mockRejectedValue(
        new PjrtError('UNIMPLEMENTED', 'it has no such function', 'test'),
      );
      return executable;
    });
    const { compiler, logged, results } = open();
    for (const agents of [16, 32, 64]) {
      const { executable } = await compiler.compile(spec, { ...bucket, agents });
      await new Promise((resolve) => setImmediate(resolve));
      executable.dispose();
    }
    await compiler.close();
    expect(logged).toEqual([expect.stringContaining('executables are not cached')]);
    expect(await results()).toEqual({ disk_miss: 1 });
  });

  it('survives every kind of damage to its files', async () => {
    const first = open();
    const made = await first.compiler.compile(spec, bucket);
    const expected = await planOf(made.executable);
    await first.compiler.close();
    made.executable.dispose();
    for (const damage of [
      (file: Buffer) => file.subarray(0, file.length / 2),
      (file: Buffer) => Buffer.concat([file.subarray(0, 5000), Buffer.alloc(64), file.subarray(5064)]),
      () => Buffer.alloc(0),
    ]) {
      for (const name of await readdir(directory)) {
        const path = join(directory, name);
        await writeFile(path, damage(await readFile(path)));
      }
      const { compiler, results } = open();
      const { executable } = await compiler.compile(spec, bucket);
      expect(await planOf(executable)).toEqual(expected);
      await compiler.close();
      executable.dispose();
      expect((await results())['disk_refused']).toBeGreaterThanOrEqual(1);
    }
  });
});
