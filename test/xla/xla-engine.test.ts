import { readdirSync, readFileSync } from 'node:fs';
import { getPriority, platform } from 'node:os';
import { Registry } from 'prom-client';
import { describe, expect, inject, it, vi } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.js';
import type { LoadedProgram } from '../../src/engine/engine.js';
import { OnnxEngine } from '../../src/engine/onnx-engine.js';
import { XlaEngine } from '../../src/engine/xla-engine.js';
import { createMetrics } from '../../src/metrics.js';
import type { Bucket, ProgramSpec, TensorData } from '../../src/operators/signature.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { freedInBackground, livePjrtObjects } from '../../src/pjrt/ownership.js';
import { worstError } from '../golden/cases.js';
import { seededNormal } from '../seeded-normal.js';
import { VirtualClock } from '../virtual-clock.js';
import { randomInputs } from './random-inputs.js';

const bucket: Bucket = { batch: 2, agents: 16, tasks: 16 };
const soft = { iterations: 20, bias: false, slack: true, plan: true, topK: 5, potentials: true } as const;
const spec: ProgramSpec = {
  parameters: 'weights',
  projection: { width: 8, kinds: 3 },
  utility: { source: 'bilinear', agentWidth: 8, taskWidth: 8 },
  utilityOut: true,
  soft: { ...soft, form: 'log' },
  consensus: { source: 'responses', width: 4, iterations: 10, start: 'MEDOID' },
};

function open(clock: Clock = systemClock): Promise<XlaEngine> {
  return XlaEngine.open({ plugin: inject('cpuPlugin'), clock, metrics: createMetrics(new Registry()) });
}

const normal = seededNormal(20);
const parameters = new Map([
  ['projection_weight', Float32Array.from({ length: 24 }, normal)],
  ['projection_bias', Float32Array.from({ length: 3 }, normal)],
  ['bilinear', Float32Array.from({ length: 64 }, normal)],
] as const);

function inputsOf(program: LoadedProgram, seed: number): TensorData[] {
  return randomInputs(program, seed, { count: 7, constants: [6.7, 3.4, 18.5, 0] });
}

describe('the XLA engine', () => {
  it.runIf(platform() === 'linux')(
    'computes on threads that come after the event loop, and leaves that as it is',
    async () => {
      const own = getPriority(0);
      const xla = await open();
      await xla.load({ spec, bucket, parameters });
      const lowered = readdirSync('/proc/self/task').filter((thread) => {
        try {
          const name = readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim();
          return name === 'tf_XLAEigen' && getPriority(Number(thread)) > own;
        } catch {
          return false; // It has ended.
        }
      });
      expect(lowered).not.toEqual([]);
      expect(getPriority(process.pid)).toBe(own);
      await xla.close();
    },
  );

  it('gives what ONNX Runtime gives, several runs in flight, and leaves nothing behind', async () => {
    const before = livePjrtObjects();
    const onnx = new OnnxEngine({ clock: systemClock, metrics: createMetrics(new Registry()) });
    const xla = await open();
    const request = { spec, bucket, parameters };
    const [onXla, onOnnx] = [await xla.load(request), await onnx.load(request)];
    const seeds = [1, 2, 3, 4, 5, 6];
    const results = await Promise.all(seeds.map((seed) => onXla.run(inputsOf(onXla, seed))));
    for (const [index, seed] of seeds.entries()) {
      const expected = await onOnnx.run(inputsOf(onOnnx, seed));
      onXla.signature.outputs.forEach(({ name }, output) => {
        const error = worstError(results[index]!.outputs[output]!, expected.outputs[output]!);
        expect(error, `seed ${seed} ${name}`).toBeLessThanOrEqual(name === 'top_k_tasks' ? 0 : 2e-5);
      });
    }
    expect(onXla.fingerprint).toMatch(/^[0-9a-f]{16}$/);
    xla.unload(onXla);
    await expect(onXla.run(inputsOf(onXla, 1))).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    await Promise.all([xla.close(), onnx.close()]);
    await expect.poll(livePjrtObjects).toBe(before);
  });

  it('frees a program that it unloads off the event loop, while others run', async () => {
    const before = livePjrtObjects();
    const more = (): number => livePjrtObjects() - before;
    const xla = await open();
    const request = { spec, bucket, parameters };
    const [kept, dropped] = [await xla.load(request), await xla.load(request)];
    // The client, and of each program the executable, loaded and not, and its weights.
    await expect.poll(more).toBe(1 + 2 * (2 + parameters.size));
    xla.unload(dropped);
    // All but the loaded executable is gone at once.
    expect(more()).toBe(1 + (2 + parameters.size) + 1);
    expect((await kept.run(inputsOf(kept, 1))).outputs.length).toBeGreaterThan(0);
    await expect.poll(more).toBe(1 + (2 + parameters.size));
    await xla.close();
    await expect.poll(more).toBe(0);
  });

  it('lets the event loop go on while it frees programs that take long', async () => {
    const before = livePjrtObjects();
    const xla = await open();
    for (const agents of [16, 32, 64]) await xla.load({ spec, bucket: { ...bucket, agents }, parameters });
    const opened = livePjrtObjects();
    const seen = new Set<number>();
    const closed = xla.close();
    for (let open = opened; open > before; open = livePjrtObjects()) {
      seen.add(open);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await closed;
    expect([...seen].filter((open) => open > before && open < opened)).not.toEqual([]);
  });

  it.runIf(platform() === 'linux')(
    'counts programs for what XLA keeps of them, and gives memory back a second after the last came or left',
    async () => {
      const clock = new VirtualClock();
      const xla = await open(clock);
      const residentBytes = (): number => process.memoryUsage.rss();
      const startBytes = residentBytes();
      const programs: LoadedProgram[] = [];
      for (const agents of [16, 32, 64, 128])
        programs.push(await xla.load({ spec, bucket: { ...bucket, agents }, parameters }));
      const countedBytes = programs.reduce((sum, program) => sum + program.residentBytes, 0);
      const grownBytes = residentBytes() - startBytes;
      // Beside what it keeps, compiling leaves what it needed.
      expect(countedBytes).toBeGreaterThan(programs.length * 3 * 1024 * 1024);
      expect(countedBytes).toBeLessThan(2 * grownBytes);
      clock.advance(999);
      for (const program of programs) xla.unload(program);
      await freedInBackground();
      const heldBytes = residentBytes();
      clock.advance(999);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(residentBytes()).toBeGreaterThan(heldBytes - countedBytes / 4);
      clock.advance(1);
      await expect.poll(residentBytes).toBeLessThan(heldBytes - countedBytes / 4);
      await xla.close();
      expect(clock.pendingTimers).toBe(0);
    },
  );

  it('lends every batch memory of its own for as long as its run takes, and the same again afterwards', async () => {
    const xla = await open();
    const program = await xla.load({ spec, bucket, parameters });
    const seeds = [11, 12, 13];
    const runs = seeds.map((seed) => {
      const lent = program.takeInputs!()!;
      inputsOf(program, seed).forEach((data, index) => lent[index]!.set(data));
      return { lent, result: program.run(lent) };
    });
    const memory = runs.map(({ lent }) => lent[0]!.buffer);
    expect(new Set(memory).size).toBe(seeds.length);
    for (const [index, seed] of seeds.entries()) {
      const own = await program.run(inputsOf(program, seed));
      expect((await runs[index]!.result).outputs, `seed ${seed}`).toEqual(own.outputs);
    }
    expect(memory).toContain(program.takeInputs!()![0]!.buffer);
    await xla.close();
  });

  it('reads results into memory that was given back, and never into memory that was not', async () => {
    const xla = await open();
    const program = await xla.load({ spec, bucket, parameters });
    const first = await program.run(inputsOf(program, 21));
    const kept = first.outputs.map((output) => output.slice());
    const second = await program.run(inputsOf(program, 22));
    expect(first.outputs).toEqual(kept);
    second.release!();
    const [third, fourth] = await Promise.all([21, 22].map((seed) => program.run(inputsOf(program, seed))));
    expect(third!.outputs).toEqual(kept);
    expect(third!.outputs[0]!.buffer).toBe(second.outputs[0]!.buffer);
    expect(fourth!.outputs[0]!.buffer).not.toBe(second.outputs[0]!.buffer);
    expect(first.outputs).toEqual(kept);
    await xla.close();
  });

  it('waits awake for a lone run that is expected to be short, and asleep for all others', async () => {
    const api = loadPlugin(inject('cpuPlugin'));
    const metrics = createMetrics(new Registry());
    const slept = vi.spyOn(api, 'callAsync');
    const sleeps = (): number => slept.mock.calls.filter(([{ name }]) => name === 'Event_Await').length;
    const sleepsOf = async (xla: XlaEngine, alone: boolean): Promise<number> => {
      const program = await xla.load({ spec, bucket, parameters });
      const before = sleeps();
      for (let run = 0; run < 20; run++) await program.run(inputsOf(program, run), alone);
      return sleeps() - before;
    };
    try {
      const patient = await XlaEngine.open({ plugin: api, clock: systemClock, metrics, busyPollMs: 10_000 });
      expect(await sleepsOf(patient, true)).toBe(0);
      expect(await sleepsOf(patient, false)).toBeGreaterThan(0);
      await patient.close();
      // Nothing runs so fast: after the first run, whose time is not known, none is waited for so.
      const hasty = await XlaEngine.open({ plugin: api, clock: systemClock, metrics, busyPollMs: 1e-6 });
      expect(await sleepsOf(hasty, true)).toBeGreaterThan(0);
      await hasty.close();
    } finally {
      slept.mockRestore();
    }
  });

  it('answers equal requests with equal bits in either slot', async () => {
    const xla = await open();
    const program = await xla.load({ spec, bucket, parameters });
    const inputs = inputsOf(program, 9);
    const swapped = inputs.map((data) => {
      const half = data.length / 2;
      const other = data.slice();
      other.set(data.subarray(half), 0);
      other.set(data.subarray(0, half), half);
      return other;
    });
    const [first, second] = [await program.run(inputs), await program.run(swapped)];
    first.outputs.forEach((output, index) => {
      const half = output.length / 2;
      expect(second.outputs[index]!.subarray(half), program.signature.outputs[index]!.name).toEqual(
        output.subarray(0, half),
      );
    });
    await xla.close();
  });

  it('refuses a library that is no plugin, by name', async () => {
    const options = {
      plugin: '/nonexistent/plugin.so',
      clock: systemClock,
      metrics: createMetrics(new Registry()),
    };
    await expect(XlaEngine.open(options)).rejects.toMatchObject({
      code: 'PLUGIN_INCOMPATIBLE',
      message: expect.stringContaining('/nonexistent/plugin.so') as string,
    });
  });

  it('gives up a compilation that takes longer than any program needs, and frees what comes of it', async () => {
    const before = livePjrtObjects();
    const clock = new VirtualClock();
    const xla = await open(clock);
    const loading = xla.load({ spec, bucket, parameters });
    clock.advance(1_800_000);
    await expect(loading).rejects.toMatchObject({
      code: 'COMPILE_FAILED',
      message: expect.stringContaining('no answer for 1800000 ms') as string,
    });
    const program = await xla.load({ spec, bucket, parameters });
    await program.run(inputsOf(program, 1));
    await xla.close();
    await vi.waitFor(() => expect(livePjrtObjects()).toBe(before), { timeout: 60_000 });
  });

  it('declares a device dead that gives no answer in time, and says so to everyone after', async () => {
    const clock = new VirtualClock();
    const xla = await open(clock);
    const program = await xla.load({ spec, bucket, parameters });
    const reasons: string[] = [];
    xla.onReset((reason) => reasons.push(reason));
    const running = program.run(inputsOf(program, 1));
    clock.advance(10 * 60_000);
    await expect(running).rejects.toMatchObject({
      code: 'ENGINE_FAILED',
      message: expect.stringContaining('no answer') as string,
    });
    await expect(program.run(inputsOf(program, 2))).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
    expect(reasons).toHaveLength(1);
    await xla.close();
  });
});
