/**
 * Memory for the inputs of one program's runs, used again and again. It starts where devices that share the host's memory take it as it is, where
 * arrays of Node's own would be copied; and arrays made for every run count as memory outside of V8's heap, which makes it collect garbage often.
 */
import { shapeIn, type Bucket, type Signature, type TensorData } from '../operators/signature.js';
import { allocateAligned } from '../pjrt/native-memory.js';

/** Sets kept while no run has them: one that is packed while another executes. */
const keptSets = 2;
/** Larger sets are made for each run: packing them costs little beside running them. */
const largestKeptBytes = 16 * 1024 * 1024;

export class InputsMemory {
  readonly #signature: Signature;
  readonly #lengths: readonly number[];
  readonly #setBytes: number;
  readonly #free: (readonly TensorData[])[] = [];
  /** Sets that were taken, by their first array; others are not ours to keep. */
  readonly #taken = new WeakMap<TensorData, readonly TensorData[]>();

  constructor(signature: Signature, bucket: Bucket) {
    this.#signature = signature;
    this.#lengths = signature.inputs.map((input) => shapeIn(input, bucket).reduce((size, axis) => size * axis, 1));
    this.#setBytes = this.#lengths.reduce((sum, length) => sum + length * 4, 0);
  }

  /** What stays allocated at most while nothing runs. */
  get keptBytes(): number {
    return this.#setBytes > largestKeptBytes ? 0 : keptSets * this.#setBytes;
  }

  /** One array for each input, of any content; null where none is kept. */
  take(): readonly TensorData[] | null {
    if (this.#setBytes > largestKeptBytes) return null;
    const set = this.#free.pop() ?? this.#allocate();
    this.#taken.set(set[0]!, set);
    return set;
  }

  /** Nobody may read or write the arrays from now on. What was not taken here is left alone. */
  giveBack(arrays: readonly TensorData[]): void {
    const first = arrays[0]!;
    const set = this.#taken.get(first);
    if (set === undefined) return;
    this.#taken.delete(first);
    if (this.#free.length < keptSets) this.#free.push(set);
  }

  #allocate(): readonly TensorData[] {
    return this.#signature.inputs.map(({ dtype }, index) => {
      const length = this.#lengths[index]!;
      const { buffer, byteOffset } = allocateAligned(length * 4);
      return dtype === 'int32'
        ? new Int32Array(buffer, byteOffset, length)
        : new Float32Array(buffer, byteOffset, length);
    });
  }
}
