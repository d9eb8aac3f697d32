/** Memory that every batch of an engine is packed into, one after another: fresh arrays of megabytes a batch keep the garbage collector busy. */
import { shapeIn, type Bucket, type Signature, type TensorData } from '../operators/signature.js';

/** Larger inputs come seldom enough to have memory of their own. */
const maxArenaBytes = 8 * 1024 * 1024;
/** Where a tensor may start: a cache line of its own. */
const alignmentBytes = 64;

export class InputArena {
  #memory = new ArrayBuffer(0);
  /** Views of the memory as it is now. */
  #tensors = new WeakMap<Signature, Map<string, TensorData[]>>();

  /**
   * The inputs of a program in this bucket, of any content, or null where they are too large. All that was handed out before
   * is thereby given up: whoever packs into it has it read before anybody else packs.
   */
  take(signature: Signature, bucket: Bucket): readonly TensorData[] | null {
    const key = `${bucket.batch} ${bucket.agents} ${bucket.tasks}`;
    const known = this.#tensors.get(signature)?.get(key);
    if (known !== undefined) return known;
    const lengths = signature.inputs.map((input) => shapeIn(input, bucket).reduce((size, axis) => size * axis, 1));
    const starts: number[] = [];
    let bytes = 0;
    for (const length of lengths) {
      starts.push(bytes);
      bytes += Math.ceil((length * 4) / alignmentBytes) * alignmentBytes;
    }
    if (bytes > maxArenaBytes) return null;
    if (bytes > this.#memory.byteLength) {
      this.#memory = new ArrayBuffer(bytes);
      this.#tensors = new WeakMap();
    }
    const tensors = signature.inputs.map(({ dtype }, index) =>
      dtype === 'int32'
        ? new Int32Array(this.#memory, starts[index], lengths[index])
        : new Float32Array(this.#memory, starts[index], lengths[index]),
    );
    const byBucket = this.#tensors.get(signature) ?? new Map<string, TensorData[]>();
    this.#tensors.set(signature, byBucket.set(key, tensors));
    return tensors;
  }

  /** Whether the tensors lie in the arena. */
  holds(tensors: readonly TensorData[]): boolean {
    return tensors.length > 0 && tensors[0]!.buffer === this.#memory;
  }
}
