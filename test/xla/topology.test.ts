/** Compiling for TPU v5e on a host without one. */
import { beforeAll, describe, expect, inject, test } from 'vitest';
import { PjrtError, type PjrtApi } from '../../src/pjrt/call.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { aheadOfTimeEnvironment, PjrtTopology } from '../../src/pjrt/topology.js';
import { affineModule, shardedSumModule } from './modules.js';

const tpuPlugin = inject('tpuPlugin');

describe.runIf(tpuPlugin !== null)('a topology of TPU v5e', () => {
  let api: PjrtApi;

  beforeAll(() => {
    Object.assign(process.env, aheadOfTimeEnvironment);
    api = loadPlugin(tpuPlugin!);
  });

  test.each([
    ['v5e:1x1', 1],
    ['v5e:2x2', 4],
    ['v5e:2x4', 8],
  ])('%s has %i chips of its kind', async (name, chips) => {
    using topology = await PjrtTopology.create(api, name);
    expect(topology.platformName).toBe('tpu');
    expect(topology.devices.map(({ kind }) => kind)).toEqual(Array(chips).fill('TPU v5 lite'));
  });

  test('compiles a program for one chip and says what it costs', async () => {
    const topology = await PjrtTopology.create(api, 'v5e:1x1');
    const executable = await topology.compile(affineModule(100, 64, 100));
    topology.dispose(); // freed with the last executable made for it
    expect(executable.outputTypes()).toEqual([
      { elementType: 'float32', dims: [100, 100] },
      { elementType: 'int32', dims: [100] },
    ]);
    const costs = executable.costAnalysis();
    expect(costs.get('flops')).toBeGreaterThan(0);
    expect(costs.get('optimal_seconds')).toBeGreaterThan(0);
    expect(executable.memory().peakBytes).toBeGreaterThan(4 * 100 * 100);
    expect(executable.codeBytes()).toBeGreaterThan(0);
    expect((await executable.serialize()).length).toBeGreaterThan(1000);
    executable.dispose();
    expect(livePjrtObjects()).toBe(0);
  });

  test('compiles a program split over four chips', async () => {
    using topology = await PjrtTopology.create(api, 'v5e:2x2');
    using executable = await topology.compile(shardedSumModule(64, 128), { partitions: 4, devices: [0, 1, 2, 3] });
    expect(executable.outputTypes()[0]).toEqual({ elementType: 'float32', dims: [64] });
  });

  test('of an unknown name is refused with its code', async () => {
    const error: unknown = await PjrtTopology.create(api, 'v5e:nonsense').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(PjrtError);
    expect((error as PjrtError).call).toBe('PJRT_TopologyDescription_Create');
    expect(livePjrtObjects()).toBe(0);
  });
});
