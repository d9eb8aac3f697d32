/** Compiling for TPU v5e on a host without one. */
import { beforeAll, describe, expect, inject, test } from 'vitest';
import { costOf, loopsOf, turnOf } from '../../client/compile/cost.js';
import { parseBuckets, planPrograms, shardedPrograms } from '../../client/compile/plan.js';
import { runCompiler } from '../../client/compile/run-compiler.js';
import { lowerToStableHlo } from '../../src/compiler/stablehlo.js';
import { platformProgram } from '../../src/engine/xla-program.js';
import { PjrtError, type PjrtApi } from '../../src/pjrt/call.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { livePjrtObjects } from '../../src/pjrt/ownership.js';
import { aheadOfTimeEnvironment, PjrtTopology } from '../../src/pjrt/topology.js';
import { builtInPolicies } from '../../src/policies/built-in.js';
import { affineModule, shardedSumModule } from './modules.js';

const tpuPlugin = inject('tpuPlugin');

/** Seconds on two idle cores; minutes on busy ones. */
const compileTimeoutMs = 900_000;

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

  test('counts the body of a loop once, so its turns are estimated from its body alone', async () => {
    using topology = await PjrtTopology.create(api, 'v5e:1x1');
    const { spec, bucket } = planPrograms(builtInPolicies(), parseBuckets('b1,n128'))[0]!;
    const costs = [];
    for (const iterations of [20, 40]) {
      const longer = { ...spec, utility: null, utilityOut: false, consensus: { ...spec.consensus!, iterations } };
      const { program, options } = platformProgram(longer, { ...bucket, tasks: 0 }, 'tpu');
      using executable = await topology.compile(lowerToStableHlo(program, options));
      costs.push(costOf(executable.costAnalysis()));
      const [loop, ...others] = loopsOf(program, options);
      expect(others).toEqual([]);
      expect(loop!.iterations).toBe(iterations);
      using body = await topology.compile(lowerToStableHlo(turnOf(program, loop!), options));
      expect(costOf(body.costAnalysis()).seconds).toBeGreaterThan(0);
    }
    expect(costs[1]).toEqual(costs[0]);
  });
});

describe.runIf(tpuPlugin !== null).each([
  ['v5e:2x2', 4],
  ['v5e:2x4', 8],
])('one problem over the chips of %s', (topology, chips) => {
  test(
    'compiles, with a share of the agents on each chip',
    async () => {
      const whole = planPrograms(builtInPolicies(), parseBuckets('b1,n128')).filter(
        ({ policy }) => policy === 'reference',
      );
      const programs = [...whole, ...shardedPrograms(whole, chips)];
      const task = { pluginPath: tpuPlugin!, topology, programs, directory: null, parallel: 2 };
      const { compiled, failed, refused } = await runCompiler(task, {}, new AbortController().signal);
      expect({ failed, refused }).toEqual({ failed: [], refused: null });
      const factsOf = (name: string) => compiled.find((facts) => facts.name === name)!;
      for (const { name } of whole) {
        const [one, several] = [factsOf(name), factsOf(`${name}-sharded${chips}`)];
        expect(several.cost.flops, name).toBeLessThan(one.cost.flops / 2);
        expect(several.peakBytes, name).toBeLessThan(one.peakBytes);
      }
    },
    compileTimeoutMs,
  );
});

/** Of one chip. */
const v5eMemoryBytes = 16e9;

describe.runIf(tpuPlugin !== null).each(builtInPolicies().map((policy) => [policy.name, policy] as const))(
  'the policy %s',
  (_name, policy) => {
    test(
      'compiles for TPU v5e in every default bucket, and each fits its memory',
      async () => {
        // TOP_K by the sizes that most calls have: its largest buckets take XLA a minute each.
        const all = planPrograms([policy], parseBuckets('default'));
        const programs = all.filter(({ forms, bucket }) => forms[0] !== 'TOP_K' || bucket.agents === 128);
        const task = { pluginPath: tpuPlugin!, topology: 'v5e:1x1', programs, directory: null, parallel: 2 };
        const { compiled, failed, refused } = await runCompiler(task, {}, new AbortController().signal);
        expect({ failed, refused }).toEqual({ failed: [], refused: null });
        expect(compiled.map(({ name }) => name).sort()).toEqual(programs.map(({ name }) => name).sort());
        const factsOf = new Map(compiled.map((facts) => [facts.name, facts]));
        for (const facts of compiled) {
          expect(facts.peakBytes, facts.name).toBeLessThan(v5eMemoryBytes);
          expect(facts.argumentBytes + facts.outputBytes + facts.tempBytes, facts.name).toBeLessThan(v5eMemoryBytes);
          expect(facts.codeBytes, facts.name).toBeGreaterThan(0);
          expect(facts.executableBytes, facts.name).toBeGreaterThan(0);
          expect(facts.cost.seconds, facts.name).toBeGreaterThan(0);
          expect(facts.wholeCost!.seconds, facts.name).toBeGreaterThanOrEqual(facts.cost.seconds!);
        }
        const alone = programs.filter(({ forms, bucket }) => forms[0] !== 'TOP_K' && bucket.batch === 1);
        const flops = alone.map(({ name }) => factsOf.get(name)!.wholeCost!.flops);
        expect(flops.length).toBeGreaterThan(1);
        expect(flops).toEqual(flops.toSorted((a, b) => a - b));
      },
      compileTimeoutMs,
    );
  },
);
