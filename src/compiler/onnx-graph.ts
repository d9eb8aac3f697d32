/**
 * A graph under construction: nodes with common subexpressions shared, scalars and shapes as initializers, and arrays
 * seen through lazy transpositions and unit axes, so that what a trace spells out as reshape and transpose costs a
 * node only where the data must really move.
 */
import {
  type Attribute,
  attributeMessage,
  type GraphMessage,
  type NodeMessage,
  type OnnxDType,
  type TensorMessage,
  tensorMessage,
  type ValueMessage,
} from './onnx-model.js';
import { type DType, sameShape, sizeOf } from './primitives.js';
import { shapeOf, type View } from './view.js';

type Attributes = Readonly<Record<string, Attribute>>;

interface PendingNode {
  readonly opType: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attributes: Attributes;
}

export class OnnxGraph {
  /** Graph of the loop's surroundings, whose values a body may read; null for the model's own graph. */
  readonly #parent: OnnxGraph | null;
  readonly #nodes: PendingNode[] = [];
  readonly #known = new Map<string, readonly string[]>();
  readonly #initializers: Map<string, TensorMessage>;
  readonly #names: { next: number };
  readonly #own = new Set<string>();

  constructor(parent: OnnxGraph | null = null) {
    this.#parent = parent;
    this.#initializers = parent === null ? new Map<string, TensorMessage>() : parent.#initializers;
    this.#names = parent === null ? { next: 0 } : parent.#names;
  }

  /** A name that nothing has yet, for an input of a loop body. */
  newInput(): string {
    const name = `v${this.#names.next++}`;
    this.#own.add(name);
    return name;
  }

  /**
   * Names of the node's outputs. An equal node is reused; one that reads only values of the surroundings is placed
   * there, out of the loop. All operations written are pure, so both are safe.
   */
  node(opType: string, input: readonly string[], attributes: Attributes = {}, outputs = 1): readonly string[] {
    if (this.#parent !== null && !('body' in attributes) && !input.some((name) => this.#own.has(name))) {
      return this.#parent.node(opType, input, attributes, outputs);
    }
    const key = 'body' in attributes ? null : JSON.stringify([opType, input, attributes]);
    const known = key === null ? undefined : this.#known.get(key);
    if (known !== undefined) return known;
    const output = Array.from({ length: outputs }, () => `v${this.#names.next++}`);
    for (const name of output) this.#own.add(name);
    this.#nodes.push({ opType, input, output, attributes });
    if (key !== null) this.#known.set(key, output);
    return output;
  }

  /** A node of this graph even where an equal one exists. */
  fresh(opType: string, input: readonly string[]): string {
    const name = this.newInput();
    this.#nodes.push({ opType, input, output: [name], attributes: {} });
    return name;
  }

  /** A constant; equal ones are shared. Constants of loop bodies live in the model's own graph. */
  constant(
    dims: readonly number[],
    dtype: OnnxDType,
    data: Float32Array | Int32Array | BigInt64Array | Uint8Array,
  ): string {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64');
    const key = `${dtype}[${dims.join(',')}]${bytes}`;
    const name = this.#initializers.get(key)?.name ?? `c${this.#initializers.size}`;
    if (!this.#initializers.has(key)) this.#initializers.set(key, tensorMessage(name, dims, dtype, data));
    return name;
  }

  /** A weight under its own name. */
  parameter(name: string, dims: readonly number[], data: Float32Array): void {
    this.#initializers.set(name, tensorMessage(name, dims, 'float32', data));
  }

  /** Axes, shapes and sizes, as the format wants them. */
  integers(values: readonly number[]): string {
    return this.constant([values.length], 'int64', BigInt64Array.from(values, BigInt));
  }

  scalar(value: number, dtype: DType): string {
    const data =
      dtype === 'float32' ? Float32Array.of(value) : dtype === 'int32' ? Int32Array.of(value) : Uint8Array.of(value);
    return this.constant([], dtype, data);
  }

  /** A value whose own shape is the view's. */
  materialise(view: View): string {
    const shape = shapeOf(view);
    let { base, baseShape } = view;
    const order = view.axes.filter((axis) => axis !== null && baseShape[axis] !== 1) as number[];
    if (order.some((axis, index) => index > 0 && axis < order[index - 1]!)) {
      const rest = baseShape.map((_, axis) => axis).filter((axis) => !view.axes.includes(axis));
      // Axes of length 1 that the view has no name for fill its new axes first: then no Reshape is needed.
      const filled = view.axes.map((axis) => axis ?? rest.shift() ?? null).filter((axis) => axis !== null);
      const permutation = [...filled, ...rest];
      base = this.node('Transpose', [base], { perm: { ints: permutation } })[0]!;
      baseShape = permutation.map((axis) => baseShape[axis]!);
    }
    return sameShape(baseShape, shape) ? base : this.reshape(base, shape);
  }

  reshape(value: string, shape: readonly number[]): string {
    return this.node('Reshape', [value, this.integers(shape)])[0]!;
  }

  /** Leading axes of length 1 left off where that avoids a node: broadcasting puts them back. */
  operand(view: View): { readonly value: string; readonly shape: readonly number[] } {
    const shape = shapeOf(view);
    const extra = shape.length - view.baseShape.length;
    const same = extra >= 0 && sizeOf(shape.slice(0, extra)) === 1 && sameShape(shape.slice(extra), view.baseShape);
    const inOrder = view.axes.slice(Math.max(extra, 0)).every((axis, i) => axis === i || view.baseShape[i] === 1);
    return same && inOrder ? { value: view.base, shape: view.baseShape } : { value: this.materialise(view), shape };
  }

  /**
   * The finished graph. `rename` gives published names to values that a node of this graph writes. Nodes and
   * initializers that no output needs are left out.
   */
  finish(
    name: string,
    input: readonly ValueMessage[],
    output: readonly ValueMessage[],
    rename: ReadonlyMap<string, string>,
  ): GraphMessage {
    const renamed = (value: string): string => rename.get(value) ?? value;
    const live = new Set(output.map((value) => value.name));
    const node: NodeMessage[] = [];
    for (const pending of this.#nodes.toReversed()) {
      const written = pending.output.map(renamed);
      if (!written.some((value) => live.has(value))) continue;
      const message: NodeMessage = {
        input: pending.input.map(renamed),
        output: written,
        name: `${pending.opType}_${written[0]!}`,
        opType: pending.opType,
        attribute: Object.entries(pending.attributes).map(([key, value]) =>
          attributeMessage(key, withNames(value, rename)),
        ),
      };
      message.input.forEach((value) => live.add(value));
      for (const attribute of message.attribute)
        if ('g' in attribute) namesRead(attribute.g).forEach((n) => live.add(n));
      node.push(message);
    }
    const initializer =
      this.#parent === null ? [...this.#initializers.values()].filter((tensor) => live.has(tensor.name)) : [];
    return { node: node.reverse(), name, initializer, input, output };
  }
}

/** Everything that a body's nodes and outputs mention: a superset of what it reads from its surroundings. */
function namesRead(graph: GraphMessage): string[] {
  return [...graph.node.flatMap((node) => node.input), ...graph.output.map((value) => value.name)];
}

function withNames(attribute: Attribute, rename: ReadonlyMap<string, string>): Attribute {
  if (!('g' in attribute)) return attribute;
  const renamed = (value: string): string => rename.get(value) ?? value;
  const { g } = attribute;
  const node = g.node.map((message) => ({ ...message, input: message.input.map(renamed) }));
  return { g: { ...g, node } };
}
