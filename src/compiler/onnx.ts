/**
 * Programs to ONNX models. One rule per primitive; what has no rule is refused by name. Past 400 lines because the table stays whole:
 * a primitive is added in one place.
 */
import type { Parameters } from '../engine/engine.js';
import { CoordinatorError } from '../errors.js';
import { OnnxGraph } from './onnx-graph.js';
import { reshapedView, shapeOf, transposed, type View, wholeView } from './view.js';
import { type Attribute, encodeModel, type ValueMessage, valueMessage } from './onnx-model.js';
import {
  broadcastShapes,
  classifyDot,
  countUses,
  definitions,
  type DType,
  type Equation,
  type Graph,
  type Operand,
  sameShape,
  sizeOf,
  type Variable,
} from './primitives.js';
import type { LoopStage, Program } from './program.js';

export interface OnnxOptions {
  /** Loops with more equations than this, over all iterations, become an ONNX `Loop`; shorter ones are unrolled. */
  readonly unrollLimit?: number;
}

/**
 * A `Loop` costs about 1 us an iteration to run; an unrolled node costs about 0.1 ms to load. Measured on ONNX Runtime
 * 1.30, one core, 16 x 16 (unrolled / Loop): 50 scaling iterations 0.14 / 0.19 ms to run and 45 / 45 ms to load;
 * 200: 0.47 / 0.64 and 150 / 50; 1000: 2.2 / 3.1 and 640 / 70, after a second of lowering. Ten iterations of consensus
 * 0.17 / 0.18 ms. So the defaults of `reference` (10 and 10 iterations) are unrolled and long runs are not.
 */
const defaultUnrollLimit = 500;

/**
 * Serialised ONNX model with the weights as initializers, inputs and outputs named and ordered as the signature's.
 * Equal programs with equal weights give equal bytes. Throws COMPILE_FAILED where a weight is missing or has another
 * size, or where a primitive has no rule.
 */
export function lowerToOnnx(program: Program, parameters: Parameters, options: OnnxOptions = {}): Uint8Array {
  const graph = new OnnxGraph();
  const values = new Map<string, View>();
  const { signature } = program;
  const read = (name: string): View => values.get(name)!;
  for (const { name } of signature.inputs) {
    const { shape, dtype } = program.values.get(name)!;
    values.set(name, wholeView(name, shape, dtype));
  }
  for (const { name, shape } of signature.parameters) {
    const data = parameters.get(name);
    if (data?.length !== sizeOf(shape)) {
      const received = data === undefined ? 'none' : String(data.length);
      throw new CoordinatorError('COMPILE_FAILED', `${name}: expected ${sizeOf(shape)} weights, received ${received}`);
    }
    graph.parameter(name, shape, data);
    values.set(name, wholeView(name, shape, 'float32'));
  }

  for (const stage of program.stages) {
    switch (stage.kind) {
      case 'traced': {
        const results = lowerGraph(graph, stage.graph, stage.inputs.map(read));
        stage.outputs.forEach((name, index) => values.set(name, results[index]!));
        break;
      }
      case 'loop': {
        const limit = options.unrollLimit ?? defaultUnrollLimit;
        const unrolled = stage.iterations * stage.body.equations.length <= limit;
        const lower = unrolled ? unrollLoop : lowerLoop;
        const results = lower(graph, stage, stage.initial.map(read), stage.invariants.map(read));
        stage.outputs.forEach((name, index) => values.set(name, results[index]!));
        break;
      }
      case 'topk': {
        const input = read(stage.input);
        const [top, indices] = topK(graph, input, stage.count, { largest: true });
        const cast = graph.node('Cast', [indices], { to: { i: onnxType.int32 } })[0]!;
        const shape = [...shapeOf(input).slice(0, -1), stage.count];
        values.set(stage.values, wholeView(top, shape, 'float32'));
        values.set(stage.indices, wholeView(cast, shape, 'int32'));
        break;
      }
    }
  }

  const rename = new Map<string, string>();
  const output = signature.outputs.map(({ name }): ValueMessage => {
    const view = read(name);
    let value = graph.materialise(view);
    // A value gets the output's name where it has none yet; inputs, weights and values published twice are copied.
    if (!/^v\d+$/.test(value) || rename.has(value)) value = graph.fresh('Identity', [value]);
    rename.set(value, name);
    return valueMessage(name, { shape: shapeOf(view), dtype: view.dtype });
  });
  const input = signature.inputs.map(({ name }) => valueMessage(name, program.values.get(name)!));
  return encodeModel(graph.finish('program', input, output, rename));
}

/** Element types in attributes of casts. */
const onnxType: Record<DType, number> = { float32: 1, int32: 6, bool: 9 };

function unrollLoop(graph: OnnxGraph, stage: LoopStage, initial: View[], invariants: View[]): View[] {
  let carried = initial;
  for (let i = 0; i < stage.iterations; i += 1) carried = lowerGraph(graph, stage.body, [...carried, ...invariants]);
  return carried;
}

/** An ONNX `Loop` with a fixed trip count. Invariants are read from the surroundings, not carried. */
function lowerLoop(graph: OnnxGraph, stage: LoopStage, initial: View[], invariants: View[]): View[] {
  const types = stage.body.inputs.slice(0, initial.length).map((variable) => variable.type);
  const body = new OnnxGraph(graph);
  const iteration = body.newInput();
  const condition = body.newInput();
  const carried = types.map(({ shape, dtype }) => wholeView(body.newInput(), shape, dtype));
  const results = lowerGraph(body, stage.body, [...carried, ...invariants]);
  // A body's output must be a value of its own: passed-through inputs and hoisted invariants are copied.
  const written = results.map((view) => body.fresh('Identity', [body.materialise(view)]));
  const again = body.fresh('Identity', [condition]);
  const message = body.finish(
    'body',
    [
      valueMessage(iteration, { shape: [], dtype: 'int64' }),
      valueMessage(condition, { shape: [], dtype: 'bool' }),
      ...carried.map((view, index) => valueMessage(view.base, types[index]!)),
    ],
    [
      valueMessage(again, { shape: [], dtype: 'bool' }),
      ...written.map((value, index) => valueMessage(value, types[index]!)),
    ],
    new Map(),
  );
  const trips = graph.constant([], 'int64', BigInt64Array.of(BigInt(stage.iterations)));
  const inputs = [trips, graph.scalar(1, 'bool'), ...initial.map((view) => graph.materialise(view))];
  const outputs = graph.node('Loop', inputs, { body: { g: message } }, types.length);
  return outputs.map((value, index) => wholeView(value, types[index]!.shape, types[index]!.dtype));
}

/** What a rule sees: one equation, and the values of its operands. */
interface Site {
  readonly graph: OnnxGraph;
  readonly equation: Equation;
  readonly view: (operand: Operand) => View;
  /** The equation that defines the operand and, if `uses` is given, only where the operand is read that often. */
  readonly definition: (operand: Operand, uses?: number) => Equation | undefined;
  /** Whether every reader of the variable reshapes it to `shape`. */
  readonly onlyReshapedTo: (variable: Variable, shape: readonly number[]) => boolean;
}

type Rule = (site: Site) => readonly View[];

function lowerGraph(graph: OnnxGraph, traced: Graph, inputs: readonly View[]): View[] {
  const views = new Map<Operand, View>();
  traced.inputs.forEach((variable, index) => views.set(variable, inputs[index]!));
  for (const { variable, data } of traced.constants) {
    const { shape, dtype } = variable.type;
    views.set(variable, wholeView(graph.constant(shape, dtype, data), shape, dtype));
  }
  const uses = countUses(traced);
  const defining = definitions(traced);
  const readers = new Map<Operand, Equation[]>();
  for (const equation of traced.equations) {
    for (const input of equation.inputs) readers.set(input, [...(readers.get(input) ?? []), equation]);
  }
  const outputs = new Set(traced.outputs);
  const view = (operand: Operand): View =>
    operand.kind === 'literal'
      ? wholeView(graph.scalar(operand.value, operand.type.dtype), [], operand.type.dtype)
      : views.get(operand)!;

  for (const equation of traced.equations) {
    const rule = rules[equation.primitive];
    if (rule === undefined) {
      throw new CoordinatorError(
        'COMPILE_FAILED',
        `the ONNX lowering has no rule for the primitive ${equation.primitive}`,
      );
    }
    const results = rule({
      graph,
      equation,
      view,
      definition: (operand, count) =>
        count !== undefined && (uses.get(operand as Variable) ?? 0) !== count ? undefined : defining.get(operand),
      onlyReshapedTo: (variable, shape) =>
        !outputs.has(variable) &&
        (readers.get(variable) ?? []).every(
          (reader) => reader.primitive === 'reshape' && sameShape(reader.outputs[0]!.type.shape, shape),
        ),
    });
    equation.outputs.forEach((variable, index) => views.set(variable, results[index]!));
  }
  return traced.outputs.map(view);
}

/** One node, operands broadcast as NumPy does. */
function elementwise(opType: string, attributes: Record<string, Attribute> = {}): Rule {
  return ({ graph, equation, view }) => {
    const operands = equation.inputs.map((input) => graph.operand(view(input)));
    return [broadcastNode(graph, opType, operands, equation.outputs[0]!, attributes)];
  };
}

function broadcastNode(
  graph: OnnxGraph,
  opType: string,
  operands: readonly { readonly value: string; readonly shape: readonly number[] }[],
  output: Variable,
  attributes: Record<string, Attribute> = {},
): View {
  const value = graph.node(
    opType,
    operands.map((operand) => operand.value),
    attributes,
  )[0]!;
  const shape = broadcastShapes(operands.map((operand) => operand.shape));
  const whole = wholeView(value, shape, output.type.dtype);
  return sameShape(shape, output.type.shape) ? whole : reshapedView(whole, output.type.shape)!;
}

const comparisons: Record<string, string> = { less: 'Less', equal: 'Equal', less_equal: 'LessOrEqual' };

const reductions: Record<string, string> = { Add: 'ReduceSum', Max: 'ReduceMax', Min: 'ReduceMin', Mul: 'ReduceProd' };

function reduce({ graph, equation, view, onlyReshapedTo }: Site): readonly View[] {
  const axes = equation.params['axis'] as readonly number[];
  const op = equation.params['op'] as string;
  const reduction = reductions[op];
  if (reduction === undefined) {
    throw new CoordinatorError('COMPILE_FAILED', `the ONNX lowering has no rule for the primitive reduce with ${op}`);
  }
  const [input] = equation.inputs as [Operand];
  const kept = input.type.shape.map((length, axis) => (axes.includes(axis) ? 1 : length));
  const output = equation.outputs[0]!;
  // The value below the view is reduced: transposing and reshaping the smaller result is cheaper, and often needless.
  const { base, baseShape, axes: viewed, dtype } = view(input);
  const reduced = axes.map((axis) => viewed[axis]).filter((axis) => axis !== null && axis !== undefined);
  const left = viewed.filter((_, axis) => !axes.includes(axis));
  // Reduced axes are kept, with length 1, where every reader wants them back.
  const keepAxes = onlyReshapedTo(output, kept);
  const attributes = { keepdims: { i: keepAxes ? 1 : 0 } };
  const value = reduced.length === 0 ? base : graph.node(reduction, [base, graph.integers(reduced)], attributes)[0]!;
  const keeps = keepAxes || reduced.length === 0;
  const place = (axis: number): number => (keeps ? axis : axis - reduced.filter((gone) => gone < axis).length);
  const shape = keeps
    ? baseShape.map((length, axis) => (reduced.includes(axis) ? 1 : length))
    : baseShape.filter((_, axis) => !reduced.includes(axis));
  return [{ base: value, baseShape: shape, axes: left.map((axis) => (axis === null ? null : place(axis))), dtype }];
}

/** MatMul over [batch..., left, summed] and [batch..., summed, right]; axes of length 1 cost nothing. */
function dot({ graph, equation, view }: Site): readonly View[] {
  const [x, y] = equation.inputs as [Operand, Operand];
  const axes = classifyDot(x.type.shape, y.type.shape);
  const { leftShape, rightShape, batch, left, right, contracted } = axes;
  const summed = leftShape.length - 1;
  const leftLengths = left.map((axis) => leftShape[axis]!);
  const rightLengths = right.map((axis) => rightShape[axis]!);
  const batchLengths = batch.map((axis) => leftShape[axis]!);

  const side = (operand: Operand, shape: readonly number[], order: readonly number[], target: readonly number[]) => {
    const permuted = transposed(reshapedView(view(operand), shape)!, order);
    const direct = reshapedView(permuted, target);
    return direct === null ? graph.reshape(graph.materialise(permuted), target) : graph.materialise(direct);
  };
  // A side without batch axes keeps its own axes apart: MatMul broadcasts them against a matrix.
  const shared = batch.length === 0 && left.length > 0;
  const leftTarget = shared ? [...leftLengths, contracted] : [...batchLengths, sizeOf(leftLengths), contracted];
  const rightTarget = [...batchLengths, contracted, sizeOf(rightLengths)];
  const a = side(x, leftShape, [...batch, ...left, summed, ...axes.unit], leftTarget);
  const b = side(y, rightShape, [...batch, summed, ...right, ...axes.unit], rightTarget);
  const product = graph.node('MatMul', [a, b])[0]!;
  const shape = [...leftTarget.slice(0, -1), sizeOf(rightLengths)];

  // Back to the broadcast order of the trace's result.
  const order = [...batch, ...left, ...right];
  const lengths = [...batchLengths, ...leftLengths, ...rightLengths];
  const whole = wholeView(product, shape, 'float32');
  const split = reshapedView(whole, lengths) ?? wholeView(graph.reshape(product, lengths), lengths, 'float32');
  const output = equation.outputs[0]!.type.shape;
  const inOrder = transposed(
    split,
    [...order.keys()].sort((i, j) => order[i]! - order[j]!),
  );
  return [reshapedView(inOrder, output)!];
}

function reshape({ graph, equation, view }: Site): readonly View[] {
  const output = equation.outputs[0]!.type;
  const input = view(equation.inputs[0]!);
  const lazy = reshapedView(input, output.shape);
  return [lazy ?? wholeView(graph.reshape(graph.materialise(input), output.shape), output.shape, output.dtype)];
}

function whole(site: Site, value: string): readonly View[] {
  const { shape, dtype } = site.equation.outputs[0]!.type;
  return [wholeView(value, shape, dtype)];
}

function slice(
  graph: OnnxGraph,
  value: string,
  starts: readonly number[],
  ends: readonly number[],
  axes: readonly number[],
  steps: readonly number[],
): string {
  const lists = [starts, ends, axes, steps].map((list) => graph.integers(list));
  return graph.node('Slice', [value, ...lists])[0]!;
}

/** A window of a sorted array this short is selected without sorting the rest. */
const shortWindow = 4;

/** Cuts axes. Of a sorted array that nothing else reads, only what is kept is put in order. */
function shrink(site: Site): readonly View[] {
  const { graph, equation, view, definition } = site;
  const [input] = equation.inputs as [Operand];
  const bounds = equation.params['slice'] as readonly (readonly [number, number])[];
  const cut = [...bounds.keys()].filter((a) => bounds[a]![0] !== 0 || bounds[a]![1] !== input.type.shape[a]);
  const sort = definition(input, 1);
  const last = bounds.length - 1;
  if (sort?.primitive === 'sort' && cut.length === 1 && cut[0] === last) {
    const [from, to] = bounds[last]!;
    const unsorted = view(sort.inputs[0]!);
    if (from === 0) return whole(site, topK(graph, unsorted, to, { largest: false })[0]);
    if (to - from <= shortWindow) {
      const shape = [...input.type.shape.slice(0, -1), to];
      const [smallest] = topK(graph, unsorted, to, { largest: false, sorted: false });
      const [window] = topK(graph, wholeView(smallest, shape, unsorted.dtype), to - from, { largest: true });
      return whole(site, reversed(graph, window, [last]));
    }
  }
  const starts = cut.map((axis) => bounds[axis]![0]);
  const ends = cut.map((axis) => bounds[axis]![1]);
  const ones = cut.map(() => 1);
  return whole(site, slice(graph, graph.materialise(view(input)), starts, ends, cut, ones));
}

function reversed(graph: OnnxGraph, value: string, axes: readonly number[]): string {
  const all = (of: number) => axes.map(() => of);
  return slice(graph, value, all(-1), all(-(2 ** 31)), axes, all(-1));
}

/** Values and int64 indices along the last axis; equal values by rising index, as the operator's definition says. */
function topK(
  graph: OnnxGraph,
  input: View,
  count: number,
  { largest, sorted = true }: { largest: boolean; sorted?: boolean },
): readonly [string, string] {
  const operands = [graph.materialise(input), graph.integers([count])];
  const attributes = { largest: { i: largest ? 1 : 0 }, sorted: { i: sorted ? 1 : 0 } };
  const [values, indices] = graph.node('TopK', operands, attributes, 2);
  return [values!, indices!];
}

function lastLength(operand: Operand): number {
  return operand.type.shape.at(-1)!;
}

const rules: Readonly<Record<string, Rule>> = {
  add: elementwise('Add'),
  sub: elementwise('Sub'),
  mul: elementwise('Mul'),
  div: elementwise('Div'),
  min: elementwise('Min'),
  max: elementwise('Max'),
  neg: elementwise('Neg'),
  reciprocal: elementwise('Reciprocal'),
  exp: elementwise('Exp'),
  log: elementwise('Log'),
  sqrt: elementwise('Sqrt'),
  floor: elementwise('Floor'),
  ceil: elementwise('Ceil'),
  where: elementwise('Where'),
  compare: (site) => {
    const op = site.equation.params['op'] as string;
    const name = comparisons[op];
    if (name !== undefined) return elementwise(name)(site);
    const [equal] = elementwise('Equal')(site) as [View];
    return [{ ...equal, base: site.graph.node('Not', [equal.base])[0]! }];
  },
  cast: (site) => elementwise('Cast', { to: { i: onnxType[site.equation.params['dtype'] as DType] } })(site),
  reduce,
  dot,
  reshape,
  transpose: ({ equation, view }) => [transposed(view(equation.inputs[0]!), equation.params['perm'] as number[])],
  broadcast: (site) => {
    const { graph, equation, view } = site;
    const target = equation.outputs[0]!.type.shape;
    const inserted = equation.params['axis'] as readonly number[];
    const [input] = equation.inputs as [Operand];
    const kept = input.type.shape.length === target.length;
    const aligned = target.map((length, axis) => (inserted.includes(axis) ? 1 : length));
    const source = kept ? view(input) : reshapedView(view(input), aligned)!;
    return whole(site, graph.node('Expand', [graph.materialise(source), graph.integers(target)])[0]!);
  },
  shrink,
  pad: (site) => {
    const { graph, equation, view } = site;
    const width = equation.params['width'] as readonly (readonly [number, number])[];
    const pads = graph.integers([...width.map(([before]) => before), ...width.map(([, after]) => after)]);
    return whole(site, graph.node('Pad', [graph.materialise(view(equation.inputs[0]!)), pads])[0]!);
  },
  flip: (site) => {
    const axes = site.equation.params['axis'] as readonly number[];
    return whole(site, reversed(site.graph, site.graph.materialise(site.view(site.equation.inputs[0]!)), axes));
  },
  concatenate: (site) => {
    const { graph, equation, view } = site;
    const operands = equation.inputs.map((input) => graph.materialise(view(input)));
    return whole(site, graph.node('Concat', operands, { axis: { i: equation.params['axis'] as number } })[0]!);
  },
  sort: (site) => {
    const [input] = site.equation.inputs as [Operand];
    return whole(site, topK(site.graph, site.view(input), lastLength(input), { largest: false })[0]);
  },
  argsort: ({ graph, equation, view }) => {
    const [input] = equation.inputs as [Operand];
    const [values, indices] = topK(graph, view(input), lastLength(input), { largest: false });
    const cast = graph.node('Cast', [indices], { to: { i: onnxType.int32 } })[0]!;
    return [wholeView(values, input.type.shape, 'float32'), wholeView(cast, input.type.shape, 'int32')];
  },
};
