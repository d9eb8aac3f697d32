import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import type { Clock } from '../../src/clock.js';
import { CoordinatorError } from '../../src/errors.js';
import type { Engine, LoadedProgram, LossReason, ProgramRequest, RunResult } from '../../src/engine/engine.js';
import { ProgramStore } from '../../src/engine/program-store.js';
import { createMetrics } from '../../src/metrics.js';
import { bucketName, programSignature, specKey, type Bucket, type ProgramSpec } from '../../src/operators/signature.js';

/** An engine whose loads and runs end when the test says so. Each program keeps 100 bytes. */
class ScriptedEngine implements Engine {
  readonly name = 'onnx';
  readonly device = 'cpu';
  readonly concurrency = 1;
  readonly loadConcurrency: number;
  readonly lost = null;
  /** Loads that were asked for, in order, and settle by `finish` or `fail`. */
  readonly loads: {
    readonly name: string;
    readonly finish: () => void;
    readonly fail: (error: CoordinatorError) => void;
  }[] = [];
  readonly unloaded: string[] = [];
  /** The first runs of programs, which are mostly the store's own. */
  readonly firstRuns: string[] = [];
  /** Runs after the first one of each program. */
  readonly runs: { readonly name: string; readonly finish: () => void }[] = [];
  readonly #listeners: ((reason: LossReason) => void)[] = [];

  constructor(loadConcurrency: number) {
    this.loadConcurrency = loadConcurrency;
  }

  load(request: ProgramRequest): Promise<LoadedProgram> {
    return new Promise((resolve, fail) => {
      const name = bucketName(request.bucket);
      this.loads.push({ name, finish: () => resolve(this.#program(request)), fail });
    });
  }

  #program(request: ProgramRequest): LoadedProgram {
    const { spec, bucket } = request;
    const result: RunResult = { outputs: [], device: 'cpu', transferInMs: 0, executeMs: 0, transferOutMs: 0 };
    let runs = 0;
    return {
      engine: 'onnx',
      spec,
      bucket,
      signature: programSignature(spec),
      fingerprint: 'f',
      residentBytes: 100,
      run: () => {
        if (runs++ > 0)
          return new Promise((resolve) => this.runs.push({ name: bucketName(bucket), finish: () => resolve(result) }));
        this.firstRuns.push(bucketName(bucket));
        return Promise.resolve(result);
      },
    };
  }

  unload(program: LoadedProgram): void {
    this.unloaded.push(bucketName(program.bucket));
  }

  onReset(listener: (reason: LossReason) => void): void {
    this.#listeners.push(listener);
  }

  reset(): void {
    for (const listener of this.#listeners) listener('crash');
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

const given: ProgramSpec = {
  parameters: '',
  projection: null,
  utility: { source: 'given' },
  utilityOut: true,
  soft: null,
  consensus: null,
};
const parameters = new Map();

function setUp(memoryLimitBytes = 10_000, loadConcurrency = 1) {
  const engine = new ScriptedEngine(loadConcurrency);
  const metrics = createMetrics(new Registry());
  let nowMs = 0;
  const clock: Clock = { nowMs: () => nowMs, after: () => () => undefined };
  const store = new ProgramStore({ engine, memoryLimitBytes, clock, metrics });
  const ready = (wanted: Bucket, spec = given) => store.ready(spec, specKey(spec), wanted, parameters);
  const prepare = (wanted: Bucket, spec = given) => store.prepare(spec, specKey(spec), wanted, parameters);
  /** Asks for a program and lets its load succeed. */
  const loaded = async (wanted: Bucket, spec = given) => {
    ready(wanted, spec);
    await settle();
    engine.loads.at(-1)!.finish();
    await settle();
  };
  const results = async (): Promise<Record<string, number>> =>
    Object.fromEntries(
      (await metrics.executableCache.get()).values
        .filter(({ value }) => value > 0)
        .map(({ labels, value }) => [String(labels.result), value]),
    );
  return { engine, store, metrics, ready, prepare, loaded, results, advance: (byMs: number) => (nowMs += byMs) };
}

/** Lets every promise that can settle do so. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

const b = (batch: number, agents: number, tasks = agents): Bucket => ({ batch, agents, tasks });
const names = (items: readonly { readonly name: string }[]) => items.map(({ name }) => name);

describe('program store', () => {
  it('loads a missing program once for all who ask and gives it to each', async () => {
    const { engine, ready, prepare, results } = setUp();
    expect(ready(b(1, 16))).toBeNull();
    const waiting = [prepare(b(1, 16)), prepare(b(1, 16))];
    await settle();
    expect(names(engine.loads)).toEqual(['b1 n16 m16']);
    engine.loads[0]!.finish();
    const [first, second] = await Promise.all(waiting);
    expect(first!.bucket).toEqual(b(1, 16));
    expect(second).toBe(first);
    expect(ready(b(1, 16))).toBe(first);
    expect(await results()).toEqual({ miss: 1, hit: 1 });
  });

  it('tries a program on padding before handing it out, but not one that may run for seconds', async () => {
    const { engine, loaded } = setUp();
    const soft = {
      form: 'log',
      iterations: 50,
      bias: false,
      slack: false,
      plan: true,
      topK: 0,
      potentials: false,
    } as const;
    await loaded(b(1, 128), { ...given, soft });
    await loaded(b(1, 5120), { ...given, soft });
    expect(engine.firstRuns).toEqual(['b1 n128 m128']);
  });

  it('serves from the cheapest larger program while the exact one loads in the background', async () => {
    const { engine, ready, loaded, results } = setUp();
    await loaded(b(32, 128));
    await loaded(b(1, 64));
    await loaded(b(1, 16, 128));
    const before = engine.loads.length;
    expect(ready(b(1, 32))!.bucket).toEqual(b(1, 64));
    expect(ready(b(2, 32))!.bucket).toEqual(b(32, 128));
    await settle();
    expect(names(engine.loads.slice(before))).toEqual(['b1 n32 m32']);
    engine.loads.at(-1)!.finish();
    await settle();
    expect(ready(b(1, 32))!.bucket).toEqual(b(1, 32));
    expect((await results()).larger).toBe(4);
  });

  it('never serves a spec from the programs of another one', async () => {
    const { ready, loaded } = setUp();
    await loaded(b(32, 128));
    expect(ready(b(1, 16), { ...given, parameters: 'other' })).toBeNull();
  });

  it('loads the exact program rather than run in one that is out of all proportion', async () => {
    const { ready, loaded } = setUp();
    await loaded(b(1, 5120));
    expect(ready(b(1, 16))).toBeNull();
    expect(ready(b(1, 4000))!.bucket).toEqual(b(1, 5120));
  });

  it('gives a waiting caller the first program that serves, though its own is not loaded yet', async () => {
    const { engine, ready, prepare } = setUp();
    ready(b(32, 128));
    const waiting = prepare(b(1, 16));
    engine.loads[0]!.finish();
    expect((await waiting).bucket).toEqual(b(32, 128));
  });

  it('loads one at a time: waited-for first, then most requested', async () => {
    const { engine, ready, prepare, loaded } = setUp();
    await loaded(b(32, 128));
    ready(b(1, 16));
    ready(b(1, 32));
    ready(b(1, 64));
    ready(b(1, 64));
    const other: ProgramSpec = { ...given, parameters: 'other' };
    const waiting = prepare(b(2, 16), other);
    await settle();
    for (let index = 1; index < 5; index++) {
      expect(engine.loads).toHaveLength(index + 1);
      engine.loads[index]!.finish();
      await settle();
    }
    expect(names(engine.loads).slice(1)).toEqual(['b1 n16 m16', 'b2 n16 m16', 'b1 n64 m64', 'b1 n32 m32']);
    expect((await waiting).spec).toBe(other);
  });

  it('unloads the least recently used programs beyond the memory limit, and loads them again when they are wanted', async () => {
    const { engine, store, ready, loaded, results } = setUp(300);
    await loaded(b(4, 16));
    await loaded(b(4, 32));
    await loaded(b(4, 64));
    ready(b(4, 16));
    await loaded(b(1, 128));
    expect(engine.unloaded).toEqual(['b4 n32 m32']);
    expect(store.residentBytes).toBe(300);
    expect(store.loadedBuckets(specKey(given))).toEqual([b(4, 16), b(4, 64), b(1, 128)]);
    expect(ready(b(4, 16))!.bucket).toEqual(b(4, 16));
    expect(ready(b(4, 32))!.bucket).toEqual(b(4, 64));
    await settle();
    expect(engine.loads.at(-1)!.name).toBe('b4 n32 m32');
    expect((await results()).evicted).toBe(1);
  });

  const warmed = async ({ engine, store }: ReturnType<typeof setUp>, buckets: readonly Bucket[]): Promise<void> => {
    const warming = store.warm(buckets.map((bucket) => ({ spec: given, bucket, parameters })));
    for (let index = 0; index < buckets.length; index++) {
      await settle();
      engine.loads.at(-1)!.finish();
    }
    await warming;
  };

  it('unloads the warm set last, however long ago it was used', async () => {
    const made = setUp(400);
    const { engine, store, loaded } = made;
    await warmed(made, [b(4, 16), b(4, 32)]);
    for (const agents of [64, 128, 256, 512]) await loaded(b(1, agents));
    expect(engine.unloaded).toEqual(['b1 n64 m64', 'b1 n128 m128']);
    expect(store.loadedBuckets(specKey(given))).toEqual(expect.arrayContaining([b(4, 16), b(4, 32)]));
  });

  it('unloads the warm set like all others where it takes more than half of the memory', async () => {
    const made = setUp(300);
    const { engine, loaded } = made;
    await warmed(made, [b(4, 16), b(4, 32)]);
    await loaded(b(1, 64));
    await loaded(b(1, 128));
    expect(engine.unloaded).toEqual(['b4 n16 m16']);
  });

  it('does not unload a program that runs, and does once it ended', async () => {
    const { engine, store, ready, loaded } = setUp(100);
    await loaded(b(1, 16));
    const running = ready(b(1, 16))!.run([]);
    await loaded(b(2, 16));
    await loaded(b(4, 16));
    expect(engine.unloaded).toEqual(['b2 n16 m16']);
    engine.runs[0]!.finish();
    await running;
    expect(engine.unloaded).toEqual(['b2 n16 m16', 'b1 n16 m16']);
    expect(store.residentBytes).toBe(100);
  });

  it('brings a program back that was unloaded between being handed out and being run', async () => {
    const { engine, ready, loaded } = setUp(100);
    await loaded(b(1, 16));
    const program = ready(b(1, 16))!;
    await loaded(b(2, 16));
    expect(engine.unloaded).toEqual(['b1 n16 m16']);
    const running = program.run([]);
    await settle();
    engine.loads.at(-1)!.finish();
    await settle();
    engine.runs[0]!.finish();
    await expect(running).resolves.toMatchObject({ executeMs: 0 });
  });

  it('remembers a refusal for a while and tells it to everyone who asks', async () => {
    const { engine, ready, prepare, advance } = setUp();
    const waiting = prepare(b(1, 16));
    engine.loads[0]!.fail(new CoordinatorError('COMPILE_FAILED', 'no rule'));
    await expect(waiting).rejects.toMatchObject({ code: 'COMPILE_FAILED' });
    expect(ready(b(1, 16))).toBeNull();
    await expect(prepare(b(1, 16))).rejects.toMatchObject({ code: 'COMPILE_FAILED' });
    expect(engine.loads).toHaveLength(1);
    advance(60_000);
    const again = prepare(b(1, 16));
    engine.loads[1]!.finish();
    expect((await again).bucket).toEqual(b(1, 16));
  });

  it('tries again at once after an engine failure', async () => {
    const { engine, prepare } = setUp();
    const waiting = prepare(b(1, 16));
    engine.loads[0]!.fail(new CoordinatorError('ENGINE_FAILED', 'crash'));
    await expect(waiting).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    const again = prepare(b(1, 16));
    await settle();
    engine.loads[1]!.finish();
    expect((await again).bucket).toEqual(b(1, 16));
  });

  it('refuses the callers of one program too many instead of queueing without a bound', async () => {
    const { engine, prepare, ready } = setUp();
    const waiting = Array.from({ length: 66 }, (_, index) => {
      const spec = { ...given, parameters: `p${index}` };
      ready(b(1, 16), spec);
      return prepare(b(1, 16), spec);
    });
    await expect(waiting[65]).rejects.toMatchObject({ code: 'QUEUE_FULL', retryable: true });
    expect(engine.loads).toHaveLength(1);
  });

  it('loads as many programs at a time as the engine says, and what nobody waits for one at a time', async () => {
    const { engine, ready, prepare } = setUp(10_000, 3);
    const waiting = prepare(b(32, 128));
    engine.loads[0]!.finish();
    await waiting;
    for (const size of [16, 32, 64]) expect(ready(b(1, size))!.bucket).toEqual(b(32, 128));
    await settle();
    expect(names(engine.loads)).toEqual(['b32 n128 m128', 'b1 n16 m16']);
    const urgent = [100, 101, 102].map((size) => prepare(b(1, 1024, size)));
    await settle();
    expect(names(engine.loads).slice(2)).toEqual(['b1 n1024 m100', 'b1 n1024 m101']);
    engine.loads[3]!.finish();
    await settle();
    expect(names(engine.loads).slice(4)).toEqual(['b1 n1024 m102']);
    for (const load of engine.loads.slice(1)) load.finish();
    await Promise.all(urgent);
    await settle();
    expect(names(engine.loads).slice(5)).toEqual(['b1 n32 m32']);
  });

  it('starts what a caller begins to wait for beside what nobody waits for', async () => {
    const { engine, store, ready, prepare } = setUp(10_000, 2);
    const waiting = prepare(b(1, 32));
    engine.loads[0]!.finish();
    await waiting;
    ready(b(1, 16, 8));
    ready(b(1, 16, 9));
    await settle();
    expect(names(engine.loads)).toEqual(['b1 n32 m32', 'b1 n16 m8']);
    const warming = store.warm([{ spec: given, bucket: b(1, 16, 9), parameters }]);
    await settle();
    expect(names(engine.loads).slice(2)).toEqual(['b1 n16 m9']);
    engine.loads[2]!.finish();
    expect(await warming).toEqual([]);
  });

  it('warms as many programs at a time as the engine says', async () => {
    const { engine, store } = setUp(10_000, 2);
    const warming = store.warm([b(1, 16), b(1, 32), b(1, 64)].map((bucket) => ({ spec: given, bucket, parameters })));
    expect(names(engine.loads)).toEqual(['b1 n16 m16', 'b1 n32 m32']);
    engine.loads[1]!.finish();
    await settle();
    expect(names(engine.loads).slice(2)).toEqual(['b1 n64 m64']);
    engine.loads[0]!.finish();
    engine.loads[2]!.finish();
    expect(await warming).toEqual([]);
  });

  it('counts the batches of each program, and loads ahead one at a time until half of the memory is taken', async () => {
    const { engine, store, ready, loaded } = setUp(700, 3);
    await loaded(b(1, 16));
    ready(b(1, 16));
    ready(b(1, 16));
    expect(store.used()).toEqual([{ spec: given, bucket: b(1, 16), uses: 2 }]);
    const sizes = [16, 32, 64, 128, 256, 512];
    const ahead = store.loadAhead(sizes.map((size) => ({ spec: given, bucket: b(1, size), parameters })));
    await settle();
    expect(names(engine.loads)).toEqual(['b1 n16 m16', 'b1 n32 m32']);
    engine.loads[1]!.fail(new CoordinatorError('COMPILE_FAILED', 'no rule'));
    for (const next of [2, 3, 4]) {
      await settle();
      engine.loads[next]!.finish();
    }
    await ahead;
    expect(names(engine.loads).slice(2)).toEqual(['b1 n64 m64', 'b1 n128 m128', 'b1 n256 m256']);
    expect(engine.unloaded).toEqual([]);
  });

  it('forgets everything when the engine is reset and loads the warm set again', async () => {
    const { engine, store, ready } = setUp();
    const warming = store.warm([{ spec: given, bucket: b(32, 128), parameters }]);
    engine.loads[0]!.finish();
    expect(await warming).toEqual([]);
    expect(ready(b(1, 16))).not.toBeNull();
    await settle();
    expect(names(engine.loads)).toEqual(['b32 n128 m128', 'b1 n16 m16']);
    engine.reset();
    engine.loads[1]!.fail(new CoordinatorError('ENGINE_FAILED', 'crash'));
    await settle();
    expect(store.residentBytes).toBe(0);
    expect(ready(b(32, 128))).toBeNull();
    expect(names(engine.loads)).toEqual(['b32 n128 m128', 'b1 n16 m16', 'b32 n128 m128']);
    engine.loads[2]!.finish();
    await settle();
    expect(ready(b(32, 128))!.bucket).toEqual(b(32, 128));
  });

  it('warms every program, tries again after a crash, reports progress and names what failed', async () => {
    const { engine, store } = setUp();
    const progress: string[] = [];
    const warming = store.warm(
      [b(1, 16), b(1, 32), b(1, 64)].map((bucket) => ({ spec: given, bucket, parameters })),
      (done, total) => progress.push(`${done}/${total}`),
    );
    engine.loads[0]!.finish();
    await settle();
    engine.loads[1]!.fail(new CoordinatorError('COMPILE_FAILED', 'no rule'));
    await settle();
    engine.loads[2]!.fail(new CoordinatorError('ENGINE_FAILED', 'crash'));
    await settle();
    engine.loads[3]!.finish();
    expect(await warming).toMatchObject([{ bucket: b(1, 32), error: { code: 'COMPILE_FAILED' } }]);
    expect(progress).toEqual(['1/3', '2/3', '3/3']);
  });
});
