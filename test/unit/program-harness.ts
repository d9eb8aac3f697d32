/** Runs programs on ONNX Runtime in the test's own thread, and builds their inputs from plain problems. */
import * as ort from 'onnxruntime-node';
import { lowerToOnnx, type OnnxOptions } from '../../src/compiler/onnx.js';
import type { Parameters } from '../../src/engine/engine.js';
import { buildProgram, type PipelineOptions } from '../../src/operators/pipeline.js';
import {
  type Bucket,
  forbiddenUtility,
  medoidCandidates,
  noBudget,
  type ProgramSpec,
  programSignature,
  shapeIn,
  type TensorData,
} from '../../src/operators/signature.js';

/** One problem: the values of each input by name, row-major, unpadded: [rows][columns], or one row. */
export type SlotInputs = Readonly<Record<string, readonly (readonly number[])[]>>;

export type Outputs = ReadonlyMap<string, TensorData>;

export interface Executable {
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  readonly model: Uint8Array;
  /** Slot by slot; slots that are not given are unused. Outputs keep their padding. */
  run(slots: readonly SlotInputs[]): Promise<Outputs>;
}

export const emptySpec: ProgramSpec = {
  parameters: '',
  projection: null,
  utility: null,
  utilityOut: false,
  soft: null,
  consensus: null,
};

export interface CompileOptions extends PipelineOptions, OnnxOptions {
  readonly parameters?: Parameters;
  readonly threads?: number;
}

export async function compile(spec: ProgramSpec, bucket: Bucket, options: CompileOptions = {}): Promise<Executable> {
  const program = buildProgram(spec, bucket, options);
  const model = lowerToOnnx(program, options.parameters ?? new Map(), options);
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: options.threads ?? 1,
    interOpNumThreads: 1,
    executionProviders: ['cpu'],
  });
  const signature = programSignature(spec);
  return {
    spec,
    bucket,
    model,
    async run(slots) {
      const feeds: Record<string, ort.Tensor> = {};
      for (const input of signature.inputs) {
        const shape = shapeIn(input, bucket);
        const data = packed(
          slots.map((slot) => required(slot, input.name)),
          shape,
          input.pad,
        );
        feeds[input.name] =
          input.dtype === 'int32'
            ? new ort.Tensor('int32', Int32Array.from(data), shape)
            : new ort.Tensor('float32', data, shape);
      }
      const results = await session.run(feeds);
      return new Map(signature.outputs.map(({ name }) => [name, results[name]!.data as TensorData]));
    },
  };
}

function required(slot: SlotInputs, name: string): readonly (readonly number[])[] {
  const rows = slot[name];
  if (rows === undefined) throw new Error(`the problem has no ${name}`);
  return rows;
}

function packed(
  slots: readonly (readonly (readonly number[])[])[],
  shape: readonly number[],
  pad: number,
): Float32Array {
  const size = shape.reduce((a, b) => a * b, 1);
  const slotSize = size / shape[0]!;
  const columns = shape.length === 3 ? shape[2]! : slotSize;
  const data = new Float32Array(size).fill(pad);
  slots.forEach((rows, slot) => {
    rows.forEach((row, i) => {
      if (row.length > columns || (i + 1) * columns > slotSize)
        throw new Error(`[${rows.length},${row.length}] exceeds the bucket`);
      data.set(row, slot * slotSize + i * columns);
    });
  });
  return data;
}

/** One slot of an output [B, bucketRows, bucketColumns], without its padding. Vectors have one bucket row. */
export function cropped(
  outputs: Outputs,
  name: string,
  slot: number,
  size: { rows: number; columns: number; bucketRows: number; bucketColumns: number },
): number[][] {
  const data = outputs.get(name)!;
  const start = slot * size.bucketRows * size.bucketColumns;
  return Array.from({ length: size.rows }, (_, i) =>
    Array.from(data.subarray(start + i * size.bucketColumns, start + i * size.bucketColumns + size.columns)),
  );
}

/** Masks, marginals and slack as the API defines the soft answer (the oracle's `soft_assignment`). */
export function softInputs(problem: {
  utility: readonly (readonly number[])[];
  temperature: number;
  agentMask?: readonly number[] | undefined;
  taskMask?: readonly number[] | undefined;
  columnMass?: readonly number[] | undefined;
  idle?: number | undefined;
  unserved?: number | undefined;
  start?: readonly number[] | undefined;
}): SlotInputs {
  const { utility, temperature } = problem;
  const agentMask = problem.agentMask ?? utility.map(() => 1);
  const taskMask = problem.taskMask ?? utility[0]!.map(() => 1);
  const total = (mask: readonly number[]) => mask.reduce((a, b) => a + b, 0);
  const even = total(agentMask) / Math.max(total(taskMask), 1);
  return {
    utility,
    temperature: [[temperature]],
    agent_mask: [agentMask],
    task_mask: [taskMask],
    row_mass: [agentMask],
    initial_column_potential: [problem.start ?? taskMask.map(() => 0)],
    column_mass: [taskMask.map((bit, j) => (bit === 0 ? 0 : (problem.columnMass?.[j] ?? even)))],
    idle: [[finiteSlack(problem.idle ?? 0)]],
    unserved: [[finiteSlack(problem.unserved ?? 0)]],
  };
}

function finiteSlack(value: number): number {
  return value === -Infinity ? forbiddenUtility : value;
}

export function chi2Quantile(d: number, z: number): number {
  return d * (1 - 2 / (9 * d) + z * Math.sqrt(2 / (9 * d))) ** 3;
}

export function sigmaFactor(d: number): number {
  const t = Math.sqrt(1 - 0.95 ** (2 / (d + 2)));
  return Math.sqrt((1 - t) / t);
}

/** Responses with rejected rows already zeroed and masked, as the host packs them. */
export function consensusInputs(
  responses: readonly (readonly number[])[],
  options: { mask?: readonly number[] | undefined; sigma?: number | undefined } = {},
): SlotInputs {
  const width = responses[0]!.length;
  const accepted = responses.map((row, i) => (options.mask?.[i] ?? 1) === 1 && row.every((x) => Math.abs(x) <= 1e15));
  const rows = responses.map((row, i) => (accepted[i] === true ? row : row.map(() => 0)));
  const active = [...rows.keys()].filter((i) => accepted[i]);
  const n = active.length;
  const candidates = Array.from(
    { length: n === 0 ? 0 : medoidCandidates },
    (_, i) => rows[active[Math.floor((i * n) / medoidCandidates)]!]!,
  );
  return {
    responses: rows,
    agents: rows,
    agent_mask: [accepted.map((bit) => (bit ? 1 : 0))],
    candidates,
    median_ranks: [[Math.max(0, Math.floor((n - 1) / 2)), Math.floor(n / 2)]],
    consensus_constants: [
      [sigmaFactor(width) ** 2, chi2Quantile(width, 0), chi2Quantile(width, 3.0902), (options.sigma ?? 0) ** 2],
    ],
  };
}

export function projectionInputs(
  states: readonly (readonly number[])[],
  resourceMax: readonly number[],
  budget: readonly number[] | undefined,
): SlotInputs {
  return {
    agents: states,
    agent_mask: [states.map(() => 1)],
    resource_max: [resourceMax],
    budget: [budget ?? resourceMax.map(() => noBudget)],
  };
}
