/** The two clients of a CPU's plugin: what runs on which, and that nobody notices but by the time it takes. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { availableParallelism, platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.js';
import { ExecutableCache } from '../../src/engine/executable-cache.js';
import { clientFor, openClients, type PluginClients } from '../../src/engine/plugin-clients.js';
import { XlaCompiler } from '../../src/engine/xla-compiler.js';
import { XlaEngine } from '../../src/engine/xla-engine.js';
import { createMetrics } from '../../src/metrics.js';
import type { Bucket, ProgramSpec } from '../../src/operators/signature.js';
import { PjrtClient } from '../../src/pjrt/client.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { worstError } from '../golden/cases.js';
import { VirtualClock } from '../virtual-clock.js';
import { everyStage as spec, everyStageBucket as small, everyStageWeights as parameters } from './every-stage.js';
import { FaultPlugin } from './fault-plugin.js';
import { randomInputs } from './random-inputs.js';

const large: Bucket = { batch: 1, agents: 512, tasks: 256 };

process.env['TF_CPP_MIN_LOG_LEVEL'] = '2';
const plugin = new FaultPlugin(inject('cpuPlugin'));
const api = plugin.api();
const closing: (() => Promise<void>)[] = [];
let before = 0;

beforeEach(() => {
  before = livePjrtObjects();
  for (const name of ['PJRT_NPROC', 'NPROC']) vi.stubEnv(name, undefined);
});

afterEach(async () => {
  plugin.restore();
  plugin.release();
  await Promise.all(closing.splice(0).map((close) => close()));
  vi.restoreAllMocks();
  expect(Object.keys(process.env)).not.toContain('PJRT_NPROC');
  vi.unstubAllEnvs();
  await expect.poll(livePjrtObjects).toBe(before);
  await expect.poll(() => plugin.ledger.live(), { message: 'objects by the plugin’s count' }).toEqual({});
  expect(plugin.ledger.violations).toEqual([]);
});

async function open(environment: NodeJS.ProcessEnv | null, clock: Clock = systemClock): Promise<XlaEngine> {
  const metrics = createMetrics(new Registry());
  const engine = await XlaEngine.open({
    plugin: api,
    clock,
    metrics,
    ...(environment === null ? {} : { environment }),
  });
  closing.push(() => engine.close());
  return engine;
}

async function clientsOf(devices: number, environment?: NodeJS.ProcessEnv): Promise<PluginClients> {
  const clients = await openClients(api, devices, environment);
  closing.push(async () => {
    clients.narrow?.dispose();
    clients.wide.dispose();
    return Promise.resolve();
  });
  return clients;
}

async function computeThreads(): Promise<number> {
  const names = (await readdir('/proc/self/task')).map((thread) =>
    readFile(`/proc/self/task/${thread}/comm`, 'utf8').catch(() => ''),
  );
  return (await Promise.all(names)).filter((name) => name.trim() === 'tf_XLAEigen').length;
}

describe.runIf(availableParallelism() > 1)('on a CPU of several cores', () => {
  it.runIf(platform() === 'linux')('the narrow client has one thread, the wide one has one for each core', async () => {
    const none = await computeThreads();
    await clientsOf(1);
    await expect.poll(computeThreads).toBe(none + availableParallelism());
    await clientsOf(1, process.env);
    await expect.poll(computeThreads).toBe(none + 2 * availableParallelism() + 1);
  });

  it('small programs run on the narrow client, large ones on the wide one, and both as on one device', async () => {
    const compile = vi.spyOn(PjrtClient.prototype, 'compile');
    const both = await open(process.env);
    const one = await open(null);
    expect([both.device, both.concurrency]).toEqual([one.device, one.concurrency]);
    const clients: unknown[] = [];
    for (const bucket of [small, large]) {
      const program = await both.load({ spec, bucket, parameters });
      clients.push(compile.mock.contexts.at(-1));
      const alone = await one.load({ spec, bucket, parameters });
      const [given, expected] = [
        await Promise.all([1, 1].map((seed) => program.run(randomInputs(program, seed)))),
        await alone.run(randomInputs(alone, 1)),
      ];
      for (const { device, outputs } of given) {
        expect(device).toBe('cpu');
        program.signature.outputs.forEach(({ name }, index) =>
          expect(worstError(outputs[index]!, expected.outputs[index]!), name).toBeLessThanOrEqual(1e-6),
        );
      }
    }
    expect(clients[0]).not.toBe(clients[1]);
  });

  it('a program that hangs on either takes the engine with it, and what it held is freed when it ends', async () => {
    for (const bucket of [small, large]) {
      const clock = new VirtualClock();
      const engine = await open(process.env, clock);
      const [other, hanging] = [
        await engine.load({ spec, bucket: bucket === small ? large : small, parameters }),
        await engine.load({ spec, bucket, parameters }),
      ];
      plugin.arm({ at: 'LoadedExecutable_Execute', how: 'hang' });
      const hung = expect(hanging.run(randomInputs(hanging, 1))).rejects.toMatchObject({
        message: /cpu gave no answer/,
      });
      await expect.poll(() => plugin.hanging).toBe(1);
      await clock.advanceAsync(10 * 60_000);
      await hung;
      expect(engine.lost).toMatch(/^device cpu gave no answer/);
      await expect(other.run(randomInputs(other, 1))).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
      plugin.release();
    }
  });

  it('failures of both count together against the device', async () => {
    const engine = await open(process.env);
    const programs = [
      await engine.load({ spec, bucket: small, parameters }),
      await engine.load({ spec, bucket: large, parameters }),
    ] as const;
    for (const program of [programs[0], programs[1], programs[0]]) {
      expect(engine.lost).toBeNull();
      plugin.arm({ at: 'LoadedExecutable_Execute', how: 'error', code: 'INTERNAL' });
      await expect(program.run(randomInputs(program, 1))).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    }
    expect(engine.lost).toMatch(/^device cpu keeps failing/);
  });

  it('an engine whose second client cannot be opened does not open, and leaves nothing behind', async () => {
    const opened = plugin.arm({ at: 'Client_Create', how: 'error', skip: 2, code: 'RESOURCE_EXHAUSTED' });
    await expect(open(process.env)).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    expect(opened.hits).toBe(1);
  });

  it('what was compiled for one thread is kept apart from what was compiled for several', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'clients-'));
    const { wide, narrow } = await clientsOf(1, process.env);
    const metrics = createMetrics(new Registry());
    const cache = new ExecutableCache({ directory, limitBytes: 1e8, metrics });
    const keys: string[] = [];
    for (const clients of [
      { wide, narrow },
      { wide, narrow: null },
      { wide, narrow },
    ]) {
      const compiler = new XlaCompiler(clients, { cache, host: 'this one' });
      const { client, executable, key } = await compiler.compile(spec, small);
      expect(client).toBe(clients.narrow ?? wide);
      keys.push(key);
      executable.dispose();
      await compiler.close();
    }
    expect(keys[1]).not.toBe(keys[0]);
    expect(keys[2]).toBe(keys[0]);
    const looked = Object.fromEntries(
      (await metrics.executableCache.get()).values.map(({ labels, value }) => [String(labels.result), value]),
    );
    expect(looked).toMatchObject({ disk_miss: 2, disk_hit: 1 });
    await rm(directory, { recursive: true });
  });

  it('the size of the largest tensor, of a problem and of a batch, says where a program runs, however often it iterates', async () => {
    const clients = await clientsOf(1, process.env);
    const isNarrow = (bucket: Bucket, of: ProgramSpec = spec, cores = 2) =>
      clientFor(clients, of, bucket, cores) === clients.narrow;
    expect(isNarrow({ batch: 1, agents: 128, tasks: 128 })).toBe(true);
    expect([4, 8].map((batch) => isNarrow({ batch, agents: 128, tasks: 128 }, spec, 16))).toEqual([true, false]);
    expect(isNarrow({ batch: 32, agents: 128, tasks: 128 })).toBe(true);
    expect(isNarrow({ batch: 16, agents: 256, tasks: 256 })).toBe(false);
    expect(isNarrow({ batch: 1, agents: 512, tasks: 512 })).toBe(false);
    const longer: ProgramSpec = { ...spec, soft: { ...spec.soft!, iterations: 1000 } };
    expect(isNarrow({ batch: 1, agents: 128, tasks: 128 }, longer)).toBe(true);
    const consensus: ProgramSpec = { ...spec, projection: null, utility: null, utilityOut: false, soft: null };
    expect(isNarrow({ batch: 1, agents: 1024, tasks: 0 }, consensus)).toBe(true);
    const wider: ProgramSpec = { ...consensus, consensus: { ...spec.consensus!, width: 1024 } };
    expect(isNarrow({ batch: 1, agents: 1024, tasks: 0 }, wider)).toBe(false);
  });
});

it.each([
  ['nobody lends the environment', 1, undefined],
  ['several devices share the cores', 2, {}],
  ['PJRT_NPROC says how many threads to make', 1, { PJRT_NPROC: '2' }],
  ['NPROC says how many threads to make', 1, { NPROC: '1' }],
] as const)('there is one client where %s', async (_, devices, environment) => {
  const given = environment === undefined ? undefined : { ...environment };
  expect((await clientsOf(devices, given)).narrow).toBeNull();
  expect(given).toEqual(environment);
});
