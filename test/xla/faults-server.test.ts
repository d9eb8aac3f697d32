/** A server whose XLA device fails, hangs, lies and dies under concurrent calls over gRPC, with ONNX Runtime below it on the ladder. */
import type { ServiceError } from '@grpc/grpc-js';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, inject, test, vi } from 'vitest';
import { createCore } from '../../server/core.js';
import { onnxRung } from '../../server/engine-choice.js';
import { startServer, type CoreContext, type RunningServer } from '../../server/start.js';
import { loadConfig } from '../../src/config.js';
import { ExecutableCache } from '../../src/engine/executable-cache.js';
import type { RungOptions } from '../../src/engine/rung.js';
import { XlaEngine } from '../../src/engine/xla-engine.js';
import type * as warmup from '../../src/engine/warmup.js';
import { errorRegistry } from '../../src/errors.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { seededNormal, seededUniform } from '../seeded-normal.js';
import { errorDetailsOf } from '../service/error-details-of.js';
import { floatsOf, floatTensor, rawClient, type RawClient, type RawMessage } from '../service/raw-client.js';
import { streamClient } from '../service/stream-client.js';
import { FaultPlugin, type Fault, type FaultRule } from './fault-plugin.js';

// Two programs are enough to be warm: the default ones of 16 agents, alone and in a batch.
vi.mock('../../src/engine/warmup.js', async (importOriginal) => {
  const original = await importOriginal<typeof warmup>();
  return {
    ...original,
    warmRequests: ((policies, planner) =>
      original
        .warmRequests(
          policies.filter(({ name }) => name === 'distance'),
          planner,
        )
        .filter(({ bucket }) => bucket.agents === 16)) satisfies typeof original.warmRequests,
  };
});

process.env['TF_CPP_MIN_LOG_LEVEL'] = '2';
const plugin = new FaultPlugin(inject('cpuPlugin'));
const api = plugin.api();
/** Short, where something hangs. Elsewhere long: the plugin's functions that lead to JavaScript compile on the event loop, and runs wait meanwhile. */
const shortHangTimeoutMs = 3_000;
const unhandled: unknown[] = [];
process.on('unhandledRejection', (reason) => unhandled.push(reason));

const { config } = loadConfig(
  // The event loop compiles for a while what leads from the plugin to JavaScript.
  [
    '--grpc-address=127.0.0.1:0',
    '--admin-address=127.0.0.1:0',
    '--log-level=silent',
    // Nothing is loaded behind the calls, tried, and so meets a fault that is meant for them: every batch size is warm, and there is no folder that
    // tells which programs servers before this one used.
    '--max-batch=2',
    '--executable-cache-mb=0',
    '--stream-tick-timeout-ms=100000',
  ],
  {},
);

/** Of this file's servers, so that each program is compiled once. */
const cacheDirectory = mkdtempSync(join(tmpdir(), 'tc-faults-'));

function xlaRung({ clock, metrics }: CoreContext, hangTimeoutMs = 60_000): RungOptions {
  const cache = new ExecutableCache({ directory: cacheDirectory, limitBytes: 2 ** 30, metrics });
  return {
    name: 'xla faulty',
    open: () => XlaEngine.open({ plugin: api, clock, metrics, hangTimeoutMs, cache, host: 'here' }),
  };
}
const below = (context: CoreContext) => onnxRung(context, 'onnx cpu', ['cpu']);

interface Running {
  readonly server: RunningServer;
  readonly client: RawClient;
}
let running: Running | null = null;

async function start(rungsFor: (context: CoreContext) => RungOptions[]): Promise<Running> {
  const server = await startServer(config, { createCore: (context) => createCore(context, rungsFor(context)) });
  await server.ready;
  return (running = { server, client: rawClient(server.grpcAddress) });
}

async function stop(): Promise<void> {
  const stopping = running;
  running = null;
  stopping?.client.close();
  await stopping?.server.close();
}

const onLadder = (hangTimeoutMs?: number) => start((context) => [xlaRung(context, hangTimeoutMs), below(context)]);

/** Problem `index`: 12 agents, 12 tasks, in the plane. */
function problem(index: number, agents = 12): RawMessage {
  const random = seededNormal(1000 + index);
  const rows = () => Array.from({ length: agents }, () => [random(), random()]);
  return { requestId: `${index}`, agents: floatTensor(rows()), tasks: floatTensor(rows()) };
}

const problems = Array.from({ length: 8 }, (_, index) => problem(index));
/** By problem, as ONNX Runtime answers it alone. */
const expected: { tasks: number[]; weights: number[] }[] = [];

function readAnswer(answer: RawMessage): { tasks: number[]; weights: number[]; engine: string } {
  const { taskOfAgent } = answer['assignment'] as { taskOfAgent: number[] };
  const weights = floatsOf((answer['consensus'] as RawMessage)['weights'])!.values;
  return { tasks: taskOfAgent, weights, engine: (answer['execution'] as { engine: string }).engine };
}

/** Throws where the answer is not the right one. Gives the engine that it came from. */
function check(answer: RawMessage, index: number, note = ''): string {
  const { tasks, weights, engine } = readAnswer(answer);
  expect(answer['requestId'], note).toBe(`${index}`);
  expect(tasks, note).toEqual(expected[index]!.tasks);
  const worst = Math.max(...weights.map((weight, i) => Math.abs(weight - expected[index]!.weights[i]!)));
  expect(worst, note).toBeLessThan(1e-3);
  return engine;
}

/** One call of every problem at once; the engines that answered. */
async function callAll(client: RawClient, note = ''): Promise<string[]> {
  const answers = await Promise.all(problems.map((request) => client.coordinate(request)));
  return answers.map((answer, index) => check(answer, index, note));
}

/** Steps of the ladder that the server has counted, as `from > to: reason`. */
async function steps({ server }: Running): Promise<string[]> {
  const metric = server.registry.getSingleMetric('coordinate_engine_failover_total')!;
  return (await metric.get()).values.map(({ labels }) => `${labels['from']} > ${labels['to']}: ${labels['reason']}`);
}

async function reasonOf(call: Promise<unknown>): Promise<string | null> {
  try {
    await call;
  } catch (error) {
    return errorDetailsOf(error as ServiceError).reason;
  }
  throw new Error('it did not fail');
}

/** Calls until XLA answers again. */
function backOnXla(client: RawClient): Promise<unknown> {
  return expect
    .poll(async () => check(await client.coordinate(problems[0]!), 0), { timeout: 60_000, interval: 100 })
    .toBe('xla');
}

const allOf = (engine: string) => problems.map(() => engine);

beforeAll(async () => {
  const { client } = await start((context) => [below(context)]);
  for (const request of problems) {
    const { tasks, weights } = readAnswer(await client.coordinate(request));
    expected.push({ tasks, weights });
  }
  await stop();
}, 60_000);

afterEach(async () => {
  plugin.restore();
  plugin.release();
  await stop();
  await expect.poll(livePjrtObjects, { message: 'objects by the bridge’s count' }).toBe(0);
  await expect.poll(() => plugin.ledger.live(), { message: 'objects by the plugin’s count' }).toEqual({});
  expect(plugin.liveErrors).toBe(0);
  expect(plugin.ledger.violations).toEqual([]);
  expect(unhandled).toEqual([]);
});

afterAll(() => rmSync(cacheDirectory, { recursive: true, force: true }));

test('a batch that XLA fails in whatever way is answered by ONNX Runtime, and the next by XLA', async () => {
  const { client } = await onLadder();
  const faults: FaultRule[] = [
    { at: 'LoadedExecutable_Execute', how: 'error', code: 'INTERNAL' },
    { at: 'LoadedExecutable_Execute', how: 'late-error', code: 'DATA_LOSS', afterMs: 5 },
    { at: 'LoadedExecutable_Execute', how: 'nan' },
    { at: 'Client_BufferFromHostBuffer', how: 'error', code: 'RESOURCE_EXHAUSTED' },
    { at: 'Buffer_OpaqueDeviceMemoryDataPointer', how: 'error' },
  ];
  for (const fault of faults) {
    const note = `${fault.how} at ${fault.at}`;
    expect(await callAll(client, note), note).toEqual(allOf('xla'));
    const armed = plugin.arm(fault);
    expect(await callAll(client, note), note).toContain('onnx');
    expect(armed.hits, note).toBe(1);
  }
  expect(await callAll(client)).toEqual(allOf('xla'));
});

test('a stream goes on while XLA fails under it, and every tick is answered in order', async () => {
  const { server } = await onLadder();
  const client = streamClient(server.grpcAddress);
  const stream = client.open();
  const sent: number[] = [];
  for (let round = 0; round < 6; round++) {
    if (round % 2 === 1) plugin.arm({ at: 'LoadedExecutable_Execute', how: 'error', code: 'INTERNAL' });
    for (const index of [0, 1, 2]) {
      sent.push(index);
      stream.send(problems[index]!);
    }
    await stream.received(sent.length);
  }
  stream.call.end();
  expect((await stream.status).code).toBe(0);
  client.close();
  expect(stream.answers.map(({ error }) => error)).toEqual(sent.map(() => null));
  const engines = stream.answers.map((answer, i) => check(answer, sent[i]!, `tick ${i}`));
  expect(engines).toHaveLength(18);
  expect(engines.filter((engine) => engine === 'onnx')).toHaveLength(3);
});

test('a program that XLA does not compile runs on ONNX Runtime, the others on XLA', async () => {
  const { client } = await onLadder();
  plugin.arm({ at: 'Client_Compile', how: 'error', code: 'UNIMPLEMENTED', message: 'no such instruction' });
  const larger = { ...problem(20, 40), assignment: { topK: 3, forms: ['TOP_K'] } };
  const answer = await client.coordinate(larger);
  expect((answer['execution'] as { engine: string }).engine).toBe('onnx');
  expect(await callAll(client)).toEqual(allOf('xla'));
});

test('executions that keep failing move all work to ONNX Runtime until a probe succeeds; forbid_fallback is refused meanwhile', async () => {
  const ladder = await onLadder();
  const { client } = ladder;
  plugin.arm({ at: 'LoadedExecutable_Execute', how: 'error', times: Infinity });
  for (let round = 0; round < 4; round++) expect(await callAll(client)).toEqual(allOf('onnx'));
  expect(await steps(ladder)).toEqual(['xla faulty > onnx cpu: device_lost']);
  const strict = { ...problems[0], forbidFallback: true };
  expect(await reasonOf(client.coordinate(strict))).toBe('FALLBACK_FORBIDDEN');
  plugin.restore();
  await backOnXla(client);
  expect(await steps(ladder)).toContain('onnx cpu > xla faulty: recovered');
  expect(check(await client.coordinate(strict), 0)).toBe('xla');
});

test('calls on a device that hangs are answered by ONNX Runtime, and XLA comes back on the device opened anew', async () => {
  const ladder = await onLadder(shortHangTimeoutMs);
  const { client } = ladder;
  plugin.arm({ at: 'LoadedExecutable_Execute', how: 'hang' });
  expect(await callAll(client)).toContain('onnx');
  expect(plugin.hanging).toBe(1);
  expect(await steps(ladder)).toContain('xla faulty > onnx cpu: hang');
  await backOnXla(client);
  plugin.release(); // what comes late answers nobody
  expect(await callAll(client)).toEqual(allOf('xla'));
  await expect.poll(() => plugin.ledger.live().client).toBe(1);
});

test('a device that is lost and cannot be opened for a while costs no call', async () => {
  const ladder = await onLadder();
  const { client } = ladder;
  plugin.lose('UNAVAILABLE', 'the link is down', true); // this client never works again
  for (let round = 0; round < 3; round++) expect(await callAll(client)).toEqual(allOf('onnx'));
  await new Promise((resolve) => setTimeout(resolve, 1_500)); // the first probe fails
  expect(await callAll(client)).toEqual(allOf('onnx'));
  plugin.restore();
  await backOnXla(client);
});

test('executions that want more memory than there is move all work to ONNX Runtime without giving the device up', async () => {
  const ladder = await onLadder();
  const { client } = ladder;
  const clients = plugin.ledger.total('client');
  plugin.arm({ at: 'LoadedExecutable_Execute', how: 'error', code: 'RESOURCE_EXHAUSTED', times: Infinity });
  for (let round = 0; round < 4; round++) expect(await callAll(client)).toEqual(allOf('onnx'));
  expect(await steps(ladder)).toEqual(['xla faulty > onnx cpu: execution_failed']);
  plugin.restore();
  await backOnXla(client);
  expect(plugin.ledger.total('client')).toBe(clients);
});

test('without an engine below, failures are told as such, and it serves again when the device does', async () => {
  const { client } = await start((context) => [xlaRung(context)]);
  plugin.lose('UNAVAILABLE', 'the link is down', true);
  for (const request of problems) expect(await reasonOf(client.coordinate(request))).toBe('ENGINE_FAILED');
  plugin.restore();
  await backOnXla(client);
  expect(await callAll(client)).toEqual(allOf('xla'));
});

test('an engine that does not open is left out', async () => {
  plugin.arm({ at: 'Client_Create', how: 'error', code: 'UNAVAILABLE', message: 'the chip is taken' });
  const { client } = await onLadder();
  expect(await callAll(client)).toEqual(allOf('onnx'));
});

test('under faults at random every call ends once, with the right answer or an error of the registry', async () => {
  const seed = (Math.random() * 2 ** 31) | 0;
  const random = seededUniform(seed);
  const ladder = await onLadder(shortHangTimeoutMs);
  const { client } = ladder;
  let hangs = 0;
  const end = plugin.script((at) => {
    if (random() > 0.01) return null;
    const kinds: Fault['how'][] =
      at === 'LoadedExecutable_Execute' ? ['error', 'late-error', 'nan', 'hang'] : ['error'];
    const how = kinds[Math.floor(random() * kinds.length)]!;
    // Each takes a thread of the pool for good, as a device that hangs does.
    if (how === 'hang' && ++hangs > 2) return null;
    return { how, code: 'INTERNAL', message: 'at random', ...(random() < 0.5 ? { afterMs: 2 } : {}) };
  });
  const engines = new Map<string, number>();
  const failures = new Map<string, number>();
  const count = (into: Map<string, number>, name: string) => void into.set(name, (into.get(name) ?? 0) + 1);
  // Beside what goes wrong at random the device is lost in the middle; calls go on until XLA has answered again after that.
  // Nothing more goes wrong after `quietFrom`, so that XLA comes back in the end however often its probes failed at random.
  const [lostAt, backAt, enough, quietFrom] = [150, 250, 500, 2_000];
  const limitMs = performance.now() + 200_000;
  let calls = 0;
  let recovered = false;
  const caller = async () => {
    while (calls < enough || (!recovered && performance.now() < limitMs)) {
      if (calls === quietFrom) end();
      if (calls === lostAt) plugin.lose('UNAVAILABLE', 'in the middle', true);
      if (calls === backAt) plugin.regain();
      const index = calls++ % problems.length;
      const request = random() < 0.1 ? { ...problems[index]!, forbidFallback: true } : problems[index]!;
      try {
        const engine = check(await client.coordinate(request), index, `seed ${seed}`);
        recovered ||= calls > backAt && engine === 'xla';
        count(engines, engine);
      } catch (error) {
        if (!(error instanceof Error && 'metadata' in error)) throw error;
        const { reason } = errorDetailsOf(error as ServiceError);
        expect(Object.keys(errorRegistry), `seed ${seed}`).toContain(reason);
        expect(['ENGINE_FAILED', 'FALLBACK_FORBIDDEN'], `seed ${seed}`).toContain(reason);
        count(failures, reason!);
      }
    }
  };
  await Promise.all(Array.from({ length: 16 }, caller));
  end();
  const seen = `seed ${seed}: ${JSON.stringify([...engines, ...failures])}, ${(await steps(ladder)).join('; ')}`;
  console.info(seen);
  const total = [...engines.values(), ...failures.values()].reduce((sum, one) => sum + one, 0);
  expect(total, seen).toBe(calls);
  expect(recovered, seen).toBe(true);
  expect(engines.get('onnx') ?? 0, seen).toBeGreaterThan(0);
  expect(failures.get('ENGINE_FAILED') ?? 0, seen).toBeLessThan(calls / 10);
  expect(await callAll(client)).toHaveLength(problems.length);
});
