/** Memory that the batches of an engine are packed into, again and again: fresh arrays of megabytes a batch keep the garbage collector busy. */
import { bundlingOf } from '../compiler/bundling.js';
import { shapeIn, type Bucket, type Signature, type TensorData } from '../operators/signature.js';
import { elementCount } from '../pjrt/host-array.js';
import { allocateAligned, hostAlignmentBytes } from '../pjrt/native-memory.js';

/** Larger inputs come seldom enough to have memory of their own. */
const maxBlockBytes = 8 * 1024 * 1024;
/** As many as batches are packed, staged and executed at a time on one device. */
const keptBlocks = 3;

/** What one batch at a time is packed into. */
interface Block {
  readonly memory: Uint8Array<ArrayBuffer>;
  /** Views of the memory. */
  readonly tensors: WeakMap<Signature, Map<string, TensorData[]>>;
}

export class InputArena {
  /** Those that nobody has. */
  readonly #free: Block[] = [];
  readonly #blocks = new WeakMap<ArrayBufferLike, Block>();

  /**
   * Memory for the inputs of a program in this bucket, of any content, or null where they are too large. It starts where plugins take it without
   * a copy, and what travels in a bundle lies as one. The caller's until it is given back; what never is, is garbage like anything else.
   */
  take(signature: Signature, bucket: Bucket): readonly TensorData[] | null {
    const key = `${bucket.batch} ${bucket.agents} ${bucket.tasks}`;
    for (let index = this.#free.length - 1; index >= 0; index--) {
      const known = this.#free[index]!.tensors.get(signature)?.get(key);
      if (known === undefined) continue;
      this.#free.splice(index, 1);
      return known;
    }
    const lengths = signature.inputs.map((input) => elementCount(shapeIn(input, bucket)));
    const starts = new Array<number>(lengths.length);
    const { members, words, single } = bundlingOf(signature.inputs, bucket);
    for (const { position, start } of members) starts[position] = start * Int32Array.BYTES_PER_ELEMENT;
    let bytes = aligned(words * Int32Array.BYTES_PER_ELEMENT);
    for (const position of single) {
      starts[position] = bytes;
      bytes += aligned(lengths[position]! * Float32Array.BYTES_PER_ELEMENT);
    }
    if (bytes > maxBlockBytes) return null;
    const { memory, tensors } = this.#blockOf(bytes);
    const views = signature.inputs.map(({ dtype }, index) => {
      const at = memory.byteOffset + starts[index]!;
      return dtype === 'int32'
        ? new Int32Array(memory.buffer, at, lengths[index])
        : new Float32Array(memory.buffer, at, lengths[index]);
    });
    const byBucket = tensors.get(signature) ?? new Map<string, TensorData[]>();
    tensors.set(signature, byBucket.set(key, views));
    return views;
  }

  /** For whoever took `tensors` and has nothing left that reads or writes them. Anything else is left alone. */
  giveBack(tensors: readonly TensorData[]): void {
    const block = tensors.length === 0 ? undefined : this.#blocks.get(tensors[0]!.buffer);
    if (block === undefined || this.#free.includes(block)) return;
    this.#free.push(block);
    if (this.#free.length > keptBlocks) this.#free.splice(this.#indexOfSmallest(), 1);
  }

  /** A free block of so many bytes, or a new one in the place of one that is too small. */
  #blockOf(bytes: number): Block {
    const fitting = this.#free.findIndex(({ memory }) => memory.length >= bytes);
    if (fitting >= 0) return this.#free.splice(fitting, 1)[0]!;
    if (this.#free.length > 0) this.#free.splice(this.#indexOfSmallest(), 1);
    const block = { memory: allocateAligned(bytes), tensors: new WeakMap<Signature, Map<string, TensorData[]>>() };
    this.#blocks.set(block.memory.buffer, block);
    return block;
  }

  #indexOfSmallest(): number {
    let smallest = 0;
    for (let index = 1; index < this.#free.length; index++)
      if (this.#free[index]!.memory.length < this.#free[smallest]!.memory.length) smallest = index;
    return smallest;
  }
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / hostAlignmentBytes) * hostAlignmentBytes;
}
