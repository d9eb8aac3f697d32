/**
 * A block of StableHLO under construction: operations with common subexpressions shared, and arrays seen through lazy
 * transpositions. A region's block reads its own arguments alone, never the values around it.
 *
 * No value has an axis of length 1, but for what comes in and goes out; only views have them. XLA would fold a bitcast
 * between [1,N,M] and [N,M] into the product of a vector with the matrix and write that as a plain loop, not as a call of
 * its matrix library: at N = M = 1024 such a product takes 2 ms instead of 0.2.
 */
import { type ArrayType, type Constant, type DType, sameShape } from './primitives.js';
import { denseText, elementText, tensorType } from './stablehlo-types.js';
import { shapeOf, type View } from './view.js';

interface Operation {
  readonly result: string;
  readonly results: number;
  readonly operands: readonly string[];
  /** Without the name of the result. The lines of regions carry their own indentation. */
  readonly lines: readonly string[];
}

const indentation = '  ';

export class StableHloBlock {
  readonly #names: { next: number };
  readonly #operations: Operation[] = [];
  readonly #known = new Map<string, Operation>();

  constructor(names: { next: number } = { next: 0 }) {
    this.#names = names;
  }

  /** An empty block for a region of one of this block's operations. Names are unique in the whole function. */
  region(): StableHloBlock {
    return new StableHloBlock(this.#names);
  }

  newName(): string {
    return `%v${this.#names.next++}`;
  }

  /** The result of an operation. An equal one is reused: all operations written are pure. */
  operation(text: string, operands: readonly string[]): string {
    return this.#add([text], operands, 1).result;
  }

  operations(lines: readonly string[], operands: readonly string[], results: number): readonly string[] {
    const { result } = this.#add(lines, operands, results);
    return results === 1 ? [result] : Array.from({ length: results }, (_, index) => `${result}#${index}`);
  }

  #add(lines: readonly string[], operands: readonly string[], results: number): Operation {
    const key = lines.length === 1 ? lines[0]! : null;
    const known = key === null ? undefined : this.#known.get(key);
    if (known !== undefined) return known;
    const operation = { result: this.newName(), results, operands, lines };
    this.#operations.push(operation);
    if (key !== null) this.#known.set(key, operation);
    return operation;
  }

  scalar(value: number, dtype: DType): string {
    const type = tensorType({ shape: [], dtype });
    return this.operation(`stablehlo.constant dense<${elementText(value, dtype)}> : ${type}`, []);
  }

  constant({ variable: { type }, data }: Constant): View {
    const stored = { ...type, shape: withoutUnits(type.shape) };
    const value = this.operation(`stablehlo.constant ${denseText(data, stored)} : ${tensorType(stored)}`, []);
    return viewOf(value, type.shape, type.dtype);
  }

  /** A view of a value that has all axes of `shape`, those of length 1 too. */
  squeezed(value: string, { shape, dtype }: ArrayType): View {
    return viewOf(this.reshape(value, { shape, dtype }, withoutUnits(shape)), shape, dtype);
  }

  /** A value of the view's elements, without axes of length 1. */
  compact(view: View): string {
    return this.broadcast(view, shapeOf(view));
  }

  /** A value of the view's elements in `shape`, which has as many. */
  shaped(view: View, shape: readonly number[]): string {
    return this.reshape(this.compact(view), { shape: withoutUnits(shapeOf(view)), dtype: view.dtype }, shape);
  }

  /** A value of shape `target`, but for its axes of length 1, to which the view's shape broadcasts as in NumPy. */
  broadcast(view: View, target: readonly number[]): string {
    const { base, baseShape, axes, dtype } = this.#inOrder(view);
    const shape = withoutUnits(target);
    if (sameShape(baseShape, shape)) return base;
    const offset = target.length - axes.length;
    const places = [...axes.keys()].filter((axis) => axes[axis] !== null).map((axis) => axis + offset);
    const dims = places.map((place) => withoutUnits(target.slice(0, place)).length);
    const types = `(${tensorType({ shape: baseShape, dtype })}) -> ${tensorType({ shape, dtype })}`;
    return this.operation(`stablehlo.broadcast_in_dim ${base}, dims = [${dims.join(', ')}] : ${types}`, [base]);
  }

  reshape(value: string, from: ArrayType, shape: readonly number[]): string {
    if (sameShape(from.shape, shape)) return value;
    const types = `(${tensorType(from)}) -> ${tensorType({ ...from, shape })}`;
    return this.operation(`stablehlo.reshape ${value} : ${types}`, [value]);
  }

  /** The same view of a base whose axes stand in the view's order. */
  #inOrder(view: View): View {
    const { base, baseShape, axes, dtype } = view;
    const permutation = axes.filter((axis) => axis !== null);
    if (permutation.every((axis, index) => axis === index)) return view;
    const shape = permutation.map((axis) => baseShape[axis]!);
    const types = `(${tensorType(baseType(view))}) -> ${tensorType({ shape, dtype })}`;
    const value = this.operation(`stablehlo.transpose ${base}, dims = [${permutation.join(', ')}] : ${types}`, [base]);
    return viewOf(value, shapeOf(view), dtype);
  }

  /** Lines of the operations that `outputs` need, in order, each indented by `depth` steps. */
  lines(outputs: readonly string[], depth: number): string[] {
    const nameOf = (value: string): string => value.replace(/#.*/, '');
    const live = new Set(outputs.map(nameOf));
    const blocks: string[][] = [];
    for (const { result, results, operands, lines } of this.#operations.toReversed()) {
      if (!live.has(result)) continue;
      for (const operand of operands) live.add(nameOf(operand));
      const [first, ...rest] = lines;
      const named = `${result}${results === 1 ? '' : `:${results}`} = ${first!}`;
      blocks.push([named, ...rest].map((line) => indentation.repeat(depth) + line));
    }
    return blocks.reverse().flat();
  }
}

/** Type of the value that the view looks at. */
export function baseType({ baseShape, dtype }: View): ArrayType {
  return { shape: baseShape, dtype };
}

export function withoutUnits(shape: readonly number[]): number[] {
  return shape.filter((length) => length !== 1);
}

/** A value that has the axes of `shape` longer than 1, seen with all of them. */
export function viewOf(value: string, shape: readonly number[], dtype: DType): View {
  let next = 0;
  const axes = shape.map((length) => (length === 1 ? null : next++));
  return { base: value, baseShape: withoutUnits(shape), axes, dtype };
}
