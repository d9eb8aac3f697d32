/**
 * What each primitive becomes in StableHLO. One rule per primitive; what has no rule is refused by name. Past 400 lines because the
 * rules are one table.
 */
import { CoordinatorError } from '../errors.js';
import {
  type ArrayType,
  classifyDot,
  type DType,
  type Equation,
  type Operand,
  sizeOf,
  type Variable,
} from './primitives.js';
import { baseType, type StableHloBlock, viewOf, withoutUnits } from './stablehlo-block.js';
import { tensorType } from './stablehlo-types.js';
import { reshapedView, shapeOf, transposed, type View } from './view.js';

/** What a rule sees: one equation, and the values of its operands. */
export interface Site {
  readonly block: StableHloBlock;
  readonly equation: Equation;
  readonly view: (operand: Operand) => View;
  /** The equation that defines the operand, where nothing else reads it. */
  readonly soleDefinition: (operand: Operand) => Equation | undefined;
  /** See `StableHloOptions`. */
  readonly forCpu: boolean;
}

export type Rule = (site: Site) => readonly View[];

export function noRule(what: string): CoordinatorError {
  return new CoordinatorError('COMPILE_FAILED', `the StableHLO lowering has no rule for the primitive ${what}`);
}

/** Type of the value that holds such an array. */
function compactType({ shape, dtype }: ArrayType): string {
  return tensorType({ shape: withoutUnits(shape), dtype });
}

/** `value` is the whole of the variable, without its axes of length 1. */
function compact({ type }: Variable, value: string): View {
  return viewOf(value, type.shape, type.dtype);
}

/** The operands broadcast to the result's shape. */
function broadcastOperands({ block, equation, view }: Site): string[] {
  const { shape } = equation.outputs[0]!.type;
  return equation.inputs.map((input) => block.broadcast(view(input), shape));
}

/** Element by element below the view: the result is seen as the operand is. */
function unary(op: string): Rule {
  return ({ block, equation, view }) => {
    const input = view(equation.inputs[0]!);
    return [{ ...input, base: block.operation(`${op} ${input.base} : ${tensorType(baseType(input))}`, [input.base]) }];
  };
}

/** `types` of the operation by the type of its result; the result's own where none is given. */
function elementwise(op: string, types: (result: ArrayType) => string = compactType): Rule {
  return (site) => {
    const output = site.equation.outputs[0]!;
    const operands = broadcastOperands(site);
    return [compact(output, site.block.operation(`${op} ${operands.join(', ')} : ${types(output.type)}`, operands))];
  };
}

const directions: Record<string, string> = { less: 'LT', less_equal: 'LE', equal: 'EQ', not_equal: 'NE' };

const comparisonTypes: Record<DType, string> = { float32: 'FLOAT', int32: 'SIGNED', bool: 'UNSIGNED' };

function compare(site: Site): readonly View[] {
  const { block, equation } = site;
  const output = equation.outputs[0]!;
  const op = equation.params['op'] as string;
  const direction = directions[op];
  if (direction === undefined) throw noRule(`compare with ${op}`);
  const operands = broadcastOperands(site);
  const { dtype } = equation.inputs[0]!.type;
  const operandType = compactType({ shape: output.type.shape, dtype });
  const types = `(${operandType}, ${operandType}) -> ${compactType(output.type)}`;
  const text = `stablehlo.compare ${direction}, ${operands.join(', ')}, ${comparisonTypes[dtype]} : ${types}`;
  return [compact(output, block.operation(text, operands))];
}

function cast(site: Site): readonly View[] {
  return converted(site, 'stablehlo.convert');
}

function converted({ block, equation, view }: Site, op: string): readonly View[] {
  const input = view(equation.inputs[0]!);
  const { dtype } = equation.outputs[0]!.type;
  if (dtype === input.dtype) return [input];
  const from = baseType(input);
  const types = `(${tensorType(from)}) -> ${tensorType({ ...from, dtype })}`;
  return [{ ...input, dtype, base: block.operation(`${op} ${input.base} : ${types}`, [input.base]) }];
}

/** By jax-js's name: the operation, and the value that changes nothing for float32 and int32. */
const reductions: Record<string, readonly [string, number, number]> = {
  Add: ['stablehlo.add', 0, 0],
  Mul: ['stablehlo.multiply', 1, 1],
  Max: ['stablehlo.maximum', -Infinity, -(2 ** 31)],
  Min: ['stablehlo.minimum', Infinity, 2 ** 31 - 1],
};

/** The base is reduced, so that nothing needs to be transposed first. */
function reduce({ block, equation, view, forCpu }: Site): readonly View[] {
  const gone = equation.params['axis'] as readonly number[];
  const op = equation.params['op'] as string;
  const input = view(equation.inputs[0]!);
  const { base, baseShape, axes, dtype } = input;
  const reduction = reductions[op];
  if (reduction === undefined || dtype === 'bool') throw noRule(`reduce with ${op} of ${dtype}`);
  const dimensions = gone.map((axis) => axes[axis]).filter((axis) => axis !== null && axis !== undefined);
  const left = axes.filter((_, axis) => !gone.includes(axis));
  if (dimensions.length === 0) return [{ ...input, axes: left }];
  const [apply, float, integer] = reduction;
  const initial = block.scalar(dtype === 'float32' ? float : integer, dtype);
  const reduced = (value: string, from: readonly number[], over: readonly number[]): string => {
    const shape = from.filter((_, axis) => !over.includes(axis));
    const types = `(${tensorType({ shape: from, dtype })}, ${tensorType({ shape: [], dtype })}) -> ${tensorType({ shape, dtype })}`;
    const across = over.toSorted((a, b) => a - b).join(', ');
    const text = `stablehlo.reduce(${value} init: ${initial}) applies ${apply} across dimensions = [${across}] : ${types}`;
    return block.operation(text, [value, initial]);
  };
  const shape = baseShape.filter((_, axis) => !dimensions.includes(axis));
  const value = forCpu
    ? reducedInParts(block, baseType(input), base, dimensions, reduced)
    : reduced(base, baseShape, dimensions);
  const place = (axis: number): number => axis - dimensions.filter((dimension) => dimension < axis).length;
  const placed = left.map((axis) => (axis === null ? null : place(axis)));
  return [{ base: value, baseShape: shape, axes: placed, dtype }];
}

/** XLA's CPU compiler cuts reductions of longer axes into windows of this length. */
const longestReduction = 32;
/**
 * It computes with vectors where it reduces an axis of 16 times 16, and element by element where that is longer, so that is reduced in such pieces.
 * Consensus takes 2.3 times as long without them at 512, 2.8 times at 1024, and nearly five times at 5120.
 */
const pieceLength = 256;

/**
 * XLA's CPU compiler takes what it reduces into the loop that reduces it, but not where it has cut that loop up: then
 * everything is written to memory first. So long axes are cut here, with the lanes of a vector as the last part.
 */
function reducedInParts(
  block: StableHloBlock,
  type: ArrayType,
  base: string,
  dimensions: readonly number[],
  reduced: (value: string, from: readonly number[], over: readonly number[]) => string,
): string {
  const pieces = inPieces(type.shape, dimensions);
  let { shape } = pieces;
  let value = shape.length === type.shape.length ? base : block.reshape(base, type, shape);
  for (const dimension of pieces.dimensions.toSorted((a, b) => b - a)) {
    for (let first = firstPart(shape[dimension]!); first > 1; first = firstPart(shape[dimension]!)) {
      const parts = shape.toSpliced(dimension, 1, first, shape[dimension]! / first);
      value = reduced(block.reshape(value, { ...type, shape }, parts), parts, [dimension]);
      shape = parts.toSpliced(dimension, 1);
      // XLA would join the reductions again.
      value = block.operation(`stablehlo.optimization_barrier ${value} : ${tensorType({ ...type, shape })}`, [value]);
    }
  }
  return reduced(value, shape, pieces.dimensions);
}

/** The shape with every long one of the axes as two, a number of pieces and one of them; and all that the axes have become. */
function inPieces(
  shape: readonly number[],
  dimensions: readonly number[],
): { readonly shape: readonly number[]; readonly dimensions: readonly number[] } {
  const cut: number[] = [];
  const reducedAxes: number[] = [];
  for (const [dimension, length] of shape.entries()) {
    const isReduced = dimensions.includes(dimension);
    if (isReduced) reducedAxes.push(cut.length);
    if (isReduced && length > pieceLength && length % pieceLength === 0) {
      cut.push(length / pieceLength);
      reducedAxes.push(cut.length);
      cut.push(pieceLength);
    } else cut.push(length);
  }
  return { shape: cut, dimensions: reducedAxes };
}

/** Length of the first of two parts of an axis, the one to be reduced at once; 1 where the axis is short or has no such part. */
function firstPart(length: number): number {
  if (length <= longestReduction) return 1;
  for (let first = Math.min(longestReduction, Math.floor(length / 16)); first > 1; first--)
    if (length % first === 0) return first;
  return 1;
}

/**
 * One side of a product, with the axes of the broadcast shape, the last of them summed. A summed axis of length 1 is
 * the last axis of the base: a product needs one.
 */
function dotSide(block: StableHloBlock, view: View, shape: readonly number[]): View {
  const seen = reshapedView(view, shape)!;
  if (shape.at(-1) !== 1) return seen;
  const baseShape = [...seen.baseShape, 1];
  return {
    ...seen,
    base: block.reshape(seen.base, baseType(seen), baseShape),
    baseShape,
    axes: [...seen.axes.slice(0, -1), seen.baseShape.length],
  };
}

/** Whether the summed axis stands behind the axes that this side has for itself, or before them. */
function summedLast(side: View, free: readonly number[]): boolean {
  return free.every((axis) => side.axes[axis]! < side.axes.at(-1)!);
}

function summedFirst(side: View, free: readonly number[]): boolean {
  return free.every((axis) => side.axes[axis]! > side.axes.at(-1)!);
}

/**
 * `dot_general` on the bases: which axes are summed, shared or of one side is said by number. The sides are exchanged
 * where that brings them nearer to rows times columns, which every compiler multiplies without transposing first.
 * HIGHEST, because a TPU otherwise multiplies in bfloat16 and a GPU in TF32.
 */
function dot({ block, equation, view }: Site): readonly View[] {
  const [x, y] = equation.inputs as [Operand, Operand];
  const axes = classifyDot(x.type.shape, y.type.shape);
  const summed = axes.leftShape.length - 1;
  const a = { side: dotSide(block, view(x), axes.leftShape), free: axes.left };
  const b = { side: dotSide(block, view(y), axes.rightShape), free: axes.right };
  const straight = Number(summedLast(a.side, a.free)) + Number(summedFirst(b.side, b.free));
  const exchanged = Number(summedLast(b.side, b.free)) + Number(summedFirst(a.side, a.free));
  const [left, right] = straight >= exchanged ? [a, b] : [b, a];

  const batch = axes.batch.filter((axis) => axes.leftShape[axis] !== 1);
  // Axes of the result's base, as axes of the trace's result.
  const order = [...batch, ...byPlace(left), ...byPlace(right)];
  const output = equation.outputs[0]!.type.shape;
  const baseShape = order.map((axis) => output[axis]!);
  const pairs = (list: readonly number[]): string =>
    [left, right].map(({ side }) => `[${list.map((axis) => side.axes[axis]!).join(', ')}]`).join(' x ');
  const attributes = [
    ...(batch.length === 0 ? [] : [`batching_dims = ${pairs(batch)}`]),
    `contracting_dims = ${pairs([summed])}`,
    'precision = [HIGHEST, HIGHEST]',
  ];
  const operands = [left.side.base, right.side.base];
  const types = [left, right].map(({ side }) => tensorType(baseType(side))).join(', ');
  const result = tensorType({ shape: baseShape, dtype: 'float32' });
  const text = `stablehlo.dot_general ${[...operands, ...attributes].join(', ')} : (${types}) -> ${result}`;
  const placed = output.map((length, axis) => (length === 1 ? null : order.indexOf(axis)));
  return [{ base: block.operation(text, operands), baseShape, axes: placed, dtype: 'float32' }];
}

/** A side's own axes in the order in which its base has them. */
function byPlace({ side, free }: { readonly side: View; readonly free: readonly number[] }): number[] {
  return free.toSorted((i, j) => side.axes[i]! - side.axes[j]!);
}

function reshape({ block, equation, view }: Site): readonly View[] {
  const output = equation.outputs[0]!;
  const input = view(equation.inputs[0]!);
  const { shape } = output.type;
  return [reshapedView(input, shape) ?? compact(output, block.shaped(input, withoutUnits(shape)))];
}

function broadcast({ block, equation, view }: Site): readonly View[] {
  const output = equation.outputs[0]!;
  const target = output.type.shape;
  const inserted = equation.params['axis'] as readonly number[];
  const [input] = equation.inputs as [Operand];
  const aligned = target.map((length, axis) => (inserted.includes(axis) ? 1 : length));
  const kept = input.type.shape.length === target.length;
  const source = kept ? view(input) : reshapedView(view(input), aligned)!;
  return [compact(output, block.broadcast(source, target))];
}

/** An operation on whole arrays with all their axes, which it names by number. `text` stands behind the operands. */
function whole(op: string, text: (params: Equation['params']) => string, fill: number | null = null): Rule {
  return ({ block, equation, view }) => {
    const output = equation.outputs[0]!;
    const { dtype } = output.type;
    const operands = equation.inputs.map((input) => block.shaped(view(input), input.type.shape));
    const types = equation.inputs.map((input) => tensorType(input.type));
    if (fill !== null) {
      operands.push(block.scalar(fill, dtype));
      types.push(tensorType({ shape: [], dtype }));
    }
    const result = tensorType(output.type);
    const signature = op === 'stablehlo.reverse' ? result : `(${types.join(', ')}) -> ${result}`;
    const value = block.operation(`${op} ${operands.join(', ')}${text(equation.params)} : ${signature}`, operands);
    return [block.squeezed(value, output.type)];
  };
}

type Pairs = readonly (readonly [number, number])[];

function padding(params: Equation['params']): string {
  const width = params['width'] as Pairs;
  const list = (of: (pair: readonly [number, number]) => number): string => `[${width.map(of).join(', ')}]`;
  return `, low = ${list(([low]) => low)}, high = ${list(([, high]) => high)}, interior = ${list(() => 0)}`;
}

/** A matrix, one row for each line along the last axis of an array. */
export interface Rows {
  readonly value: string;
  readonly shape: readonly [number, number];
  readonly dtype: DType;
}

export function rowsOf(block: StableHloBlock, input: View): Rows {
  const length = shapeOf(input).at(-1)!;
  const shape = [sizeOf(shapeOf(input)) / length, length] as const;
  return { value: block.shaped(input, shape), shape, dtype: input.dtype };
}

/** The rows seen as an array of `shape`. */
export function arrayOf(block: StableHloBlock, rows: Rows, shape: readonly number[]): View {
  return viewOf(block.reshape(rows.value, rows, withoutUnits(shape)), shape, rows.dtype);
}

/** The `count` largest of each row, largest first and equal ones by rising index: the values, and their int32 indices. */
export function largestOf(block: StableHloBlock, rows: Rows, count: number): readonly [Rows, Rows] {
  const shape = [rows.shape[0], count] as const;
  const found: readonly Omit<Rows, 'value'>[] = [
    { shape, dtype: rows.dtype },
    { shape, dtype: 'int32' },
  ];
  const types = `${tensorType(rows)} -> (${found.map(tensorType).join(', ')})`;
  const [values, indices] = block.operations([`chlo.top_k(${rows.value}, k = ${count}) : ${types}`], [rows.value], 2);
  return [
    { ...found[0]!, value: values! },
    { ...found[1]!, value: indices! },
  ];
}

/** Each row in rising order, and with `indexed` where each element stood; equal elements stay in their order. */
function sortedRows(block: StableHloBlock, input: View, indexed: boolean): Rows[] {
  const rows = [rowsOf(block, input)];
  if (indexed) {
    const places = { shape: rows[0]!.shape, dtype: 'int32' } as const;
    rows.push({ ...places, value: block.operation(`stablehlo.iota dim = 1 : ${tensorType(places)}`, []) });
  }
  const operands = rows.map(({ value }) => value);
  const types = rows.map(tensorType);
  const elements = rows.map(({ dtype }) => tensorType({ shape: [], dtype }));
  const names = elements.flatMap((type) => [type, type]).map((type) => ({ name: block.newName(), type }));
  const [first, second] = names;
  const before = block.newName();
  // TOTALORDER is the comparison by which compilers know a sort; it also gives NaN a place.
  const kind = input.dtype === 'float32' ? 'TOTALORDER' : comparisonTypes[input.dtype];
  const compared = `${first!.name}, ${second!.name}, ${kind} : (${elements[0]!}, ${elements[0]!}) -> tensor<i1>`;
  const lines = [
    `"stablehlo.sort"(${operands.join(', ')}) <{dimension = 1 : i64, is_stable = ${indexed}}> ({`,
    `^bb0(${names.map(({ name, type }) => `${name}: ${type}`).join(', ')}):`,
    `  ${before} = stablehlo.compare LT, ${compared}`,
    `  stablehlo.return ${before} : tensor<i1>`,
    `}) : (${types.join(', ')}) -> ${types.length === 1 ? types[0]! : `(${types.join(', ')})`}`,
  ];
  const results = block.operations(lines, operands, rows.length);
  return rows.map((row, index) => ({ ...row, value: results[index]! }));
}

function sort(indexed: boolean): Rule {
  return ({ block, equation, view }) => {
    const rows = sortedRows(block, view(equation.inputs[0]!), indexed);
    return equation.outputs.map((output, index) => arrayOf(block, rows[index]!, output.type.shape));
  };
}

const slice = whole('stablehlo.slice', (params) => {
  const bounds = params['slice'] as Pairs;
  return ` [${bounds.map(([from, to]) => `${from}:${to}`).join(', ')}]`;
});

/**
 * Cuts axes. Columns of sorted rows that nothing else reads are selected: XLA's CPU plugin sorts by calling a comparison for
 * every pair. Ten iterations of consensus with medians so found take 0.21 instead of 0.39 ms at 128 agents and 2.3 instead
 * of 4.0 ms at 1024. (The negation between keeps XLA from joining the two cuts, after which it would sort again.)
 */
function shrink(site: Site): readonly View[] {
  const { block, equation, view, soleDefinition } = site;
  const [input] = equation.inputs as [Operand];
  const { shape, dtype } = input.type;
  const bounds = equation.params['slice'] as Pairs;
  const [from, to] = bounds.at(-1)!;
  const length = shape.at(-1)!;
  const cutsRows = bounds.slice(0, -1).every(([low, high], axis) => low === 0 && high === shape[axis]);
  const sorting = soleDefinition(input);
  if (sorting?.primitive !== 'sort' || dtype !== 'float32' || !cutsRows || to === length) return slice(site);
  // The smallest `to` of each row, rising, as the largest of the negated row.
  const rows = rowsOf(block, view(sorting.inputs[0]!));
  const [values] = largestOf(block, negated(block, rows), to);
  const window = columnsOf(block, negated(block, values), from, to);
  return [arrayOf(block, window, equation.outputs[0]!.type.shape)];
}

function negated(block: StableHloBlock, rows: Rows): Rows {
  return { ...rows, value: block.operation(`stablehlo.negate ${rows.value} : ${tensorType(rows)}`, [rows.value]) };
}

function columnsOf(block: StableHloBlock, rows: Rows, from: number, to: number): Rows {
  const shape = [rows.shape[0], to - from] as const;
  if (to - from === rows.shape[1]) return rows;
  const types = `(${tensorType(rows)}) -> ${tensorType({ ...rows, shape })}`;
  const text = `stablehlo.slice ${rows.value} [0:${shape[0]}, ${from}:${to}] : ${types}`;
  return { ...rows, shape, value: block.operation(text, [rows.value]) };
}

export const rules: Readonly<Record<string, Rule>> = {
  add: elementwise('stablehlo.add'),
  sub: elementwise('stablehlo.subtract'),
  mul: elementwise('stablehlo.multiply'),
  div: elementwise('stablehlo.divide'),
  min: elementwise('stablehlo.minimum'),
  max: elementwise('stablehlo.maximum'),
  neg: unary('stablehlo.negate'),
  exp: unary('stablehlo.exponential'),
  log: unary('stablehlo.log'),
  sqrt: unary('stablehlo.sqrt'),
  floor: unary('stablehlo.floor'),
  ceil: unary('stablehlo.ceil'),
  reciprocal: ({ block, equation, view }) => {
    const input = view(equation.inputs[0]!);
    const one = block.broadcast(viewOf(block.scalar(1, input.dtype), [], input.dtype), input.baseShape);
    const text = `stablehlo.divide ${one}, ${input.base} : ${tensorType(baseType(input))}`;
    return [{ ...input, base: block.operation(text, [one, input.base]) }];
  },
  compare,
  where: elementwise('stablehlo.select', (type) => `${compactType({ ...type, dtype: 'bool' })}, ${compactType(type)}`),
  cast,
  bitcast: (site) => converted(site, 'stablehlo.bitcast_convert'),
  reduce,
  dot,
  reshape,
  broadcast,
  transpose: ({ equation, view }) => [transposed(view(equation.inputs[0]!), equation.params['perm'] as number[])],
  shrink,
  flip: whole('stablehlo.reverse', (params) => `, dims = [${(params['axis'] as readonly number[]).join(', ')}]`),
  pad: whole('stablehlo.pad', padding, 0),
  concatenate: whole('stablehlo.concatenate', (params) => `, dim = ${params['axis'] as number}`),
  sort: sort(false),
  argsort: sort(true),
};
