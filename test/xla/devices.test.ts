/** The XLA engine on several devices: replicas, the least loaded first, and one that goes wrong alone. */
import pino from 'pino';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { xlaRung } from '../../server/engine-choice.js';
import { systemClock, type Clock } from '../../src/clock.js';
import { loadConfig } from '../../src/config.js';
import type { Engine } from '../../src/engine/engine.js';
import { XlaEngine } from '../../src/engine/xla-engine.js';
import { createMetrics } from '../../src/metrics.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { VirtualClock } from '../virtual-clock.js';
import { everyStage as spec, everyStageBucket as bucket, everyStageWeights as parameters } from './every-stage.js';
import { FaultPlugin } from './fault-plugin.js';
import { randomInputs } from './random-inputs.js';

const request = { spec, bucket, parameters };

const plugin = new FaultPlugin(inject('cpuPlugin'));
const api = plugin.api();
const engines: Engine[] = [];
let before = 0;

beforeEach(() => {
  before = livePjrtObjects();
});

afterEach(async () => {
  plugin.restore();
  plugin.release();
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
  await expect.poll(livePjrtObjects).toBe(before);
  await expect.poll(() => plugin.ledger.live(), { message: 'objects by the plugin’s count' }).toEqual({});
});

async function open(devices: number, clock: Clock = systemClock): Promise<XlaEngine> {
  const engine = await XlaEngine.open({ plugin: api, clock, metrics: createMetrics(new Registry()), devices });
  engines.push(engine);
  return engine;
}

const four = ['cpu:0', 'cpu:1', 'cpu:2', 'cpu:3'];

describe('four devices', () => {
  it('share what is in flight, one run each, and give equal bits', async () => {
    const engine = await open(4);
    expect([engine.device, engine.concurrency]).toEqual(['cpu:0-3', 4]);
    const program = await engine.load(request);
    const results = await Promise.all(four.map(() => program.run(randomInputs(program, 7))));
    expect(results.map(({ device }) => device).sort()).toEqual(four);
    for (const { outputs } of results) expect(outputs).toEqual(results[0]!.outputs);
    const single = await open(1);
    const alone = await (await single.load(request)).run(randomInputs(program, 7));
    expect([single.device, alone.device, single.concurrency]).toEqual(['cpu', 'cpu', 1]);
    expect(alone.outputs).toEqual(results[0]!.outputs);
  });

  it('keep the weights of every program on each, until it is unloaded', async () => {
    const engine = await open(4);
    const empty = livePjrtObjects();
    const program = await engine.load(request);
    const other = await engine.load({ ...request, bucket: { ...bucket, batch: 1 } });
    // An executable is two objects; what was lent for the weights is given back a moment after it was read.
    await expect.poll(() => livePjrtObjects() - empty).toBe(2 * (2 + 4 * parameters.size));
    engine.unload(program);
    engine.unload(other);
    await expect.poll(livePjrtObjects).toBe(empty);
  });

  it('are left out of the rotation one by one when they hang; the engine is lost with the last', async () => {
    const clock = new VirtualClock();
    const engine = await open(4, clock);
    const program = await engine.load(request);
    const expected = await program.run(randomInputs(program, 1));
    const resets: string[] = [];
    engine.onReset((reason) => resets.push(reason));
    for (let left = 3; left >= 0; left--) {
      plugin.arm({ at: 'LoadedExecutable_Execute', how: 'hang' });
      const hung = program.run(randomInputs(program, 1));
      const hangs = expect(hung).rejects.toMatchObject({ code: 'ENGINE_FAILED', message: /gave no answer/ });
      await expect.poll(() => plugin.hanging).toBe(4 - left);
      await clock.advanceAsync(10 * 60_000);
      await hangs;
      expect(engine.concurrency).toBe(Math.max(1, left));
      expect(engine.lost === null).toBe(left > 0);
      expect(resets).toEqual(left > 0 ? [] : ['hang']);
      if (left === 0) break;
      const runs = await Promise.all([1, 2, 3, 4].map(() => program.run(randomInputs(program, 1))));
      expect(new Set(runs.map(({ device }) => device)).size).toBe(left);
      for (const { outputs } of runs) expect(outputs).toEqual(expected.outputs);
    }
    await expect(program.run(randomInputs(program, 1))).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
  });

  it('do not all wait for the one that fails at once: it is given less, and as much as before once it works', async () => {
    const engine = await open(2);
    const program = await engine.load(request);
    plugin.arm({ at: 'LoadedExecutable_Execute', how: 'error' });
    await expect(program.run(randomInputs(program, 1))).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    const next: string[] = [];
    for (let i = 0; i < 3; i++) next.push((await program.run(randomInputs(program, 1))).device);
    expect(next).toEqual(['cpu:1', 'cpu:1', 'cpu:1']);
    const together = await Promise.all([1, 2, 3].map(() => program.run(randomInputs(program, 1))));
    expect(together.map(({ device }) => device)).toContain('cpu:0');
    expect((await program.run(randomInputs(program, 1))).device).toBe('cpu:0');
  });

  it('serve a program from those that took its weights', async () => {
    const engine = await open(2);
    plugin.arm({ at: 'Client_BufferFromHostBuffer', how: 'error', code: 'RESOURCE_EXHAUSTED' });
    const program = await engine.load(request);
    const runs = await Promise.all([1, 2].map(() => program.run(randomInputs(program, 1))));
    expect(runs.map(({ device }) => device)).toEqual(['cpu:1', 'cpu:1']);
  });
});

it('as many devices are used as the server is told to', async () => {
  for (const [flags, device, concurrency] of [
    [[], 'cpu', 1],
    [['--devices', '2'], 'cpu:0-1', 2],
  ] as const) {
    const { config } = loadConfig(['--executable-cache-mb', '0', ...flags], {});
    const context = {
      config,
      clock: systemClock,
      metrics: createMetrics(new Registry()),
      log: pino({ level: 'silent' }),
    };
    const engine = await xlaRung(context, 'xla cpu', inject('cpuPlugin')).open();
    engines.push(engine);
    expect({ device: engine.device, concurrency: engine.concurrency }).toEqual({ device, concurrency });
  }
});
