import { describe, expect, it } from 'vitest';
import type { Job, JobTensor } from '../../src/batching/job.js';
import { checkJob, packBatch, unpackSlot } from '../../src/batching/pack.js';
import type { Bucket, Signature, TensorData, TensorSignature } from '../../src/operators/signature.js';
import { givenSpec } from '../fake-programs.js';

const signatureOf = (inputs: readonly TensorSignature[], outputs: readonly TensorSignature[] = []): Signature => ({
  inputs,
  outputs,
  parameters: [],
});
const tensor = (name: string, axes: TensorSignature['axes'], rest: Partial<TensorSignature> = {}): TensorSignature => ({
  name,
  axes,
  dtype: 'float32',
  pad: 0,
  ...rest,
});
const jobOf = (agentCount: number, taskCount: number, inputs: Record<string, JobTensor>): Job => ({
  spec: givenSpec(),
  key: '',
  parameters: new Map(),
  agentCount,
  taskCount,
  inputs: new Map(Object.entries(inputs)),
});
const floats = (...values: number[]) => Float32Array.from(values);
const bucket = { batch: 2, agents: 3, tasks: 4 };
const plan = tensor('plan', ['B', 'N', 'M']);

describe('packing', () => {
  it('puts each job into its slot, rows and columns padded with zeros', () => {
    const jobs = [
      jobOf(2, 2, { plan: { rows: 2, columns: 2, data: floats(1, 2, 3, 4) } }),
      jobOf(1, 3, { plan: { rows: 1, columns: 3, data: floats(5, 6, 7) } }),
    ];
    expect(packBatch(signatureOf([plan]), bucket, jobs)).toEqual([
      floats(...[1, 2, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0], ...[5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ]);
  });

  it('fills what no job covers with the pad, and masked rows with zeros', () => {
    const inputs = [tensor('budget', ['B', 2], { pad: 9 }), tensor('states', ['B', 'N', 2], { pad: 9 })];
    const job = jobOf(2, 0, {
      budget: { rows: 1, columns: 2, data: floats(1, 2) },
      states: { rows: 2, columns: 1, data: floats(NaN, 4), rowMask: Uint8Array.of(0, 1) },
    });
    expect(packBatch(signatureOf(inputs), { batch: 2, agents: 3, tasks: 0 }, [job])).toEqual([
      floats(1, 2, 9, 9),
      floats(0, 9, 4, 9, 9, 9, ...[9, 9, 9, 9, 9, 9]),
    ]);
  });

  it('takes vectors as rows or columns, and the first columns of wider rows', () => {
    const inputs = [
      tensor('mask', ['B', 'N']),
      tensor('states', ['B', 'N', 2]),
      tensor('ranks', ['B', 2], { dtype: 'int32' }),
    ];
    const states: JobTensor = { rows: 2, columns: 2, data: floats(1, 2, NaN, 3, 4), rowStride: 3 };
    const ranks: JobTensor = { rows: 1, columns: 2, data: Int32Array.of(7, 8) };
    const row = jobOf(2, 0, { mask: { rows: 1, columns: 2, data: floats(1, 0) }, states, ranks });
    const column = jobOf(2, 0, { mask: { rows: 2, columns: 1, data: floats(1, 0) }, states, ranks });
    const strided = jobOf(2, 0, {
      mask: { rows: 2, columns: 1, data: floats(1, NaN, 0), rowStride: 2 },
      states,
      ranks,
    });
    for (const job of [row, column, strided]) {
      expect(packBatch(signatureOf(inputs), { batch: 1, agents: 3, tasks: 0 }, [job])).toEqual([
        floats(1, 0, 0),
        floats(1, 2, 3, 4, 0, 0),
        Int32Array.of(7, 8),
      ]);
    }
  });

  it('gives whole buffers that share no memory with the jobs', () => {
    const data = new Float32Array(12);
    const exact = { batch: 1, agents: 3, tasks: 4 };
    const [packed] = packBatch(signatureOf([plan]), exact, [jobOf(3, 4, { plan: { rows: 3, columns: 4, data } })]);
    expect(packed!.buffer).not.toBe(data.buffer);
    expect(packed!.byteLength).toBe(packed!.buffer.byteLength);
  });

  it('refuses inputs that are missing, misshapen, too short or of the wrong type, naming the input', () => {
    const good = { rows: 2, columns: 2, data: new Float32Array(4) };
    const states = tensor('states', ['B', 'N', 2]);
    const mask = tensor('mask', ['B', 'N']);
    const bad: readonly (readonly [TensorSignature, Job, RegExp])[] = [
      [plan, jobOf(2, 2, {}), /plan: missing/],
      [plan, jobOf(2, 3, { plan: good }), /plan: expected 2 x 3, received 2 x 2/],
      [plan, jobOf(3, 2, { plan: good }), /plan: expected 3 x 2, received 2 x 2/],
      [plan, jobOf(2, 2, { plan: { ...good, data: new Float32Array(3) } }), /plan: expected at least 4 values/],
      [plan, jobOf(2, 2, { plan: { ...good, rowStride: 1 } }), /plan: .*rows 1 apart/],
      [plan, jobOf(2, 2, { plan: { ...good, rowMask: new Uint8Array(3) } }), /plan: expected a mask of 2/],
      [
        plan,
        jobOf(2, 2, { plan: { ...good, data: new Int32Array(4) } }),
        /plan: expected float32, received Int32Array/,
      ],
      [states, jobOf(2, 0, { states: { rows: 2, columns: 3, data: new Float32Array(6) } }), /states: expected 2 x 2/],
      [mask, jobOf(2, 0, { mask: { rows: 1, columns: 3, data: new Float32Array(3) } }), /mask: expected 2 values/],
    ];
    for (const [input, job, message] of bad) {
      expect(() => packBatch(signatureOf([input]), bucket, [job])).toThrow(message);
      expect(() => checkJob(signatureOf([input]), bucket, job)).toThrow(message);
    }
    expect(() => checkJob(signatureOf([]), bucket, jobOf(4, 1, {}))).toThrow(/4 x 1 in a bucket of 3 x 4/);
    expect(() => packBatch(signatureOf([]), bucket, Array<Job>(3).fill(jobOf(1, 1, {})))).toThrow(/3 jobs/);
  });
});

describe('unpacking', () => {
  const outputs = [
    plan,
    tensor('flags', ['B', 'N']),
    tensor('centroid', ['B', 2]),
    tensor('top', ['B', 'N', 2], { dtype: 'int32' }),
  ];
  const made = (batch: number): TensorData[] => [
    Float32Array.from({ length: batch * 12 }, (_, i) => i),
    Float32Array.from({ length: batch * 3 }, (_, i) => i),
    Float32Array.from({ length: batch * 2 }, (_, i) => i),
    Int32Array.from({ length: batch * 6 }, (_, i) => i),
  ];

  it("crops N and M to the job's own and keeps other widths", () => {
    const cropped = unpackSlot(signatureOf([], outputs), bucket, made(2), 1, jobOf(2, 3, {}));
    expect(cropped.get('plan')).toEqual(floats(12, 13, 14, 16, 17, 18));
    expect(cropped.get('flags')).toEqual(floats(3, 4));
    expect(cropped.get('centroid')).toEqual(floats(2, 3));
    expect(cropped.get('top')).toEqual(Int32Array.of(6, 7, 8, 9));
  });

  it('gives every job memory of its own', () => {
    const all = made(2);
    const memories = [0, 1].map((slot) => {
      const unpacked = unpackSlot(signatureOf([], outputs), bucket, all, slot, jobOf(3, 4, {}));
      return new Set([...unpacked.values()].map(({ buffer }) => buffer));
    });
    for (const buffer of memories[0]!) expect(memories[1]!.has(buffer)).toBe(false);
    for (const { buffer } of all) expect(memories.some((memory) => memory.has(buffer))).toBe(false);
  });

  it('gives a large output memory that no small one shares, so that keeping a small one keeps nothing else', () => {
    const large: Bucket = { batch: 2, agents: 64, tasks: 64 };
    const both: TensorSignature[] = [
      { name: 'plan', axes: ['B', 'N', 'M'], dtype: 'float32', pad: 0 },
      { name: 'column_potential', axes: ['B', 'M'], dtype: 'float32', pad: 0 },
    ];
    const made = [new Float32Array(2 * 64 * 64), new Float32Array(2 * 64)];
    const unpacked = unpackSlot(signatureOf([], both), large, made, 1, jobOf(60, 60, {}));
    const [plan, potential] = [unpacked.get('plan')!, unpacked.get('column_potential')!];
    expect(plan.buffer.byteLength).toBe(plan.byteLength);
    expect(potential.buffer.byteLength).toBe(potential.byteLength);
  });

  it("hands over the engine's arrays where a lone job fills them", () => {
    const all = made(1);
    const single = { ...bucket, batch: 1 };
    const whole = unpackSlot(signatureOf([], outputs), single, all, 0, jobOf(3, 4, {}));
    expect([...whole.values()].every((data, i) => data === all[i])).toBe(true);
    expect(unpackSlot(signatureOf([], outputs), single, all, 0, jobOf(2, 4, {})).get('plan')).toEqual(
      all[0]!.slice(0, 8),
    );
  });

  it("refuses an engine's outputs of the wrong size, naming the output", () => {
    const signature = signatureOf([], outputs);
    expect(() => unpackSlot(signature, bucket, made(1), 0, jobOf(1, 1, {}))).toThrow(/output plan: expected 24 values/);
    expect(() => unpackSlot(signature, bucket, made(2).slice(0, 3), 0, jobOf(1, 1, {}))).toThrow(/output top: .* 0$/);
  });
});
