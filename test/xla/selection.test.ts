/** Medians and the largest of rows, as XLA's CPU plugin finds them, against sorting. */
import type { Array as JaxArray } from '@jax-js/jax';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { type Program, ProgramBuilder } from '../../src/compiler/program.js';
import { lowerToStableHlo } from '../../src/compiler/stablehlo.js';
import { absence } from '../../src/operators/consensus.js';
import { absent, maskedMedian, type MedianMethod, medianPlan } from '../../src/operators/median.js';
import type { Axis, Signature, TensorDType } from '../../src/operators/signature.js';
import { PjrtClient } from '../../src/pjrt/client.js';
import type { HostArray } from '../../src/pjrt/host-array.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { runOnHostArrays } from '../../src/pjrt/run.js';
import { seededNormal } from '../seeded-normal.js';

let client: PjrtClient;

beforeAll(async () => {
  process.env['TF_CPP_MIN_LOG_LEVEL'] = '2';
  client = await PjrtClient.create(loadPlugin(inject('cpuPlugin')));
});

afterAll(() => client.dispose());

function tensor(name: string, axes: readonly Axis[], dtype: TensorDType = 'float32') {
  return { name, axes, dtype, pad: 0 };
}

async function run(program: Program, inputs: readonly { data: HostArray; dims: readonly number[] }[]) {
  using executable = await client.compile(lowerToStableHlo(program, { forCpu: true }));
  return (await runOnHostArrays(client, executable, inputs, systemClock)).outputs;
}

describe('the largest of a row', () => {
  /** Rows that hold ties, many zeros, all equal values, denormals and infinities, and random ones. */
  function rowsOf(count: number, length: number): Float32Array<ArrayBuffer> {
    const normal = seededNormal(length);
    const kinds = [
      () => Math.exp(normal()),
      () => Math.abs(Math.round(normal())),
      () => 0.25,
      () => (normal() > 1.5 ? Math.exp(normal()) : 0),
      () => (normal() > 1.5 ? Infinity : Math.abs(normal()) * 1e-44),
    ];
    return Float32Array.from({ length: count * length }, (_, i) => kinds[Math.floor(i / length) % kinds.length]!());
  }

  it.each([
    [16, 1],
    [16, 16],
    [32, 8],
    [128, 8],
    [256, 5],
    [512, 8],
    [128, 17],
  ])('of %i is found with the %i behind it, equal ones by rising index', async (length, count) => {
    const signature: Signature = {
      inputs: [tensor('x', ['B', 'N', 'M'])],
      outputs: [tensor('values', ['B', 'N', count]), tensor('places', ['B', 'N', count], 'int32')],
      parameters: [],
    };
    const builder = new ProgramBuilder(signature, { batch: 2, agents: 10, tasks: length });
    builder.topK('x', count, 'values', 'places');
    const data = rowsOf(20, length);
    const [values, places] = await run(builder.build(), [{ data, dims: [2, 10, length] }]);
    for (let row = 0; row < 20; row++) {
      const cells = Array.from(data.subarray(row * length, (row + 1) * length), (value, place) => ({ value, place }));
      cells.sort((a, b) => (a.value === b.value ? a.place - b.place : a.value < b.value ? 1 : -1));
      const expected = cells.slice(0, count);
      const found = Array.from({ length: count }, (_, i) => ({
        value: Number(values![row * count + i]),
        place: Number(places![row * count + i]),
      }));
      expect(found, `row ${row}`).toEqual(expected);
    }
  });
});

describe('the median of the present', () => {
  const batch = 6;
  const rows = 3;

  /** Present agents of each problem: all, all but one, one, two, none, half of them. */
  const present = (agents: number): ((agent: number) => boolean)[] => [
    () => true,
    (agent) => agent !== 3,
    (agent) => agent === agents - 1,
    (agent) => agent < 2,
    () => false,
    (agent) => agent % 2 === 1,
  ];

  /** Squared distances: random ones far apart in size, many ties, all equal. */
  function distances(agents: number): Float32Array<ArrayBuffer> {
    const normal = seededNormal(agents);
    const kinds = [() => Math.exp(12 * normal()), () => Math.round(normal()) ** 2, () => 7];
    return Float32Array.from({ length: batch * rows * agents }, (_, i) => kinds[Math.floor(i / agents) % rows]!());
  }

  it.each<[MedianMethod, number]>([
    ['rank', 16],
    ['rank', 128],
    ['rank', 1024],
    ['digits', 16],
    ['digits', 128],
    ['digits', 512],
    ['digits', 1024],
    ['digits', 5120],
    ['sort', 16],
    ['sort', 128],
    ['sort', 1024],
  ])('by %s among %i agents is the mean of the two in the middle', async (method, agents) => {
    const signature: Signature = {
      inputs: [tensor('x', ['B', rows, 'N']), tensor('mask', ['B', 'N']), tensor('ranks', ['B', 2], 'int32')],
      outputs: [tensor('medians', ['B', rows, 1])],
      parameters: [],
    };
    const builder = new ProgramBuilder(signature, { batch, agents, tasks: 0 });
    builder.traced(['x', 'mask', 'ranks'], ['medians'], (x: JaxArray, mask: JaxArray, ranks: JaxArray) => {
      const plan = medianPlan(method, mask.ref.reshape([batch, 1, agents]), ranks);
      return [maskedMedian(method, x.ref.mul(mask.ref.reshape([batch, 1, agents])).add(absence(mask)), plan)];
    });
    const bits = present(agents).flatMap((isPresent) => Array.from({ length: agents }, (_, i) => Number(isPresent(i))));
    const counts = present(agents).map(
      (isPresent) => Array.from({ length: agents }, (_, i) => i).filter(isPresent).length,
    );
    const ranks = counts.flatMap((n) => [Math.max(0, Math.floor((n - 1) / 2)), Math.floor(n / 2)]);
    const data = distances(agents);
    const [medians] = await run(builder.build(), [
      { data, dims: [batch, rows, agents] },
      { data: Float32Array.from(bits), dims: [batch, agents] },
      { data: Int32Array.from(ranks), dims: [batch, 2] },
    ]);
    for (let row = 0; row < batch * rows; row++) {
      const problem = Math.floor(row / rows);
      const values = Array.from(data.subarray(row * agents, (row + 1) * agents))
        .filter((_, agent) => bits[problem * agents + agent] === 1)
        .sort((a, b) => a - b);
      const found = Number(medians![row]);
      if (values.length === 0) {
        expect(found <= 0 || found >= Math.fround(absent), `problem ${problem}`).toBe(true);
        continue;
      }
      const [low, high] = [values[ranks[2 * problem]!]!, values[ranks[2 * problem + 1]!]!];
      expect(found, `row ${row}`).toBe(Math.fround(Math.fround(low + high) * 0.5));
    }
  });
});
