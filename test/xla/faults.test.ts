/** The XLA engine on a device that fails, hangs, lies and dies on command, at the C API of the plugin. */
import { Registry } from 'prom-client';
import { afterAll, afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.js';
import type { CoordinatorError } from '../../src/errors.js';
import type { LoadedProgram, RunResult } from '../../src/engine/engine.js';
import { XlaEngine } from '../../src/engine/xla-engine.js';
import { createMetrics } from '../../src/metrics.js';
import { shapeIn, type Bucket, type ProgramSpec, type TensorData } from '../../src/operators/signature.js';
import { PjrtClient } from '../../src/pjrt/client.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { seededNormal } from '../seeded-normal.js';
import { settle, VirtualClock } from '../virtual-clock.js';
import { FaultPlugin, type FaultyCall } from './fault-plugin.js';

/** Has weights, results of floats, and compiles in a moment. */
const spec: ProgramSpec = {
  parameters: 'weights',
  projection: { width: 8, kinds: 3 },
  utility: null,
  utilityOut: false,
  soft: null,
  consensus: null,
};
const parameters = new Map([
  ['projection_weight', Float32Array.from({ length: 24 }, seededNormal(1))],
  ['projection_bias', Float32Array.from({ length: 3 }, seededNormal(2))],
] as const);
/** So few operations that XLA's CPU client would run them before `Execute` returns, so the call goes to another thread. */
const small: Bucket = { batch: 1, agents: 16, tasks: 0 };
/** `Execute` is called on the event loop. */
const large: Bucket = { batch: 8, agents: 128, tasks: 0 };

process.env['TF_CPP_MIN_LOG_LEVEL'] = '2';
const plugin = new FaultPlugin(inject('cpuPlugin'));
const api = plugin.api();
const unhandled: unknown[] = [];
process.on('unhandledRejection', (reason) => unhandled.push(reason));
const engines: XlaEngine[] = [];

async function open(clock: Clock = systemClock): Promise<XlaEngine> {
  const metrics = createMetrics(new Registry());
  const engine = await XlaEngine.open({ plugin: api, clock, metrics });
  engines.push(engine);
  return engine;
}

function inputsOf({ signature, bucket }: LoadedProgram, seed: number): TensorData[] {
  const random = seededNormal(seed);
  return signature.inputs.map((input) => {
    const length = shapeIn(input, bucket).reduce((size, axis) => size * axis, 1);
    if (input.name !== 'agents') return new Float32Array(length).fill(1);
    return Float32Array.from({ length }, random);
  });
}

/** Code and message of what a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<{ code: unknown; message: string }> {
  try {
    await promise;
  } catch (thrown) {
    const { code, message } = thrown as { code?: unknown; message: string };
    return { code, message };
  }
  throw new Error('it did not fail');
}

let before = 0;
beforeEach(() => {
  before = livePjrtObjects();
});

afterEach(async () => {
  plugin.restore();
  plugin.release();
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
  await expect.poll(livePjrtObjects, { message: 'objects by the bridge’s count' }).toBe(before);
  await expect.poll(() => plugin.ledger.live(), { message: 'objects by the plugin’s count' }).toEqual({});
  expect(plugin.liveErrors).toBe(0);
  expect(plugin.ledger.violations).toEqual([]);
  expect(unhandled).toEqual([]);
});

afterAll(() => expect(plugin.ledger.total('error')).toBeGreaterThan(0));

test.each([
  ['another major version', { majorVersion: 1 }, /expected PJRT 0\.81 or newer of major version 0, received 1\.81/],
  ['a minor version older than the facts', { minorVersion: 80 }, /received 0\.80/],
  ['a table that ends too early', { structSize: 400 }, /expected a PJRT_Api of at least \d+ bytes, received 400/],
])('a plugin with %s is PLUGIN_INCOMPATIBLE', async (_, claims, message) => {
  const refused = await failure((async () => Promise.resolve(plugin.api(claims)))());
  expect(refused.code).toBe('PLUGIN_INCOMPATIBLE');
  expect(refused.message).toMatch(message);
});

test('a device that cannot be opened is ENGINE_FAILED with the plugin’s words, and can be once it is back', async () => {
  plugin.arm({ at: 'Client_Create', how: 'error', code: 'UNAVAILABLE', message: 'the chip is taken' });
  expect(await failure(open())).toEqual({
    code: 'ENGINE_FAILED',
    message: 'PJRT_Client_Create: UNAVAILABLE: the chip is taken',
  });
  plugin.arm({ at: 'Client_AddressableDevices', how: 'error', code: 'INTERNAL', message: 'no answer' });
  expect(await failure(open())).toMatchObject({ code: 'ENGINE_FAILED' });
  await expect.poll(() => plugin.ledger.live(), { message: 'objects by the plugin’s count' }).toEqual({});
  await expect((await open()).load({ spec, bucket: small, parameters })).resolves.toBeDefined();
});

describe('loading a program fails without touching the others', () => {
  const faults: [FaultyCall, string][] = [
    ['Client_Compile', 'COMPILE_FAILED'],
    ['LoadedExecutable_GetExecutable', 'COMPILE_FAILED'],
    ['LoadedExecutable_AddressableDevices', 'COMPILE_FAILED'],
    ['Client_BufferFromHostBuffer', 'ENGINE_FAILED'], // the weights
  ];
  test.each(faults)('%s', async (at, code) => {
    const engine = await open();
    const other = await engine.load({ spec, bucket: large, parameters });
    const expected = await other.run(inputsOf(other, 1));
    for (const skip of at === 'Client_BufferFromHostBuffer' ? [0, 1] : [0]) {
      const fault = plugin.arm({ at, how: 'error', code: 'RESOURCE_EXHAUSTED', message: 'out of memory', skip });
      const [refused, meanwhile] = await Promise.all([
        failure(engine.load({ spec, bucket: small, parameters })),
        at === 'Client_BufferFromHostBuffer' ? expected : other.run(inputsOf(other, 1)),
      ]);
      expect(refused).toEqual({ code, message: `PJRT_${at}: RESOURCE_EXHAUSTED: out of memory` });
      expect(fault.hits).toBe(1);
      expect(meanwhile.outputs).toEqual(expected.outputs);
    }
    const again = await engine.load({ spec, bucket: small, parameters });
    await expect(again.run(inputsOf(again, 1))).resolves.toBeDefined();
  });
});

describe.each([
  ['an execution started on the event loop', large],
  ['an execution started on another thread', small],
])('%s', (_, bucket) => {
  test.each([
    ['Client_BufferFromHostBuffer', 'error', 'RESOURCE_EXHAUSTED', undefined],
    ['LoadedExecutable_Execute', 'error', 'INTERNAL', undefined],
    ['LoadedExecutable_Execute', 'late-error', 'DATA_LOSS', undefined],
    ['LoadedExecutable_Execute', 'late-error', 'ABORTED', 20],
    ['Buffer_OpaqueDeviceMemoryDataPointer', 'error', 'INTERNAL', undefined],
    ['Event_IsReady', 'error', 'UNKNOWN', undefined],
  ] as const)(
    'that %s lets down (%s, %s) is ENGINE_FAILED; those beside it are answered',
    async (at, how, code, afterMs) => {
      const engine = await open();
      const program = await engine.load({ spec, bucket, parameters });
      const seeds = [1, 2, 3, 4, 5, 6];
      const expected: RunResult[] = [];
      for (const seed of seeds) expected.push(await program.run(inputsOf(program, seed)));
      const fault = plugin.arm({
        at,
        how,
        code,
        message: 'went wrong',
        skip: 2,
        ...(afterMs === undefined ? {} : { afterMs }),
      });
      const results = await Promise.allSettled(seeds.map((seed) => program.run(inputsOf(program, seed))));
      expect(fault.hits).toBe(1);
      expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(1);
      results.forEach((result, index) => {
        if (result.status === 'fulfilled') {
          expect(result.value.outputs, `run ${index}`).toEqual(expected[index]!.outputs);
        } else {
          expect(result.reason).toMatchObject({
            code: 'ENGINE_FAILED',
            message: expect.stringMatching(new RegExp(`^PJRT_\\w+: ${code}: .*went wrong`)) as string,
          });
        }
      });
      const again = await program.run(inputsOf(program, 1));
      expect(again.outputs).toEqual(expected[0]!.outputs);
    },
  );

  test('that hangs is given up after the set time, the device is declared dead once, and what comes late answers nobody', async () => {
    const clock = new VirtualClock();
    const engine = await open(clock);
    const program = await engine.load({ spec, bucket, parameters });
    const reasons: string[] = [];
    engine.onReset((reason) => reasons.push(reason));
    plugin.arm({ at: 'LoadedExecutable_Execute', how: 'hang', times: 2 });
    const settled: string[] = [];
    const runs = [1, 2].map((seed) =>
      program.run(inputsOf(program, seed)).then(
        () => settled.push('answered'),
        (thrown: unknown) => settled.push((thrown as CoordinatorError).code),
      ),
    );
    await expect.poll(() => plugin.hanging).toBe(2);
    await clock.advanceAsync(29_000);
    expect([settled, reasons]).toEqual([[], []]);
    await clock.advanceAsync(60_000);
    await Promise.all(runs);
    expect(settled).toEqual(['ENGINE_FAILED', 'ENGINE_FAILED']);
    expect(reasons).toEqual(['hang']);
    expect(engine.lost).toMatch(/^device cpu gave no answer for \d+ ms$/);
    expect(await failure(program.run(inputsOf(program, 3)))).toEqual({ code: 'ENGINE_FAILED', message: engine.lost });
    expect(await failure(engine.load({ spec, bucket, parameters }))).toMatchObject({ code: 'ENGINE_FAILED' });
    await engine.close(); // without waiting for what hangs
    expect(plugin.hanging).toBe(2);
    plugin.release();
    await expect.poll(livePjrtObjects).toBe(before);
    await settle();
    expect(settled).toHaveLength(2);
    expect(clock.pendingTimers).toBe(0);
  });

  test('that is under way when the engine closes is answered first', async () => {
    const engine = await open();
    const program = await engine.load({ spec, bucket, parameters });
    plugin.arm({ at: 'LoadedExecutable_Execute', how: 'hang' });
    const run = program.run(inputsOf(program, 1));
    await expect.poll(() => plugin.hanging).toBe(1);
    const closed = engine.close();
    engine.unload(program);
    plugin.release();
    await expect(run).resolves.toBeDefined();
    await closed;
    await expect.poll(livePjrtObjects).toBe(before);
  });
});

test('results too large to be read on the event loop that fail to be read are ENGINE_FAILED', async () => {
  const engine = await open();
  const bucket = { batch: 32, agents: 1024, tasks: 0 };
  const program = await engine.load({ spec, bucket, parameters });
  for (const how of ['error', 'late-error'] as const) {
    plugin.arm({ at: 'Buffer_ToHostBuffer', how, code: 'INTERNAL', message: 'bus error' });
    const failed = await failure(program.run(inputsOf(program, 1)));
    expect(failed.code).toBe('ENGINE_FAILED');
    expect(failed.message).toContain('bus error');
  }
  await expect(program.run(inputsOf(program, 1))).resolves.toBeDefined();
});

test('a device that fails now and then is not lost, one that fails three times in a row is, and all on it is freed', async () => {
  const engine = await open();
  const program = await engine.load({ spec, bucket: large, parameters });
  const reasons: string[] = [];
  engine.onReset((reason) => reasons.push(reason));
  const fail = async (code: 'INTERNAL' | 'RESOURCE_EXHAUSTED') => {
    plugin.arm({ at: 'LoadedExecutable_Execute', how: 'error', code });
    await failure(program.run(inputsOf(program, 1)));
  };
  for (let round = 0; round < 3; round++) {
    await fail('INTERNAL');
    await fail('INTERNAL');
    await program.run(inputsOf(program, 1));
  }
  for (let round = 0; round < 4; round++) await fail('RESOURCE_EXHAUSTED'); // asked too much of it
  await program.run(inputsOf(program, 1));
  expect([engine.lost, reasons]).toEqual([null, []]);
  for (let round = 0; round < 3; round++) await fail('INTERNAL');
  expect(reasons).toEqual(['device_lost']);
  expect(engine.lost).toBe('device cpu keeps failing: PJRT_LoadedExecutable_Execute: INTERNAL: injected');
  await engine.close();
  await expect.poll(() => plugin.ledger.live(), { message: 'objects by the plugin’s count' }).toEqual({});
});

test('closing an engine whose device keeps failing waits for what hangs no longer than until it counts as hung', async () => {
  const clock = new VirtualClock();
  const engine = await open(clock);
  const program = await engine.load({ spec, bucket: large, parameters });
  plugin.arm({ at: 'LoadedExecutable_Execute', how: 'hang' });
  const hanging = failure(program.run(inputsOf(program, 1)));
  await expect.poll(() => plugin.hanging).toBe(1);
  plugin.arm({ at: 'LoadedExecutable_Execute', how: 'error', times: 3 });
  for (let run = 0; run < 3; run++) await failure(program.run(inputsOf(program, 2)));
  expect(engine.lost).toMatch(/^device cpu keeps failing/);
  let closed = false;
  const closing = engine.close().then(() => (closed = true));
  await clock.advanceAsync(29_000);
  expect(closed).toBe(false);
  await clock.advanceAsync(60_000);
  await closing;
  expect(await hanging).toMatchObject({ code: 'ENGINE_FAILED' });
});

test('a device that is lost fails everything until it is back, and the engine goes on with what it had loaded', async () => {
  const engine = await open();
  const program = await engine.load({ spec, bucket: large, parameters });
  const expected = await program.run(inputsOf(program, 1));
  plugin.lose('UNAVAILABLE', 'the link is down');
  const failures = await Promise.all([
    ...[1, 2].map((seed) => failure(program.run(inputsOf(program, seed)))),
    failure(open()),
  ]);
  for (const { code, message } of failures) {
    expect(code).toBe('ENGINE_FAILED');
    expect(message).toContain('UNAVAILABLE: the link is down');
  }
  expect(await failure(engine.load({ spec, bucket: small, parameters }))).toMatchObject({ code: 'COMPILE_FAILED' });
  plugin.restore();
  expect((await program.run(inputsOf(program, 1))).outputs).toEqual(expected.outputs);
});

test('a run does not wait for a device that keeps host memory', async () => {
  const engine = await open();
  const program = await engine.load({ spec, bucket: large, parameters });
  const held = plugin.arm({ at: 'Client_BufferFromHostBuffer', how: 'hang', times: 1 });
  await expect(program.run(inputsOf(program, 1))).resolves.toBeDefined();
  expect(held.hits).toBe(1);
});

test('host memory that a device keeps is the caller’s again when it returns it', async () => {
  using client = await PjrtClient.create(api);
  const held = plugin.arm({ at: 'Client_BufferFromHostBuffer', how: 'hang', times: 1 });
  const buffer = client.bufferFromHost(new Float32Array(4), [4]);
  expect(held.hits).toBe(1);
  expect(buffer.returning).toBeNull();
  buffer.dispose();
  let isReturned = false;
  const returned = buffer.returning!.then(() => (isReturned = true));
  await expect.poll(() => plugin.hanging).toBe(1);
  expect(isReturned).toBe(false);
  plugin.release();
  await returned;
});

test('faults at random leave nothing behind and wrong nobody', { timeout: 60_000 }, async () => {
  const seed = (Math.random() * 2 ** 31) | 0;
  const random = seededNormal(seed);
  const engine = await open();
  const program = await engine.load({ spec, bucket: large, parameters });
  const expected = await Promise.all([0, 1, 2, 3].map((index) => program.run(inputsOf(program, index))));
  const end = plugin.script((at) => {
    if (random() < 2.6) return null; // one call in two hundred goes wrong, and so one run in six or so
    const how = at === 'LoadedExecutable_Execute' && random() > 0 ? 'late-error' : 'error';
    return { how, code: 'INTERNAL', message: 'at random', ...(random() > 0 ? { afterMs: 1 } : {}) };
  });
  let answered = 0;
  let failed = 0;
  for (let round = 0; round < 50; round++) {
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, (_, index) => program.run(inputsOf(program, index % 4))),
    );
    results.forEach((result, index) => {
      if (result.status === 'fulfilled') {
        answered++;
        expect(result.value.outputs, `seed ${seed}, round ${round}`).toEqual(expected[index % 4]!.outputs);
      } else {
        failed++;
        expect(result.reason, `seed ${seed}`).toMatchObject({ code: 'ENGINE_FAILED' });
      }
    });
  }
  end();
  expect(answered + failed).toBe(400);
  expect(Math.min(answered, failed), `seed ${seed}: ${answered} answered, ${failed} failed`).toBeGreaterThan(0);
});
