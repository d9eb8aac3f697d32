/**
 * Which of a program's tensors travel between host and device in one array. Handing over a tensor costs the event loop and the device
 * the same few calls whatever its size, and a program has a dozen small ones on either side.
 *
 * A bundle is an array of 32-bit words that holds its members' bits one after another, each row-major and without gaps. Its element
 * type is int32 whatever they are: devices may flush small floats, never words.
 */
import { shapeIn, type Bucket, type TensorData, type TensorSignature } from '../operators/signature.js';
import { sizeOf } from './primitives.js';

export interface BundleMember {
  /** Of the tensor among the signature's inputs or outputs. */
  readonly position: number;
  readonly dtype: TensorSignature['dtype'];
  /** In words. */
  readonly start: number;
  readonly length: number;
}

/** How the inputs or the outputs of a program travel: the bundle first, where there is one, then the others. */
export interface Bundling {
  /** In order of position. Empty: there is no bundle; never one alone. */
  readonly members: readonly BundleMember[];
  /** Of the bundle, in words. */
  readonly words: number;
  /** Positions of the tensors that travel by themselves, in order. */
  readonly single: readonly number[];
}

/** 64 KiB. A larger tensor is copied on the device to get into a bundle or out of it, which costs more than a call. */
const largestMemberWords = 2 ** 14;
/** 256 KiB: what is copied on the event loop, see `PjrtBuffer.copyToHost`. */
const largestBundleWords = 2 ** 16;

export function bundlingOf(tensors: readonly TensorSignature[], bucket: Bucket): Bundling {
  const members: BundleMember[] = [];
  const single: number[] = [];
  let words = 0;
  tensors.forEach((tensor, position) => {
    const length = sizeOf(shapeIn(tensor, bucket));
    if (length > largestMemberWords || words + length > largestBundleWords) {
      single.push(position);
      return;
    }
    members.push({ position, dtype: tensor.dtype, start: words, length });
    words += length;
  });
  if (members.length > 1) return { members, words, single };
  return { members: [], words: 0, single: tensors.map((_, position) => position) };
}

/** Shapes of what travels. */
export function travellingShapes(
  { members, words, single }: Bundling,
  tensors: readonly TensorSignature[],
  bucket: Bucket,
): (readonly number[])[] {
  const shapes = single.map((position) => shapeIn(tensors[position]!, bucket));
  return members.length === 0 ? shapes : [[words], ...shapes];
}

/**
 * `tensors` as they travel. The bundle is a view of their memory where its members lie in it one after another, as `InputArena` lays them, and else
 * a copy.
 */
export function bundled({ members, words, single }: Bundling, tensors: readonly TensorData[]): TensorData[] {
  const travelling: TensorData[] = [];
  if (members.length > 0) {
    const { buffer, byteOffset } = tensors[members[0]!.position]!;
    const liesInOrder = members.every(({ position, start }) => {
      const tensor = tensors[position]!;
      return tensor.buffer === buffer && tensor.byteOffset === byteOffset + start * Int32Array.BYTES_PER_ELEMENT;
    });
    travelling.push(liesInOrder ? new Int32Array(buffer, byteOffset, words) : copyOf(members, words, tensors));
  }
  for (const position of single) travelling.push(tensors[position]!);
  return travelling;
}

function copyOf(members: readonly BundleMember[], words: number, tensors: readonly TensorData[]): Int32Array {
  const bundle = new Int32Array(words);
  for (const { position, start } of members) {
    const { buffer, byteOffset, length } = tensors[position]!;
    bundle.set(new Int32Array(buffer, byteOffset, length), start);
  }
  return bundle;
}

/** What travelled, as the tensors of the signature: views of the bundle's memory, and the others themselves. */
export function unbundled({ members, single }: Bundling, travelled: readonly TensorData[]): TensorData[] {
  const tensors = new Array<TensorData>(members.length + single.length);
  const offset = members.length > 0 ? 1 : 0;
  single.forEach((position, index) => (tensors[position] = travelled[index + offset]!));
  if (members.length === 0) return tensors;
  const { buffer, byteOffset } = travelled[0]!;
  for (const { position, dtype, start, length } of members) {
    const at = byteOffset + start * Int32Array.BYTES_PER_ELEMENT;
    tensors[position] = dtype === 'int32' ? new Int32Array(buffer, at, length) : new Float32Array(buffer, at, length);
  }
  return tensors;
}
