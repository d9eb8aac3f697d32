/** Sinkhorn from any start on XLA, beside ONNX Runtime. */
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import { XlaEngine } from '../../src/engine/xla-engine.js';
import { createMetrics } from '../../src/metrics.js';
import { type Bucket, type ProgramSpec, shapeIn } from '../../src/operators/signature.js';
import type { SinkhornForm } from '../../src/problem.js';
import { seededNormal } from '../seeded-normal.js';
import { compile, emptySpec, softInputs } from '../unit/program-harness.js';

const seed = 20261126;
const count = 16;
const bucket: Bucket = { batch: 1, agents: count, tasks: count };
let engine: XlaEngine;

beforeAll(async () => {
  engine = await XlaEngine.open({
    plugin: inject('cpuPlugin'),
    clock: systemClock,
    metrics: createMetrics(new Registry()),
  });
});

afterAll(() => engine.close());

const cases: [SinkhornForm, boolean][] = [
  ['scaling', false],
  ['log', false],
  ['log', true],
];

it.each(cases)(
  '%s, slack %s: gives numbers from any start, and what ONNX Runtime gives from a sane one',
  async (form, slack) => {
    const soft = { form, iterations: 10, bias: false, slack, plan: true, topK: 0, potentials: true };
    const spec: ProgramSpec = { ...emptySpec, utility: { source: 'given' }, soft };
    const onXla = await engine.load({ spec, bucket, parameters: new Map() });
    const onOnnx = await compile(spec, bucket);
    const normal = seededNormal(seed);
    const utility = Array.from({ length: count }, () => Array.from({ length: count }, () => Math.fround(2 * normal())));
    const starts: Record<string, number[]> = {
      cold: utility.map(() => 0),
      warm: utility.map(() => Math.fround(normal())),
      equal: utility.map(() => 3),
      'both ends': utility.map((_, j) => (j % 2 === 0 ? 1e30 : -1e30)),
      'all least': utility.map(() => -3.4e38),
    };
    for (const [name, start] of Object.entries(starts)) {
      const slot = softInputs({ utility, temperature: 0.5, start, columnMass: utility.map(() => 1) });
      const inputs = onXla.signature.inputs.map((input) => {
        const data = new Float32Array(shapeIn(input, bucket).reduce((size, axis) => size * axis, 1));
        data.set(slot[input.name]!.flat());
        return data;
      });
      const { outputs } = await onXla.run(inputs);
      const expected = await onOnnx.run([slot]);
      onXla.signature.outputs.forEach((output, index) => {
        const data = outputs[index]!;
        expect([...data].every(Number.isFinite), `${name}: ${output.name}`).toBe(true);
        if (name === 'both ends' || name === 'all least') return;
        const other = expected.get(output.name)!;
        data.forEach((value, i) => {
          const error = Math.abs(value - other[i]!) / Math.max(1, Math.abs(other[i]!));
          expect(error, `${name}: ${output.name}[${i}], seed ${seed}`).toBeLessThan(1e-5);
        });
      });
    }
    engine.unload(onXla);
  },
);
