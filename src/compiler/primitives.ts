/**
 * What every target shares: a traced function as plain data (`Graph`), and the facts about primitives that each
 * lowering needs. The primitives are jax-js's own, with two added by `normalise` because both targets have them as
 * one instruction: `sub` and `div`.
 */

export type DType = 'float32' | 'int32' | 'bool';

export interface ArrayType {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

export interface Variable {
  readonly kind: 'variable';
  /** Unique in its graph and dense from 0 in order of definition: equal traces have equal ids. */
  readonly id: number;
  readonly type: ArrayType;
}

/** A scalar written into the program. */
export interface Literal {
  readonly kind: 'literal';
  readonly value: number;
  readonly type: ArrayType;
}

export type Operand = Variable | Literal;

export interface Equation {
  readonly primitive: string;
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Variable[];
  /** As jax-js names them; plain data. */
  readonly params: Readonly<Record<string, unknown>>;
}

export interface Constant {
  readonly variable: Variable;
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** A function of arrays: each equation reads what stands above it. Owns all its memory; never written to. */
export interface Graph {
  readonly inputs: readonly Variable[];
  readonly constants: readonly Constant[];
  readonly equations: readonly Equation[];
  readonly outputs: readonly Operand[];
}

/** For each variable, how many times it is read (an output counts as one read). */
export function countUses(graph: Graph): Map<Variable, number> {
  const uses = new Map<Variable, number>();
  const read = (operand: Operand): void => {
    if (operand.kind === 'variable') uses.set(operand, (uses.get(operand) ?? 0) + 1);
  };
  for (const equation of graph.equations) equation.inputs.forEach(read);
  graph.outputs.forEach(read);
  return uses;
}

/** The equation that defines each variable; inputs and constants have none. */
export function definitions(graph: Graph): Map<Operand, Equation> {
  const defining = new Map<Operand, Equation>();
  for (const equation of graph.equations) for (const output of equation.outputs) defining.set(output, equation);
  return defining;
}

/**
 * Rewrites x + (-y) to sub(x, y) and x * (1 / y) to div(x, y) where the inner result is read once, drops
 * `stop_gradient` (no meaning once traced), and removes what nothing reads.
 */
export function normalise(graph: Graph): Graph {
  const alias = new Map<Operand, Operand>();
  const resolve = (operand: Operand): Operand => alias.get(operand) ?? operand;
  const renamed: Equation[] = [];
  for (const equation of graph.equations) {
    const inputs = equation.inputs.map(resolve);
    if (equation.primitive === 'stop_gradient') alias.set(equation.outputs[0]!, inputs[0]!);
    else renamed.push({ ...equation, inputs });
  }
  const plain: Graph = { ...graph, equations: renamed, outputs: graph.outputs.map(resolve) };

  const uses = countUses(plain);
  const defining = definitions(plain);
  const inverseOf = (operand: Operand, primitive: string): Operand | null => {
    const definition = defining.get(operand);
    if (operand.kind !== 'variable' || definition?.primitive !== primitive || uses.get(operand) !== 1) return null;
    return definition.inputs[0]!;
  };
  const fused = renamed.map((equation): Equation => {
    const pair = equation.primitive === 'add' ? 'neg' : equation.primitive === 'mul' ? 'reciprocal' : null;
    if (pair === null) return equation;
    const primitive = pair === 'neg' ? 'sub' : 'div';
    const [left, right] = equation.inputs as readonly [Operand, Operand];
    const second = inverseOf(right, pair);
    if (second !== null) return { ...equation, primitive, inputs: [left, second] };
    const first = inverseOf(left, pair);
    return first === null ? equation : { ...equation, primitive, inputs: [right, first] };
  });
  return withoutDeadCode({ ...plain, equations: fused });
}

function withoutDeadCode(graph: Graph): Graph {
  const live = new Set<Operand>(graph.outputs);
  const equations: Equation[] = [];
  for (const equation of graph.equations.toReversed()) {
    if (!equation.outputs.some((output) => live.has(output))) continue;
    for (const input of equation.inputs) live.add(input);
    equations.push(equation);
  }
  const constants = graph.constants.filter(({ variable }) => live.has(variable));
  return { ...graph, constants, equations: equations.reverse() };
}

/**
 * jax-js's `dot` sums x * y over the last axis and broadcasts the others, so which axes are batch axes and which
 * belong to one side stands in the shapes alone. Axes count from 0 in the broadcast shape without the summed one.
 */
export interface DotAxes {
  /** Shapes of both sides with leading 1s up to the common rank; the last axis is summed. */
  readonly leftShape: readonly number[];
  readonly rightShape: readonly number[];
  /** Both sides run along these together. The first axis counts as one even where its length is 1: it is the batch's. */
  readonly batch: readonly number[];
  readonly left: readonly number[];
  readonly right: readonly number[];
  /** Length 1 on both sides. */
  readonly unit: readonly number[];
  readonly contracted: number;
}

export function classifyDot(left: readonly number[], right: readonly number[]): DotAxes {
  const rank = Math.max(left.length, right.length);
  const padded = (shape: readonly number[]) => [...Array<number>(rank - shape.length).fill(1), ...shape];
  const leftShape = padded(left);
  const rightShape = padded(right);
  const axes = { batch: [] as number[], left: [] as number[], right: [] as number[], unit: [] as number[] };
  for (let axis = 0; axis < rank - 1; axis += 1) {
    const [l, r] = [leftShape[axis]!, rightShape[axis]!];
    if (l === r) (l === 1 && axis > 0 ? axes.unit : axes.batch).push(axis);
    else (r === 1 ? axes.left : axes.right).push(axis);
  }
  const contracted = leftShape[rank - 1]!;
  if (contracted !== rightShape[rank - 1]) {
    throw new Error(`dot: expected equal last axes, received [${left.join(',')}] and [${right.join(',')}]`);
  }
  return { leftShape, rightShape, ...axes, contracted };
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((length, axis) => length === b[axis]);
}

/** NumPy broadcasting of shapes that are known to be compatible. */
export function broadcastShapes(shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) =>
    Math.max(1, ...shapes.map((shape) => shape[axis - rank + shape.length] ?? 1)),
  );
}
