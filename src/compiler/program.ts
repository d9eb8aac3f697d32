/**
 * A tensor program, the same for every target: named values and ordered stages over them. Plain data apart from
 * typed arrays. Stages exist because a trace has no loops and no top-k; everything else is one `traced` stage after another.
 */
import type { Bucket, Signature, TensorSignature } from '../operators/signature.js';
import { shapeIn } from '../operators/signature.js';
import { type ArrayType, type Graph, sameShape } from './primitives.js';
import { type ArrayFunction, trace } from './trace.js';

export interface TracedStage {
  readonly kind: 'traced';
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly graph: Graph;
}

/** carried = initial; repeat `iterations` times: carried = body(...carried, ...invariants). */
export interface LoopStage {
  readonly kind: 'loop';
  /** At least 1. */
  readonly iterations: number;
  readonly initial: readonly string[];
  readonly invariants: readonly string[];
  /** Names of the carried values after the last iteration. */
  readonly outputs: readonly string[];
  /** Inputs: carried, then invariants. Outputs: carried, of the same types. */
  readonly body: Graph;
}

/** The `count` largest of the last axis, heaviest first, ties to the lower index. Nothing in it is negative. */
export interface TopKStage {
  readonly kind: 'topk';
  readonly input: string;
  readonly count: number;
  /** float32 and int32, the input's shape with the last axis `count`. */
  readonly values: string;
  readonly indices: string;
}

export type Stage = TracedStage | LoopStage | TopKStage;

export interface Program {
  readonly signature: Signature;
  readonly bucket: Bucket;
  readonly stages: readonly Stage[];
  /** Types of inputs, parameters and everything that a stage writes. A name is written once. */
  readonly values: ReadonlyMap<string, ArrayType>;
}

/** Builds a program stage by stage; each call traces its function at once. */
export class ProgramBuilder {
  readonly #signature: Signature;
  readonly #bucket: Bucket;
  readonly #stages: Stage[] = [];
  readonly #values = new Map<string, ArrayType>();

  constructor(signature: Signature, bucket: Bucket) {
    this.#signature = signature;
    this.#bucket = bucket;
    for (const input of signature.inputs) this.#define(input.name, typeIn(input, bucket));
    for (const { name, shape } of signature.parameters) this.#define(name, { shape, dtype: 'float32' });
  }

  traced(inputs: readonly string[], outputs: readonly string[], fn: ArrayFunction): void {
    const graph = trace(
      fn,
      inputs.map((name) => this.typeOf(name)),
    );
    this.#expectCount(outputs, graph);
    outputs.forEach((name, index) => this.#define(name, graph.outputs[index]!.type));
    this.#stages.push({ kind: 'traced', inputs, outputs, graph });
  }

  /** With `iterations` 0 the outputs are the initial values under new names. */
  loop(
    iterations: number,
    initial: readonly string[],
    invariants: readonly string[],
    outputs: readonly string[],
    body: ArrayFunction,
  ): void {
    if (iterations === 0) {
      this.traced(initial, outputs, (...carried) => carried);
      return;
    }
    const graph = trace(
      body,
      [...initial, ...invariants].map((name) => this.typeOf(name)),
    );
    this.#expectCount(outputs, graph);
    outputs.forEach((name, index) => {
      const before = this.typeOf(initial[index]!);
      const after = graph.outputs[index]!.type;
      if (before.dtype !== after.dtype || !sameShape(before.shape, after.shape)) {
        throw new Error(
          `${name}: expected [${before.shape.join(',')}] from the loop body, received [${after.shape.join(',')}]`,
        );
      }
      this.#define(name, after);
    });
    this.#stages.push({ kind: 'loop', iterations, initial, invariants, outputs, body: graph });
  }

  topK(input: string, count: number, values: string, indices: string): void {
    const shape = [...this.typeOf(input).shape.slice(0, -1), count];
    this.#define(values, { shape, dtype: 'float32' });
    this.#define(indices, { shape, dtype: 'int32' });
    this.#stages.push({ kind: 'topk', input, count, values, indices });
  }

  typeOf(name: string): ArrayType {
    const type = this.#values.get(name);
    if (type === undefined) throw new Error(`no stage before this one writes ${name}`);
    return type;
  }

  /** Checks that every output of the signature was written with its type. */
  build(): Program {
    for (const output of this.#signature.outputs) {
      const expected = typeIn(output, this.#bucket);
      const { shape, dtype } = this.typeOf(output.name);
      if (dtype !== expected.dtype || !sameShape(shape, expected.shape)) {
        const text = (type: ArrayType) => `${type.dtype}[${type.shape.join(',')}]`;
        throw new Error(`${output.name}: expected ${text(expected)}, received ${text({ shape, dtype })}`);
      }
    }
    return { signature: this.#signature, bucket: this.#bucket, stages: this.#stages, values: this.#values };
  }

  #define(name: string, type: ArrayType): void {
    if (this.#values.has(name)) throw new Error(`${name} is written twice`);
    this.#values.set(name, type);
  }

  #expectCount(outputs: readonly string[], graph: Graph): void {
    if (outputs.length !== graph.outputs.length) {
      throw new Error(`expected ${outputs.length} results (${outputs.join(', ')}), received ${graph.outputs.length}`);
    }
  }
}

function typeIn(tensor: TensorSignature, bucket: Bucket): ArrayType {
  return { shape: shapeIn(tensor, bucket), dtype: tensor.dtype };
}
