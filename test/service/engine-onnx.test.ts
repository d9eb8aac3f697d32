import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.js';
import type { LoadedProgram } from '../../src/engine/engine.js';
import { OnnxEngine } from '../../src/engine/onnx-engine.js';
import { createMetrics } from '../../src/metrics.js';
import { settle, VirtualClock } from '../virtual-clock.js';
import type { Bucket, ProgramSpec } from '../../src/operators/signature.js';

const bucket: Bucket = { batch: 2, agents: 16, tasks: 16 };

const specOf = (parameters = ''): ProgramSpec => ({
  parameters,
  projection: null,
  utility: { source: 'given' },
  utilityOut: true,
  soft: null,
  consensus: null,
});

const engines: OnnxEngine[] = [];

function start(clock: Clock = systemClock) {
  const metrics = createMetrics(new Registry());
  const engine = new OnnxEngine({
    clock,
    metrics,
    hangTimeoutMs: 60_000,
    workerEntry: new URL('engine-fault-worker.mjs', import.meta.url),
  });
  engines.push(engine);
  const resets: string[] = [];
  engine.onReset((reason) => resets.push(reason));
  const load = (spec = specOf()) => engine.load({ spec, bucket, parameters: new Map() });
  const restarts = async () =>
    (await metrics.engineRestart.get()).values
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => [labels.reason, value]);
  return { engine, load, resets, restarts };
}

/** Inputs of the doubling program: a mask whose first value is an order to the fault worker, and utilities. */
function inputsOf(order = 0, utility = 1): Float32Array[] {
  const mask = new Float32Array(bucket.batch * bucket.agents);
  mask[0] = order;
  return [mask, new Float32Array(bucket.batch * bucket.agents * bucket.tasks).fill(utility)];
}

async function firstOutput(program: LoadedProgram, utility: number): Promise<number | undefined> {
  return (await program.run(inputsOf(0, utility))).outputs[0]?.[5];
}

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

describe('ONNX engine', () => {
  it('runs a loaded program, takes the inputs and gives outputs that own their memory', async () => {
    const { load, engine } = start();
    const program = await load();
    const inputs = inputsOf(0, 3);
    const result = await program.run(inputs);
    const output = result.outputs[0]!;
    expect(output).toEqual(new Float32Array(512).fill(6));
    expect(output.buffer.byteLength).toBe(output.byteLength);
    expect(inputs.map((input) => input.length)).toEqual([0, 0]);
    expect(Math.min(result.transferInMs, result.executeMs, result.transferOutMs)).toBeGreaterThanOrEqual(0);
    expect(engine.device).toBe('cpu');
  });

  it('leaves the rest of a larger buffer alone where an input is a view into it', async () => {
    const { load } = start();
    const program = await load();
    const large = new Float32Array(1024).fill(4);
    const [mask] = inputsOf();
    const { outputs } = await program.run([mask!, large.subarray(0, 512)]);
    expect(outputs[0]![511]).toBe(8);
    expect(large.length).toBe(1024);
  });

  it('gives equal programs equal fingerprints and different ones different fingerprints', async () => {
    const { load } = start();
    const [first, again, other] = await Promise.all([load(), load(), load(specOf('other'))]);
    expect(first.fingerprint).toMatch(/^[0-9a-f]{16}$/);
    expect(again.fingerprint).toBe(first.fingerprint);
    expect(other.fingerprint).not.toBe(first.fingerprint);
  });

  it('rejects a load alone, with COMPILE_FAILED, where the compiler or the runtime refuses it', async () => {
    const { load, resets } = start();
    const [refused, notAModel, good] = await Promise.allSettled([
      load(specOf('refused')),
      load(specOf('not-a-model')),
      load(),
    ]);
    expect(refused).toMatchObject({
      reason: { code: 'COMPILE_FAILED', message: expect.stringContaining('frobnicate') as string },
    });
    expect(notAModel).toMatchObject({ reason: { code: 'COMPILE_FAILED' } });
    expect(good.status).toBe('fulfilled');
    expect(resets).toEqual([]);
  });

  it('rejects a run alone, with INTERNAL, where it fails inside the worker', async () => {
    const { load, resets } = start();
    const program = await load();
    const [bad, good] = await Promise.allSettled([
      program.run([new Float32Array(3), new Float32Array(4)]),
      program.run(inputsOf(0, 2)),
    ]);
    expect(bad).toMatchObject({ reason: { code: 'INTERNAL' } });
    expect(good.status).toBe('fulfilled');
    expect(resets).toEqual([]);
  });

  it.each([
    ['throws', 101],
    ['ends', 102],
  ])('answers every pending request with ENGINE_FAILED when the worker %s, and serves again', async (_, order) => {
    const { load, resets, restarts } = start();
    const program = await load();
    const pending = await Promise.allSettled([
      program.run(inputsOf(order)),
      program.run(inputsOf()),
      load(specOf('later')),
    ]);
    expect(pending).toMatchObject(Array(3).fill({ status: 'rejected', reason: { code: 'ENGINE_FAILED' } }));
    expect(resets).toEqual(['crash']);
    expect(await restarts()).toEqual([['crash', 1]]);
    await expect(program.run(inputsOf())).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    expect(await firstOutput(await load(), 21)).toBe(42);
  });

  it('replaces a worker that hangs in a run or in a load', async () => {
    const clock = new VirtualClock();
    const { engine, load, resets, restarts } = start(clock);
    const program = await load();
    const hangingRun = program.run(inputsOf(103));
    const behindIt = load();
    await settle();
    clock.advance(59_000);
    expect(resets).toEqual([]);
    clock.advance(2_000);
    for (const lost of [hangingRun, behindIt])
      await expect(lost).rejects.toMatchObject({ code: 'ENGINE_FAILED', retryable: true });
    await engine.whenReady();
    const hangingLoad = load(specOf('hang'));
    await settle();
    clock.advance(61_000);
    await expect(hangingLoad).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    expect(await firstOutput(await load(), 1)).toBe(2);
    expect(resets).toEqual(['hang', 'hang']);
    expect(await restarts()).toEqual([['hang', 2]]);
  });

  it('does not take an idle worker for a hanging one', async () => {
    const clock = new VirtualClock();
    const { load, resets } = start(clock);
    const program = await load();
    for (let hour = 0; hour < 24; hour++) clock.advance(3_600_000);
    expect(await firstOutput(program, 5)).toBe(10);
    expect(resets).toEqual([]);
  });

  it('rejects runs of an unloaded program and keeps the others', async () => {
    const { engine, load } = start();
    const [gone, kept] = await Promise.all([load(), load(specOf('kept'))]);
    engine.unload(gone);
    engine.unload(gone);
    await expect(gone.run(inputsOf())).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    expect(await firstOutput(kept, 7)).toBe(14);
  });

  it('rejects what is pending and what comes later once it is closed', async () => {
    const { engine, load } = start();
    const program = await load();
    const pending = program.run(inputsOf());
    const closing = engine.close();
    await expect(pending).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    await closing;
    await expect(load()).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    await expect(program.run(inputsOf())).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
  });

  // Terminating a thread inside the runtime aborts the process, this test's included.
  it('survives being closed in the middle of a run', async () => {
    const large: Bucket = { batch: 32, agents: 512, tasks: 512 };
    const cells = large.batch * large.agents;
    for (let round = 0; round < 3; round++) {
      const { engine } = start();
      const program = await engine.load({ spec: specOf(), bucket: large, parameters: new Map() });
      const runs = Array.from({ length: 3 }, () =>
        program.run([new Float32Array(cells), new Float32Array(cells * large.tasks)]),
      );
      const outcomes = Promise.allSettled(runs.slice(1));
      await runs[0];
      await engine.close();
      expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    }
  });

  it('rejects loads where its worker cannot start at all', async () => {
    const engine = new OnnxEngine({
      clock: systemClock,
      metrics: createMetrics(new Registry()),
      workerEntry: new URL('no-such-worker.mjs', import.meta.url),
    });
    engines.push(engine);
    await expect(engine.load({ spec: specOf(), bucket, parameters: new Map() })).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
      message: expect.stringContaining('no-such-worker') as string,
    });
  });
});
