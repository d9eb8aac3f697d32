/** The bridge on XLA's CPU plugin: compile, transfer, execute, read back, fail, free. Past 400 lines because one client serves them all. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { systemClock } from '../../src/clock.js';
import type { PjrtBuffer } from '../../src/pjrt/buffer.js';
import { PjrtError, type PjrtApi } from '../../src/pjrt/call.js';
import { PjrtClient } from '../../src/pjrt/client.js';
import type { HostArray } from '../../src/pjrt/host-array.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { allocateAligned } from '../../src/pjrt/native-memory.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { runOnHostArrays } from '../../src/pjrt/run.js';
import { seededNormal } from '../seeded-normal.js';
import { affine, affineModule, compareModule, shardedSumModule, slowModule, transposeModule } from './modules.js';

let api: PjrtApi;
let client: PjrtClient;

beforeAll(async () => {
  process.env['TF_CPP_MIN_LOG_LEVEL'] = '2';
  api = loadPlugin(inject('cpuPlugin'));
  client = await PjrtClient.create(api);
});

afterEach(async () => {
  // What was lent is given back a moment after its buffer is disposed.
  await expect.poll(livePjrtObjects, { message: 'live objects besides the client' }).toBe(1);
});

afterAll(() => {
  client.dispose();
  expect(livePjrtObjects()).toBe(0);
});

function normals(count: number, seed: number): Float32Array<ArrayBuffer> {
  const bytes = allocateAligned(count * 4);
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, count);
  const next = seededNormal(seed);
  for (let index = 0; index < count; index++) values[index] = next();
  return values;
}

function maxError(actual: HostArray, expected: Float64Array): number {
  expect(actual.length).toBe(expected.length);
  let worst = 0;
  for (let index = 0; index < expected.length; index++) {
    worst = Math.max(worst, Math.abs(Number(actual[index]) - expected[index]!));
  }
  return worst;
}

async function rejection(promise: Promise<unknown>): Promise<PjrtError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(PjrtError);
    return error as PjrtError;
  }
  throw new Error('it did not reject');
}

describe('a client', () => {
  test('says what it runs on', () => {
    expect(api.version.major).toBe(0);
    expect(client.platformName).toBe('cpu');
    expect(client.devices.map(({ id }) => id)).toEqual([0, 1, 2, 3]);
    for (const device of client.devices) expect(device.kind).toBe('cpu');
  });

  test('has as many devices as its options say', async () => {
    using other = await PjrtClient.create(api, { cpu_device_count: 2 });
    expect(other.devices.map(({ id }) => id)).toEqual([0, 1]);
  });

  test('is the same library when the path is loaded again', () => {
    expect(loadPlugin(inject('cpuPlugin'))).toBe(api);
  });

  test('is freed after what was made on it, in whatever order they are disposed', async () => {
    const other = await PjrtClient.create(api);
    const executable = await other.compile(transposeModule(2, 3));
    const buffer = other.bufferFromHost(new Float32Array(6), [2, 3]);
    other.dispose();
    expect(livePjrtObjects()).toBe(5); // two clients, the program loaded and not, the buffer
    expect(() => other.bufferFromHost(new Float32Array(1), [1])).toThrow('client was used after it was disposed');
    executable.dispose();
    buffer.dispose();
  });
});

describe('a program', () => {
  test.each([
    [3, 5, 7],
    [100, 64, 100],
    [600, 33, 500], // results beyond what is copied on the event loop
  ])('of %i x %i x %i computes what plain arithmetic does, on resident weights', async (n, k, m) => {
    const [a, w, b] = [normals(n * k, 1), normals(k * m, 2), normals(m, 3)];
    using executable = await client.compile(affineModule(n, k, m), { portable: true });
    expect(executable.outputTypes).toEqual([
      { elementType: 'float32', dims: [n, m] },
      { elementType: 'int32', dims: [m] },
    ]);
    using weights = client.bufferFromHost(w, [k, m]);
    await weights.hostMemoryReturned();
    const inputs = [{ data: a, dims: [n, k] }, weights, { data: b, dims: [m] }];
    const result = await runOnHostArrays(client, executable, inputs, systemClock);
    expect(maxError(result.outputs[0]!, affine(a, w, b, n, k, m))).toBeLessThan(1e-4);
    expect(result.outputs[1]).toEqual(Int32Array.from({ length: m }, (_, index) => index));

    const into = [new Float32Array(n * m), new Int32Array(m)];
    const again = await runOnHostArrays(client, executable, inputs, systemClock, { into });
    expect(again.outputs[0]).toBe(into[0]);
    expect(into[0]).toEqual(result.outputs[0]);
  });

  test('takes scalars and gives booleans, 64-bit integers and doubles', async () => {
    using executable = await client.compile(compareModule(5), { portable: true });
    const inputs = [
      { data: Float32Array.of(1, 2, 3, 4, -5), dims: [5] },
      { data: Float32Array.of(2.5), dims: [] },
    ];
    const { outputs } = await runOnHostArrays(client, executable, inputs, systemClock);
    expect(outputs).toEqual([Uint8Array.of(0, 0, 1, 1, 0), BigInt64Array.of(2n), Float64Array.of(1, 2, 3, 4, -5)]);
  });

  test('gives row-major results, whichever way they are read back', async () => {
    const [n, m] = [150, 400]; // small enough for the direct copy once it is computed
    const x = Float32Array.from({ length: n * m }, (_, index) => index);
    using executable = await client.compile(transposeModule(n, m), { portable: true });
    using input = client.bufferFromHost(x, [n, m]);
    const execution = await executable.execute([[input]], client.devices[0]);
    const [output] = execution.outputs[0]!;
    const before = new Float32Array(n * m);
    await output!.copyToHost(before); // waits for the execution by itself
    await execution.done;
    const after = new Float32Array(n * m);
    await output!.copyToHost(after);
    output!.dispose();
    expect(before[1]).toBe(m);
    expect(before[n]).toBe(1);
    expect(after).toEqual(before);
  });

  test('runs on the device that each execution names, and not without one', async () => {
    using executable = await client.compile(transposeModule(2, 2), { portable: true });
    const outputs: HostArray[] = [];
    for (const device of client.devices) {
      const input = { data: Float32Array.of(1, 2, 3, device.id), dims: [2, 2] };
      outputs.push((await runOnHostArrays(client, executable, [input], systemClock, { device })).outputs[0]!);
    }
    expect(outputs).toEqual([0, 1, 2, 3].map((id) => Float32Array.of(1, 3, 2, id)));
  });

  test('gives the same bits for the same inputs with several executions in flight on several devices', async () => {
    const [n, k, m] = [100, 64, 100];
    const [w, b] = [normals(k * m, 2), normals(m, 3)];
    using executable = await client.compile(affineModule(n, k, m), { portable: true });
    const run = (index: number) =>
      runOnHostArrays(
        client,
        executable,
        [
          { data: normals(n * k, index), dims: [n, k] },
          { data: w, dims: [k, m] },
          { data: b, dims: [m] },
        ],
        systemClock,
        { device: client.devices[index % 4]! },
      );
    const together = await Promise.all(Array.from({ length: 24 }, (_, index) => run(index)));
    for (const [index, { outputs }] of together.entries()) {
      expect(outputs, `run ${index}`).toEqual((await run(index)).outputs);
    }
  });

  test('answers every one of hundreds of executions started at once', async () => {
    using executable = await client.compile(affineModule(100, 64, 100), { portable: true });
    const inputs = [
      { data: normals(6400, 1), dims: [100, 64] },
      { data: normals(6400, 2), dims: [64, 100] },
      { data: normals(100, 3), dims: [100] },
    ];
    const expected = await runOnHostArrays(client, executable, inputs, systemClock);
    const all = await Promise.all(
      Array.from({ length: 400 }, () => runOnHostArrays(client, executable, inputs, systemClock)),
    );
    const bytes = ({ outputs }: { outputs: readonly HostArray[] }) =>
      Buffer.concat(outputs.map(({ buffer }) => Buffer.from(buffer)));
    expect(all.every((result) => bytes(result).equals(bytes(expected)))).toBe(true);
  });

  test('split over four devices by Shardy gives what one device gives', async () => {
    const [n, m] = [8, 5];
    const x = Float32Array.from({ length: 4 * n * m }, (_, index) => index % 13);
    using executable = await client.compile(shardedSumModule(n, m), { partitions: 4 });
    expect(executable.devices.map(({ id }) => id)).toEqual([0, 1, 2, 3]);
    expect(executable.outputTypes[0]).toEqual({ elementType: 'float32', dims: [n] });
    const parts = client.devices.map((device, index) =>
      client.bufferFromHost(x.slice(index * n * m, (index + 1) * n * m), [n, m], { device }),
    );
    const execution = await executable.execute(parts.map((part) => [part]));
    await execution.done;
    const sums = new Float32Array(4 * n);
    const totals: number[] = [];
    for (const [index, [rows, total]] of execution.outputs.entries()) {
      const own = new Float32Array(n);
      await rows!.copyToHost(own);
      sums.set(own, index * n);
      const scalar = new Float32Array(1);
      await total!.copyToHost(scalar);
      totals.push(scalar[0]!);
    }
    for (const buffer of [...parts, ...execution.outputs.flat()]) buffer.dispose();
    const expected = Float32Array.from({ length: 4 * n }, (_, row) =>
      x.slice(row * m, (row + 1) * m).reduce((a, b) => a + b),
    );
    expect(sums).toEqual(expected);
    expect(totals).toEqual(Array(4).fill(expected.reduce((a, b) => a + b)));
  });

  test('that was serialized computes the same bits after loading', async () => {
    const inputs = [
      { data: normals(12, 1), dims: [3, 4] },
      { data: normals(20, 2), dims: [4, 5] },
      { data: normals(5, 3), dims: [5] },
    ];
    const compiled = await client.compile(affineModule(3, 4, 5), { portable: true });
    const serialized = await compiled.executable.serialize();
    const fingerprint = compiled.executable.fingerprint();
    const expected = await runOnHostArrays(client, compiled, inputs, systemClock);
    compiled.dispose();
    using loaded = await client.deserialize(serialized);
    expect(loaded.outputTypes).toEqual(compiled.outputTypes);
    expect(fingerprint).toMatch(/^([0-9a-f]{2})+$/);
    expect((await runOnHostArrays(client, loaded, inputs, systemClock)).outputs).toEqual(expected.outputs);
  });

  test('says what it costs', async () => {
    using executable = await client.compile(affineModule(10, 20, 30), { portable: true });
    expect(executable.executable.costAnalysis().get('flops')).toBeGreaterThanOrEqual(2 * 10 * 20 * 30);
    const memory = executable.executable.memory();
    expect(memory.argumentBytes).toBe(4 * (10 * 20 + 20 * 30 + 30));
    expect(memory.outputBytes).toBeGreaterThanOrEqual(4 * (10 * 30 + 30));
  });
});

describe('host memory', () => {
  test.each(['during-call', 'until-transferred', 'zero-copy'] as const)('lent %s arrives whole', async (semantics) => {
    const data = normals(50_000, 4);
    const buffer = client.bufferFromHost(data, [500, 100], { semantics });
    await buffer.ready();
    const back = new Float32Array(50_000);
    await buffer.copyToHost(back);
    expect(back).toEqual(data);
    expect(buffer.deviceBytes()).toBeGreaterThanOrEqual(200_000);
    buffer.dispose();
  });

  test('that does not fit the shape is refused before it is read', () => {
    expect(() => client.bufferFromHost(new Float32Array(5), [2, 3])).toThrow(
      'data: expected 6 elements of 4 bytes for [2, 3], received 5 of 4',
    );
    expect(() => client.bufferFromHost(new Uint8Array(6), [6], { elementType: 'float32' })).toThrow(
      'data: expected 6 elements of 4 bytes for [6], received 6 of 1',
    );
  });

  test('is copied between devices', async () => {
    const first = client.bufferFromHost(Float32Array.of(1, 2, 3), [3]);
    const second = first.copyToDevice(client.devices[2]!);
    first.dispose();
    const back = new Float32Array(3);
    await second.copyToHost(back);
    second.dispose();
    expect(back).toEqual(Float32Array.of(1, 2, 3));
  });
});

describe('failures', () => {
  test('a module that is no StableHLO is refused with code, call and message', async () => {
    const error = await rejection(client.compile('nonsense'));
    expect(error.call).toBe('PJRT_Client_Compile');
    expect(error.code).not.toBe('OK');
    expect(error.message).toContain("'nonsense'");
  });

  test('bytes that are no executable are refused', async () => {
    const error = await rejection(client.deserialize(new TextEncoder().encode('not an executable')));
    expect(error.call).toBe('PJRT_Executable_DeserializeAndLoad');
  });

  test('a wrong number or shape of arguments is an error of the execution and leaves nothing behind', async () => {
    using executable = await client.compile(transposeModule(2, 3), { portable: true });
    const right = { data: new Float32Array(6), dims: [2, 3] };
    const wrong = { data: new Float32Array(8), dims: [2, 4] };
    for (const inputs of [[], [right, right], [wrong]]) {
      const error = await rejection(runOnHostArrays(client, executable, inputs, systemClock));
      expect(error.call).toBe('PJRT_LoadedExecutable_Execute');
      expect(error.code).toBe('INVALID_ARGUMENT');
    }
    expect((await runOnHostArrays(client, executable, [right], systemClock)).outputs).toEqual([new Float32Array(6)]);
  });

  test('a result array of the wrong size is refused before anything is written', async () => {
    using executable = await client.compile(transposeModule(2, 3), { portable: true });
    const inputs = [{ data: new Float32Array(6), dims: [2, 3] }];
    await expect(
      runOnHostArrays(client, executable, inputs, systemClock, { into: [new Float32Array(5)] }),
    ).rejects.toThrow('into: expected 24 bytes, received 20');
  });

  test('what was disposed throws when used', async () => {
    const executable = await client.compile(transposeModule(2, 3), { portable: true });
    const buffer = client.bufferFromHost(new Float32Array(6), [2, 3]);
    buffer.dispose();
    buffer.dispose();
    await expect(executable.execute([[buffer]], client.devices[0])).rejects.toThrow(
      'buffer was used after it was disposed',
    );
    await expect(buffer.copyToHost(new Float32Array(6))).rejects.toThrow('buffer was used after it was disposed');
    executable.dispose();
    executable.dispose();
    await expect(executable.execute([[]])).rejects.toThrow('loaded executable was used after it was disposed');
  });
});

describe('the event loop', () => {
  test('turns while a program compiles', async () => {
    let turns = 0;
    let compiling = true;
    const turn = () => {
      turns++;
      if (compiling) setImmediate(turn);
    };
    setImmediate(turn);
    const executable = await client.compile(affineModule(700, 64, 700), { portable: true });
    compiling = false;
    executable.dispose();
    expect(turns).toBeGreaterThan(10);
  });

  // The first is so few operations by XLA's count (a loop's body counts once) that it would run them before returning.
  test.each([
    [100, 200_000],
    [1000, 20_000],
  ])('turns while a loop over %i numbers takes %i rounds, and all may be disposed meanwhile', async (n, rounds) => {
    const executable = await client.compile(slowModule(n, rounds), { portable: true });
    const input = client.bufferFromHost(normals(n, 1), [n]);
    let turns = 0;
    const state = { done: false };
    const execution = executable.execute([[input]], client.devices[0]);
    input.dispose();
    executable.dispose();
    const finished = execution
      .then(async ({ outputs, done }) => {
        for (const output of outputs[0]!) output.dispose();
        await done;
      })
      .finally(() => {
        state.done = true;
      });
    finished.catch(() => undefined); // awaited below
    while (!state.done) {
      turns++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    await finished;
    expect(turns).toBeGreaterThan(10);
  });

  test('turns, timers included, while an execution is waited for awake', async () => {
    using executable = await client.compile(slowModule(1000, 20_000), { portable: true });
    const input = { data: normals(1000, 1), dims: [1000] };
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    try {
      const { executeMs } = await runOnHostArrays(client, executable, [input], systemClock, { busyPollMs: 60_000 });
      expect(executeMs).toBeGreaterThan(20);
      expect(ticks).toBeGreaterThan(2);
    } finally {
      clearInterval(timer);
    }
  });
});

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

test('two thousand executions leave no object and no memory behind', async () => {
  const [n, k, m] = [100, 64, 100];
  const [a, w, b] = [normals(n * k, 1), normals(k * m, 2), normals(m, 3)];
  using executable = await client.compile(affineModule(n, k, m), { portable: true });
  using weights: PjrtBuffer = client.bufferFromHost(w, [k, m]);
  const into = [0, 1, 2, 3].map(() => [new Float32Array(n * m), new Int32Array(m)]);
  const runMany = async (count: number) => {
    for (let index = 0; index < count; index += 4) {
      await Promise.all(
        into.map((arrays, lane) =>
          runOnHostArrays(
            client,
            executable,
            [{ data: a, dims: [n, k] }, weights, { data: b, dims: [m] }],
            systemClock,
            {
              device: client.devices[0]!,
              into: arrays,
            },
          ).then(() => expect(arrays[1]![lane]).toBe(lane)),
        ),
      );
    }
  };
  await runMany(1000);
  collect();
  const before = process.memoryUsage().rss;
  await runMany(2000);
  collect();
  const grown = process.memoryUsage().rss - before;
  // Each execution moves 106 KB: kept, they would be over 200 MB.
  expect(grown).toBeLessThan(60e6);
  await expect.poll(livePjrtObjects).toBe(4); // the client, the program loaded and not, the weights
});
