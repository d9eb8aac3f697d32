import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Job, JobTensor } from '../../src/batching/job.js';
import { packBatch, unpackSlot } from '../../src/batching/pack.js';
import type { Axis, Bucket, Signature, TensorData, TensorSignature } from '../../src/operators/signature.js';
import { givenSpec } from '../fake-programs.js';

const fixedWidth = 5;
const tensors: readonly TensorSignature[] = (
  [
    ['agents', ['B', 'N', fixedWidth], 'float32', 0],
    ['tasks', ['B', 'M', fixedWidth], 'float32', 7],
    ['utility', ['B', 'N', 'M'], 'float32', 0],
    ['mask', ['B', 'M'], 'float32', 0],
    ['picks', ['B', 'N', 'M'], 'int32', 3],
    ['ranks', ['B', fixedWidth], 'int32', 0],
  ] as const
).map(([name, axes, dtype, pad]) => ({ name, axes, dtype, pad }));
/** What is packed is what comes out, so the "program" is the identity. */
const signature: Signature = { inputs: tensors, outputs: tensors, parameters: [] };

interface Shape {
  readonly agentCount: number;
  readonly taskCount: number;
  /** Columns that lie between rows in memory. */
  readonly gap: number;
  readonly masked: readonly boolean[];
}

const shapes = fc.array(
  fc.record({
    agentCount: fc.integer({ min: 1, max: 40 }),
    taskCount: fc.integer({ min: 1, max: 40 }),
    gap: fc.integer({ min: 0, max: 3 }),
    masked: fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }),
  }),
  { minLength: 1, maxLength: 4 },
);

const sizeOf = (axis: Axis | undefined, { agentCount, taskCount }: Shape): number =>
  axis === 'N' ? agentCount : axis === 'M' ? taskCount : axis === undefined || axis === 'B' ? 1 : axis;

/** Random values in the cells that may be read; NaN, or the least integer, where nothing may look. */
function jobFrom(shape: Shape, next: () => number): Job {
  const inputs = new Map<string, JobTensor>();
  for (const { name, axes, dtype } of tensors) {
    const rows = sizeOf(axes[1], shape);
    const columns = sizeOf(axes[2], shape);
    const rowStride = columns + shape.gap;
    const rowMask = Uint8Array.from({ length: rows }, (_, row) => (shape.masked[row] === true ? 0 : 1));
    const values = Array<number>(rows * rowStride).fill(dtype === 'int32' ? -(2 ** 31) : NaN);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns && rowMask[row] === 1; column++) values[row * rowStride + column] = next();
    }
    const data = dtype === 'int32' ? Int32Array.from(values) : Float32Array.from(values);
    inputs.set(name, { rows, columns, data, rowMask, rowStride });
  }
  const { agentCount, taskCount } = shape;
  return { spec: givenSpec(), key: '', parameters: new Map(), agentCount, taskCount, inputs };
}

/** The job's tensor without gaps, masked rows zero: what must come back. */
function dense({ rows, columns, data, rowMask, rowStride = columns }: JobTensor): number[] {
  return Array.from({ length: rows * columns }, (_, i) => {
    const row = Math.floor(i / columns);
    return rowMask?.[row] === 0 ? 0 : data[row * rowStride + (i % columns)]!;
  });
}

function bucketFor(list: readonly Shape[], spare: number): Bucket {
  return {
    batch: list.length + (spare % 2),
    agents: Math.max(...list.map(({ agentCount }) => agentCount)) + spare,
    tasks: Math.max(...list.map(({ taskCount }) => taskCount)) + spare,
  };
}

function counter(): () => number {
  let value = 0;
  return () => ++value;
}

/** Memory that other jobs were packed into before. */
function used(bucket: Bucket): TensorData[] {
  const whole: Shape = { agentCount: bucket.agents, taskCount: bucket.tasks, gap: 0, masked: [] };
  return tensors.map(({ axes, dtype }) => {
    const length = bucket.batch * sizeOf(axes[1], whole) * sizeOf(axes[2], whole);
    return dtype === 'int32' ? new Int32Array(length).fill(-5) : new Float32Array(length).fill(NaN);
  });
}

describe('packing and unpacking', () => {
  it('is the identity for any sizes, strides and masks, and never reads masked rows or gaps', () => {
    fc.assert(
      fc.property(shapes, fc.integer({ min: 0, max: 3 }), (list, spare) => {
        const next = counter();
        const jobs = list.map((shape) => jobFrom(shape, next));
        const bucket = bucketFor(list, spare);
        const packed = packBatch(signature, bucket, jobs, spare > 1 ? used(bucket) : null);
        for (const [slot, job] of jobs.entries()) {
          const outputs = unpackSlot(signature, bucket, packed, slot, job);
          for (const [name, tensor] of job.inputs) expect(Array.from(outputs.get(name)!)).toEqual(dense(tensor));
        }
      }),
      { numRuns: 200 },
    );
  });

  it('leaves exactly the pad in every cell that no job covers', () => {
    fc.assert(
      fc.property(shapes, fc.integer({ min: 0, max: 3 }), (list, spare) => {
        const next = counter();
        const jobs = list.map((shape) => jobFrom(shape, next));
        const bucket = bucketFor(list, spare);
        const whole: Shape = { agentCount: bucket.agents, taskCount: bucket.tasks, gap: 0, masked: [] };
        for (const [i, data] of packBatch(signature, bucket, jobs, spare > 1 ? used(bucket) : null).entries()) {
          const { axes, pad } = tensors[i]!;
          const [height, width] = [sizeOf(axes[1], whole), sizeOf(axes[2], whole)];
          expect(data).toHaveLength(bucket.batch * height * width);
          let wrong = 0;
          for (let cell = 0; cell < data.length; cell++) {
            const shape = list[Math.floor(cell / (height * width))];
            const row = Math.floor(cell / width) % height;
            const covered =
              shape !== undefined && row < sizeOf(axes[1], shape) && cell % width < sizeOf(axes[2], shape);
            if (!covered && data[cell] !== pad) wrong++;
          }
          expect(wrong).toBe(0);
        }
      }),
      { numRuns: 50 },
    );
  });
});
