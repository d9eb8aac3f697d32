/**
 * Between jobs and batches: pads the inputs of jobs into whole tensors of a bucket, and crops a slot's outputs back to
 * the job's own N and M. A slot's contents depend on its own job alone, never on its neighbours.
 */
import { CoordinatorError } from '../errors.js';
import type { Axis, Bucket, Signature, TensorData, TensorSignature } from '../operators/signature.js';
import type { Job, JobTensor } from './job.js';

/**
 * Outputs of at most this many values share one allocation for each job. Ten small ArrayBuffers cost more than what is copied into them;
 * a larger output keeps its own, so that whoever holds on to a small one does not hold a plan.
 */
const mostShared = 1024;

/** Rows shorter than this are copied by a loop: below it, making the two views that `set` needs costs more than the copy. */
const shortRow = 16;

/**
 * One whole tensor for each input of `signature`, in its order; job i is in slot i. What no job covers (slots,
 * rows, columns) holds the input's `pad`; masked rows hold 0 and are never read. At most `bucket.batch` jobs, each of
 * which fits the bucket. `into`: tensors of those sizes to write over and return; fresh ones unless given. INTERNAL, naming the input, where a job's input is missing or has the wrong size or dtype.
 */
export function packBatch(
  signature: Signature,
  bucket: Bucket,
  jobs: readonly Job[],
  into: readonly TensorData[] | null = null,
): TensorData[] {
  if (jobs.length > bucket.batch) throw internal(`${jobs.length} jobs for a batch of ${bucket.batch}`);
  return signature.inputs.map((input, index) => packInput(input, bucket, jobs, into?.[index] ?? null));
}

/** Throws what `packBatch` would throw for this job, whatever its neighbours. */
export function checkJob(signature: Signature, bucket: Bucket, job: Job): void {
  if (job.agentCount > bucket.agents || job.taskCount > bucket.tasks) {
    throw internal(`a job of ${job.agentCount} x ${job.taskCount} in a bucket of ${bucket.agents} x ${bucket.tasks}`);
  }
  for (const input of signature.inputs) checkedInput(input, job);
}

/**
 * The outputs of the job in `slot`, by name. N and M axes are cropped to the job's own; other axes keep their width.
 * The memory is the job's own: no other slot's and not the engine's, save where the batch has a single slot and nothing is cropped.
 * INTERNAL where the engine's outputs do not have the signature's sizes.
 */
export function unpackSlot(
  signature: Signature,
  bucket: Bucket,
  outputs: readonly TensorData[],
  slot: number,
  job: Job,
): Map<string, TensorData> {
  const cropped = new Map<string, TensorData>();
  const shared = new ArrayBuffer(Float32Array.BYTES_PER_ELEMENT * sharedLength(signature, job));
  let at = 0;
  for (let index = 0; index < signature.outputs.length; index++) {
    const output = signature.outputs[index]!;
    const data = outputs[index];
    const slotLength = lengthIn(output, bucket);
    if (data?.length !== bucket.batch * slotLength) {
      throw internal(
        `output ${output.name}: expected ${bucket.batch * slotLength} values, received ${data?.length ?? 0}`,
      );
    }
    const length = croppedLength(output, job);
    if (length === data.length) {
      cropped.set(output.name, data);
      continue;
    }
    const isShared = length <= mostShared;
    const target = arrayOf(output, isShared ? shared : null, at, length);
    if (isShared) at += length * Float32Array.BYTES_PER_ELEMENT;
    crop(data, slot * slotLength, target, output, bucket, job);
    cropped.set(output.name, target);
  }
  return cropped;
}

/** Values of all outputs that share memory. */
function sharedLength(signature: Signature, job: Job): number {
  let total = 0;
  for (const output of signature.outputs) {
    const length = croppedLength(output, job);
    if (length <= mostShared) total += length;
  }
  return total;
}

/** Float32 and int32 alike take four bytes. `shared` null: memory of its own. */
function arrayOf({ dtype }: TensorSignature, shared: ArrayBuffer | null, at: number, length: number): TensorData {
  if (shared === null) return dtype === 'int32' ? new Int32Array(length) : new Float32Array(length);
  return dtype === 'int32' ? new Int32Array(shared, at, length) : new Float32Array(shared, at, length);
}

function croppedLength({ axes }: TensorSignature, { agentCount, taskCount }: Job): number {
  return extent(axes[1]!, agentCount, taskCount) * extent(axes[2] ?? 1, agentCount, taskCount);
}

function packInput(
  input: TensorSignature,
  bucket: Bucket,
  jobs: readonly Job[],
  reused: TensorData | null,
): TensorData {
  const slotLength = lengthIn(input, bucket);
  const length = bucket.batch * slotLength;
  const packed = reused ?? (input.dtype === 'int32' ? new Int32Array(length) : new Float32Array(length));
  if (reused === null && input.pad !== 0) packed.fill(input.pad);
  const columnAxis = input.axes[2];
  for (let slot = 0; slot < jobs.length; slot++) {
    const tensor = checkedInput(input, jobs[slot]!);
    // A vector is one run, whichever way round it comes.
    const width = columnAxis === undefined ? tensor.columns : extent(columnAxis, bucket.agents, bucket.tasks);
    const start = slot * slotLength;
    if (reused !== null) {
      // What the rows cover without gaps need not be cleared first.
      const covered = tensor.columns === width ? tensor.rows * width : 0;
      packed.fill(input.pad, start + covered, start + slotLength);
    }
    copyRows(tensor, packed, start, width);
  }
  if (reused !== null) packed.fill(input.pad, jobs.length * slotLength);
  return packed;
}

/** Copies the unmasked rows of `tensor` to `target`, whose rows are `width` apart; runs of adjoining rows as one block. */
function copyRows(tensor: JobTensor, target: TensorData, start: number, width: number): void {
  const { rows, columns, data, rowMask } = tensor;
  const stride = tensor.rowStride ?? columns;
  const adjoining = (stride === columns && width === columns) || rows === 1;
  let row = 0;
  while (row < rows) {
    if (rowMask !== undefined && rowMask[row] === 0) {
      target.fill(0, start + row * width, start + row * width + columns);
      row++;
      continue;
    }
    let end = row + 1;
    if (adjoining) while (end < rows && (rowMask === undefined || rowMask[end] !== 0)) end++;
    const from = row * stride;
    const to = start + row * width;
    const length = (end - row) * columns;
    if (length < shortRow) for (let i = 0; i < length; i++) target[to + i] = data[from + i]!;
    else target.set(from === 0 && length === data.length ? data : data.subarray(from, from + length), to);
    row = end;
  }
}

function crop(
  data: TensorData,
  start: number,
  target: TensorData,
  output: TensorSignature,
  bucket: Bucket,
  { agentCount, taskCount }: Job,
): void {
  const columnAxis = output.axes[2] ?? 1;
  const width = extent(columnAxis, bucket.agents, bucket.tasks);
  const rows = extent(output.axes[1]!, agentCount, taskCount);
  const columns = extent(columnAxis, agentCount, taskCount);
  if (columns === width || rows === 1) {
    target.set(data.subarray(start, start + rows * columns));
    return;
  }
  for (let row = 0; row < rows; row++) {
    const from = start + row * width;
    target.set(data.subarray(from, from + columns), row * columns);
  }
}

/** The job's tensor for `input`, of which every element that will be read exists. */
function checkedInput(input: TensorSignature, job: Job): JobTensor {
  const tensor = job.inputs.get(input.name);
  if (tensor === undefined) throw internal(`input ${input.name}: missing`);
  const { rows, columns, data, rowMask } = tensor;
  const stride = tensor.rowStride ?? columns;
  const [, rowAxis, columnAxis] = input.axes;
  const height = extent(rowAxis!, job.agentCount, job.taskCount);
  if (columnAxis === undefined) {
    if (rows * columns !== height) throw wrong(input, `${height} values`, `${rows} x ${columns}`);
  } else {
    const width = extent(columnAxis, job.agentCount, job.taskCount);
    // A fixed width may be wider than the job's columns (zeros change nothing there); N and M are exact.
    const fits = typeof columnAxis === 'number' ? columns <= width : columns === width;
    if (rows !== height || !fits) throw wrong(input, `${height} x ${width}`, `${rows} x ${columns}`);
  }
  const needed = rows === 0 ? 0 : (rows - 1) * stride + columns;
  if (stride < columns || data.length < needed) {
    throw wrong(input, `at least ${needed} values in rows ${stride} apart`, `${data.length}`);
  }
  if (rowMask !== undefined && rowMask.length !== rows) throw wrong(input, `a mask of ${rows}`, `${rowMask.length}`);
  if (data instanceof Int32Array !== (input.dtype === 'int32')) throw wrong(input, input.dtype, data.constructor.name);
  return tensor;
}

/** Values of one slot. */
function lengthIn(tensor: TensorSignature, bucket: Bucket): number {
  let length = 1;
  for (let i = 1; i < tensor.axes.length; i++) length *= extent(tensor.axes[i]!, bucket.agents, bucket.tasks);
  return length;
}

function extent(axis: Axis, agents: number, tasks: number): number {
  return axis === 'N' ? agents : axis === 'M' ? tasks : axis === 'B' ? 1 : axis;
}

function wrong(input: TensorSignature, expected: string, received: string): CoordinatorError {
  return internal(`input ${input.name}: expected ${expected}, received ${received}`);
}

function internal(message: string): CoordinatorError {
  return new CoordinatorError('INTERNAL', message);
}
