/** The ladder over fake engines with real program stores and a real batcher, under a virtual clock. */
import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import { Batcher } from '../../src/batching/batcher.js';
import type { JobResult } from '../../src/batching/job.js';
import { Ladder } from '../../src/engine/ladder.js';
import { ProgramStore } from '../../src/engine/program-store.js';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import { FakeEngine } from '../fake-engine.js';
import { givenJob, givenSpec } from '../fake-programs.js';
import { VirtualClock } from '../virtual-clock.js';

const lost = new CoordinatorError('ENGINE_FAILED', 'lost');
const warmSet = [16, 32].map((size) => ({
  spec: givenSpec(),
  bucket: { batch: 1, agents: size, tasks: size },
  parameters: new Map(),
}));
const ladders: Ladder[] = [];

afterEach(async () => {
  await Promise.all(ladders.splice(0).map((ladder) => ladder.close()));
});

/** Rungs `best`, `middle`, … by what their engines are; a null does not open. A rung that is opened again gives the next engine of its list. */
function setUp(engines: Readonly<Record<string, readonly (FakeEngine | null)[]>>) {
  const clock = new VirtualClock(1_000);
  const registry = new Registry();
  const metrics = createMetrics(registry);
  const lines: { message: string; [field: string]: unknown }[] = [];
  const opened: string[] = [];
  const ladder = new Ladder({
    rungs: Object.entries(engines).map(([name, list]) => ({
      name,
      open() {
        const engine = list[opened.filter((other) => other === name).length] ?? null;
        opened.push(name);
        return engine === null ? Promise.reject(new Error(`no ${name} here`)) : Promise.resolve(engine);
      },
    })),
    createStore: (engine) => new ProgramStore({ engine, memoryLimitBytes: 1e9, clock, metrics }),
    clock,
    metrics,
    log: (message, fields) => lines.push({ message, ...fields }),
  });
  ladders.push(ladder);
  const batcher = new Batcher({
    store: ladder,
    clock,
    metrics,
    limits: { maxBatch: 32, maxQueueDelayMs: 2, maxQueue: 256, maxPaddingWaste: 0.4 },
  });
  const { signal } = new AbortController();
  const call = (size = 16, forbidFallback = false, spec = givenSpec()): Promise<JobResult | string> =>
    batcher
      .submit({
        jobs: [givenJob(size, size, 1, spec)],
        priority: 'NORMAL',
        forbidFallback,
        deadlineMs: Infinity,
        signal,
      })
      .then(
        (results) => results[0]!,
        (error: unknown) => (error as CoordinatorError).code,
      );
  /** Device that answered, or the code of the error. */
  const deviceOf = async (answer: Promise<JobResult | string>): Promise<string> => {
    await clock.advanceAsync(5);
    const settled = await answer;
    return typeof settled === 'string' ? settled : settled.device;
  };
  const failovers = async (): Promise<string[]> =>
    (await metrics.engineFailover.get()).values.map(
      ({ labels: { from, to, reason }, value }) => `${from} > ${to} ${reason} ${value}`,
    );
  const active = async (): Promise<string[]> =>
    (await metrics.engineActive.get()).values.map(({ labels, value }) => `${labels.device} ${value}`).sort();
  const start = async (): Promise<void> => {
    await ladder.start();
    const warm = ladder.warm(warmSet);
    warm.catch(() => undefined);
    await clock.advanceAsync(0);
    await warm;
    ladder.standBy();
    await clock.advanceAsync(0);
  };
  return { clock, ladder, batcher, lines, opened, call, deviceOf, failovers, active, start };
}

const two = () => {
  const best = new FakeEngine('xla', 'tpu');
  const other = new FakeEngine('onnx', 'cpu');
  return { best, other, ...setUp({ best: [best], other: [other] }) };
};

describe('the ladder at start', () => {
  it('takes the best engine that opens and says why the others are not used', async () => {
    const { start, ladder, lines, failovers } = setUp({
      absent: [null],
      present: [new FakeEngine('xla', 'gpu')],
      last: [new FakeEngine('onnx', 'cpu')],
    });
    await start();
    expect([ladder.name, ladder.device]).toEqual(['xla', 'gpu']);
    expect(lines).toEqual([{ message: 'an engine is not used', engine: 'absent', reason: 'no absent here' }]);
    expect(await failovers()).toEqual(['absent > present open_failed 1']);
    expect(ladder.fallingBack).toBe(false);
  });

  it('rejects with the first reason where none opens', async () => {
    const { ladder } = setUp({ a: [null], b: [null] });
    await expect(ladder.start()).rejects.toThrow('no a here');
  });

  it('warms the next engine in the background, and shows one as active', async () => {
    const { start, best, other, active } = two();
    await start();
    expect([best.loads, other.loads]).toEqual([
      ['b1 n16 m16', 'b1 n32 m32'],
      ['b1 n16 m16', 'b1 n32 m32'],
    ]);
    expect(await active()).toEqual(['cpu 0', 'tpu 1']);
  });

  it('serves on the next one where an engine cannot run its warm set, which is then the preferred one', async () => {
    const { start, best, call, deviceOf, failovers } = two();
    best.failure = lost;
    await start();
    expect(await deviceOf(call(16, true))).toBe('cpu');
    expect(await failovers()).toEqual(['best > other execution_failed 1']);
  });

  it('rejects where the only engine refuses a program of the warm set', async () => {
    const only = new FakeEngine('onnx', 'cpu');
    const { start } = setUp({ only: [only] });
    only.refuses = ({ agents }) => agents === 32;
    await expect(start()).rejects.toMatchObject({ code: 'COMPILE_FAILED' });
  });
});

describe('a failing engine', () => {
  it('has each batch run elsewhere, is left after three, and comes back when a probe finds it well', async () => {
    const { start, best, clock, call, deviceOf, failovers, active, lines } = two();
    await start();
    expect(await deviceOf(call())).toBe('tpu');
    best.failure = lost;
    for (let i = 0; i < 3; i++) expect(await deviceOf(call())).toBe('cpu');
    expect(await active()).toEqual(['cpu 1', 'tpu 0']);
    const runs = best.runs;
    expect(await deviceOf(call())).toBe('cpu');
    expect(best.runs).toBe(runs);
    best.failure = null;
    await clock.advanceAsync(1_000);
    expect(await deviceOf(call())).toBe('tpu');
    expect(await active()).toEqual(['cpu 0', 'tpu 1']);
    expect(await failovers()).toEqual(['best > other execution_failed 1', 'other > best recovered 1']);
    expect(lines.map(({ message, reason }) => [message, reason])).toEqual([
      ['the engine changes', 'execution_failed'],
      ['the engine changes', 'recovered'],
    ]);
  });

  it('is probed again after twice as long while it gives NaN', async () => {
    const { start, best, clock, call, deviceOf, failovers } = two();
    await start();
    best.givesNaN = true;
    for (let i = 0; i < 3; i++) expect(await deviceOf(call())).toBe('cpu');
    await clock.advanceAsync(1_500);
    best.givesNaN = false;
    expect(await deviceOf(call())).toBe('cpu');
    await clock.advanceAsync(2_000);
    expect(await deviceOf(call())).toBe('tpu');
    expect(await failovers()).toEqual(['best > other not_finite 1', 'other > best recovered 1']);
  });

  it('that is lost for good is opened anew, warmed, and only then given work', async () => {
    const [first, second] = [new FakeEngine('xla', 'tpu'), new FakeEngine('xla', 'tpu')];
    const other = new FakeEngine('onnx', 'cpu');
    const { start, clock, call, deviceOf, opened, failovers } = setUp({ best: [first, null, second], other: [other] });
    await start();
    first.lose('hang', 'no answer');
    expect(await deviceOf(call())).toBe('cpu');
    // The first probe finds no device.
    await clock.advanceAsync(1_000);
    expect(await deviceOf(call())).toBe('cpu');
    await clock.advanceAsync(2_000);
    expect(await deviceOf(call())).toBe('tpu');
    expect(opened).toEqual(['best', 'other', 'best', 'best']);
    expect(first.closed).toBe(true);
    expect(second.loads).toEqual(['b1 n16 m16', 'b1 n32 m32']);
    expect(await failovers()).toEqual(['best > other hang 1', 'other > best recovered 1']);
  });

  it('comes back though it refuses the last program of the warm set, which another engine serves', async () => {
    const { best, other, start, clock, call, deviceOf } = two();
    best.refuses = ({ agents }) => agents === 32;
    await start();
    expect(await deviceOf(call(16))).toBe('tpu');
    best.lose('crash');
    expect(await deviceOf(call(16))).toBe('cpu');
    await clock.advanceAsync(1_000);
    expect(await deviceOf(call(16))).toBe('tpu');
    expect(other.runs).toBeGreaterThan(0);
  });

  it('alone comes back though it refuses a program that its warm set has held since', async () => {
    const [first, second] = [new FakeEngine('xla', 'tpu'), new FakeEngine('xla', 'tpu')];
    const { start, ladder, clock, call, deviceOf } = setUp({ only: [first, second] });
    await start();
    const refused = { spec: givenSpec(77), bucket: { batch: 1, agents: 64, tasks: 64 }, parameters: new Map() };
    for (const engine of [first, second]) engine.refuses = ({ agents }) => agents === 64;
    await ladder.warm([...warmSet, refused]);
    first.lose('hang', 'no answer');
    await clock.advanceAsync(1_000);
    expect(await deviceOf(call(16))).toBe('tpu');
    expect(second.runs).toBeGreaterThan(0);
  });

  it('alone is asked again at every call, and opened anew where it is lost for good', async () => {
    const [first, second] = [new FakeEngine('xla', 'tpu'), new FakeEngine('xla', 'tpu')];
    const { start, clock, call, deviceOf, active } = setUp({ only: [first, second] });
    await start();
    first.failure = lost;
    for (let i = 0; i < 4; i++) expect(await deviceOf(call())).toBe('ENGINE_FAILED');
    first.failure = null;
    expect(await deviceOf(call())).toBe('tpu');
    first.lose('hang', 'no answer');
    expect(await active()).toEqual(['tpu 0']);
    expect(await deviceOf(call())).toBe('ENGINE_FAILED');
    await clock.advanceAsync(1_000);
    expect(await deviceOf(call())).toBe('tpu');
    expect(await active()).toEqual(['tpu 1']);
  });

  it('keeps the work where no other engine opens', async () => {
    const best = new FakeEngine('xla', 'tpu');
    const { start, call, deviceOf, ladder } = setUp({ best: [best], other: [null] });
    await start();
    best.failure = lost;
    for (let i = 0; i < 4; i++) expect(await deviceOf(call())).toBe('ENGINE_FAILED');
    best.failure = null;
    expect(await deviceOf(call())).toBe('tpu');
    expect(ladder.device).toBe('tpu');
  });
});

describe('a program that the preferred engine refuses', () => {
  it('runs on the next one, all others stay, and the change is told once', async () => {
    const { start, best, call, deviceOf, failovers, lines } = two();
    best.refuses = ({ agents }) => agents === 64;
    await start();
    expect(await deviceOf(call(64))).toBe('cpu');
    expect(await deviceOf(call(64))).toBe('cpu');
    expect(await deviceOf(call(16))).toBe('tpu');
    expect(await failovers()).toEqual(['best > other compile_failed 1']);
    expect(lines).toHaveLength(1);
    expect(await deviceOf(call(64, true))).toBe('FALLBACK_FORBIDDEN');
  });

  it('of the warm set is loaded on the next one before the server serves', async () => {
    const { start, best, other, call, deviceOf } = two();
    best.refuses = ({ agents }) => agents === 16;
    await start();
    expect(other.loads).toContain('b1 n16 m16');
    expect(await deviceOf(call(32, true))).toBe('tpu');
  });

  it('fails with the reason where there is no other engine', async () => {
    const only = new FakeEngine('onnx', 'cpu');
    const { start, call, deviceOf } = setUp({ only: [only] });
    only.refuses = ({ agents }) => agents === 64;
    await start();
    expect(await deviceOf(call(64))).toBe('COMPILE_FAILED');
  });
});

describe('forbidding a fallback', () => {
  it('is refused while the preferred engine is down, at once, and answered before and after', async () => {
    const { start, best, clock, ladder, call, deviceOf } = two();
    await start();
    expect(await deviceOf(call(16, true))).toBe('tpu');
    best.failure = lost;
    expect(await deviceOf(call(16, true))).toBe('FALLBACK_FORBIDDEN');
    for (let i = 0; i < 2; i++) await deviceOf(call());
    expect(ladder.fallingBack).toBe(true);
    expect(await deviceOf(call(16, true))).toBe('FALLBACK_FORBIDDEN');
    best.failure = null;
    await clock.advanceAsync(1_000);
    expect(await deviceOf(call(16, true))).toBe('tpu');
  });
});
