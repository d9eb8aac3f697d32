/** Programs to StableHLO. What each primitive becomes stands in `stablehlo-rules.ts`. */
import { CoordinatorError } from '../errors.js';
import type { Axis, TensorSignature } from '../operators/signature.js';
import { type BundleMember, bundlingOf } from './bundling.js';
import { countUses, definitions, type Equation, type Graph, type Operand } from './primitives.js';
import type { LoopStage, Program, TopKStage } from './program.js';
import { bundle, bundleArgument, unbundle } from './stablehlo-bundle.js';
import { baseType, StableHloBlock, viewOf, withoutUnits } from './stablehlo-block.js';
import { arrayOf, largestOf, noRule, rowsOf, rules } from './stablehlo-rules.js';
import { meshLine, shardingAttribute } from './stablehlo-sharding.js';
import { largestByRounds, picksByRounds } from './stablehlo-top-k.js';
import { tensorType } from './stablehlo-types.js';
import { shapeOf, type View } from './view.js';

export interface StableHloOptions {
  /** Loops with more equations than this, over all iterations, become a `stablehlo.while`; shorter ones are unrolled. */
  readonly unrollLimit?: number;
  /** Written for XLA's CPU compiler, which fuses less by itself than those for accelerators. False unless set. */
  readonly forCpu?: boolean;
  /** Devices that run it together, each with an equal share of the agents; must divide their number. 1 unless set. Compile with as many `partitions`. */
  readonly partitions?: number;
  /** Small inputs come in one array and small results leave in one, as `bundlingOf` says. On one device only. False unless set. */
  readonly bundled?: boolean;
}

/**
 * XLA compiles a body once but fuses across the iterations of an unrolled loop. Measured on its CPU plugin, two cores, 128
 * agents (unrolled / while): nine scaling iterations 0.29 / 0.30 ms, at a batch of 32 1.55 / 1.60 ms; ten iterations of
 * consensus 0.45 / 0.36 ms with sorted medians. So only the nine iterations of `reference`, 13 equations each, are unrolled.
 */
const defaultUnrollLimit = 128;

/**
 * Text of a module whose `main` takes the signature's inputs, then its parameters (weights), and returns its outputs,
 * each in the signature's order; with `bundled` the bundle comes before the others. Weights are arguments, so that one
 * executable serves every policy of the same shapes and they are uploaded once. Equal programs give equal text. Throws COMPILE_FAILED where a primitive has no rule.
 */
export function lowerToStableHlo(program: Program, options: StableHloOptions = {}): string {
  const { signature } = program;
  const { forCpu = false, partitions = 1, bundled = false } = options;
  if (program.bucket.agents % partitions !== 0) {
    throw new CoordinatorError('COMPILE_FAILED', `${program.bucket.agents} agents over ${partitions} devices`);
  }
  if (bundled && partitions !== 1) {
    throw new CoordinatorError('COMPILE_FAILED', `bundled tensors over ${partitions} devices: each is cut by itself`);
  }
  const sharding = (axes: readonly Axis[]): string => (partitions === 1 ? '' : shardingAttribute(axes));
  const block = new StableHloBlock();
  const values = new Map<string, View>();
  const read = (name: string): View => values.get(name)!;
  const write = (names: readonly string[], views: readonly View[]): void =>
    names.forEach((name, index) => values.set(name, views[index]!));
  const arriving = travelling(signature.inputs, program, options);
  const axesOfParameters = signature.parameters.map(({ name, shape }) => ({ name, axes: shape }));
  const parameters = arriving.bundle === null ? [] : [`${bundleArgument}: ${arriving.bundle.type}`];
  for (const { name, axes } of [...arriving.single, ...axesOfParameters]) {
    const type = program.values.get(name)!;
    values.set(name, block.squeezed(`%${name}`, type));
    parameters.push(`%${name}: ${tensorType(type)}${sharding(axes)}`);
  }
  for (const { name, member } of arriving.bundle?.members ?? [])
    values.set(name, unbundle(block, arriving.bundle!.type, member, program.values.get(name)!));

  for (const stage of program.stages) {
    switch (stage.kind) {
      case 'traced':
        write(stage.outputs, lowerGraph(block, stage.graph, stage.inputs.map(read), forCpu));
        break;
      case 'loop': {
        const limit = options.unrollLimit ?? defaultUnrollLimit;
        const unrolled = stage.iterations === 1 || stage.iterations * stage.body.equations.length <= limit;
        const lower = unrolled ? unrollLoop : lowerLoop;
        write(stage.outputs, lower(block, stage, stage.initial.map(read), stage.invariants.map(read), forCpu));
        break;
      }
      case 'topk':
        write([stage.values, stage.indices], topK(block, stage, read(stage.input), forCpu));
        break;
    }
  }

  const leaving = travelling(signature.outputs, program, options);
  const results = leaving.single.map(({ name }) => block.shaped(read(name), shapeOf(read(name))));
  const types = leaving.single.map(({ name }) => tensorType(program.values.get(name)!));
  const resultTypes = leaving.single.map(({ axes }, index) => `${types[index]!}${sharding(axes)}`);
  if (leaving.bundle !== null) {
    const { members, type } = leaving.bundle;
    results.unshift(
      bundle(
        block,
        type,
        members.map(({ name }) => read(name)),
      ),
    );
    types.unshift(type);
    resultTypes.unshift(type);
  }
  return [
    'module @program {',
    ...(partitions === 1 ? [] : [`  ${meshLine(partitions)}`]),
    `  func.func public @main(${parameters.join(', ')}) -> (${resultTypes.join(', ')}) {`,
    ...block.lines(results, 2),
    `    return ${results.join(', ')} : ${types.join(', ')}`,
    '  }',
    '}',
    '',
  ].join('\n');
}

interface Travelling {
  readonly bundle: {
    readonly type: string;
    readonly members: readonly { readonly name: string; readonly member: BundleMember }[];
  } | null;
  readonly single: readonly TensorSignature[];
}

function travelling(
  tensors: readonly TensorSignature[],
  { bucket }: Program,
  { bundled = false }: StableHloOptions,
): Travelling {
  if (!bundled) return { bundle: null, single: tensors };
  const { members, words, single } = bundlingOf(tensors, bucket);
  return {
    bundle:
      members.length === 0
        ? null
        : {
            type: tensorType({ shape: [words], dtype: 'int32' }),
            members: members.map((member) => ({ name: tensors[member.position]!.name, member })),
          },
    single: single.map((position) => tensors[position]!),
  };
}

function unrollLoop(
  block: StableHloBlock,
  stage: LoopStage,
  initial: View[],
  invariants: View[],
  forCpu: boolean,
): View[] {
  let carried = initial;
  for (let i = 0; i < stage.iterations; i += 1)
    carried = lowerGraph(block, stage.body, [...carried, ...invariants], forCpu);
  return carried;
}

/**
 * `while` over a counter, the carried values and what the body only reads: a region that reads values around it is
 * legal but each compiler has to repair it first.
 */
function lowerLoop(
  block: StableHloBlock,
  stage: LoopStage,
  initial: View[],
  invariants: View[],
  forCpu: boolean,
): View[] {
  const counterType = tensorType({ shape: [], dtype: 'int32' });
  const carriedTypes = stage.body.inputs.slice(0, initial.length).map(({ type }) => type);
  const compactTypes = carriedTypes.map(({ shape, dtype }) => tensorType({ shape: withoutUnits(shape), dtype }));
  // Views are looked through: the loop carries each base once.
  const bases = new Map(invariants.map((view) => [view.base, tensorType(baseType(view))]));
  const types = [counterType, ...compactTypes, ...bases.values()];
  const start = [block.scalar(0, 'int32'), ...initial.map((view) => block.compact(view)), ...bases.keys()];
  const names = types.map(() => block.newName());
  const counter = names[0]!;

  const condition = block.region();
  const end = condition.scalar(stage.iterations, 'int32');
  const compare = `stablehlo.compare LT, ${counter}, ${end}, SIGNED : (${counterType}, ${counterType}) -> tensor<i1>`;
  const goesOn = condition.operation(compare, [end]);

  const body = block.region();
  const inner = new Map([...bases.keys()].map((base, index) => [base, names[1 + initial.length + index]!]));
  const carried = carriedTypes.map(({ shape, dtype }, index) => viewOf(names[1 + index]!, shape, dtype));
  const results = lowerGraph(
    body,
    stage.body,
    [...carried, ...invariants.map((view) => ({ ...view, base: inner.get(view.base)! }))],
    forCpu,
  );
  const one = body.scalar(1, 'int32');
  const next = body.operation(`stablehlo.add ${counter}, ${one} : ${counterType}`, [one]);
  const returned = [next, ...results.map((view) => body.compact(view)), ...inner.values()];

  const bound = names.map((name, index) => `${name} = ${start[index]!}`).join(', ');
  const lines = [
    `stablehlo.while(${bound}) : ${types.join(', ')}`,
    'cond {',
    ...condition.lines([goesOn], 1),
    `  stablehlo.return ${goesOn} : tensor<i1>`,
    '} do {',
    ...body.lines(returned, 1),
    `  stablehlo.return ${returned.join(', ')} : ${types.join(', ')}`,
    '}',
  ];
  const outputs = block.operations(lines, start, types.length);
  return carriedTypes.map(({ shape, dtype }, index) => viewOf(outputs[1 + index]!, shape, dtype));
}

function topK(block: StableHloBlock, stage: TopKStage, input: View, forCpu: boolean): View[] {
  const shape = [...shapeOf(input).slice(0, -1), stage.count];
  const rows = rowsOf(block, input);
  const largest = forCpu && picksByRounds(rows, stage.count) ? largestByRounds : largestOf;
  return largest(block, rows, stage.count).map((found) => arrayOf(block, found, shape));
}

function lowerGraph(block: StableHloBlock, traced: Graph, inputs: readonly View[], forCpu: boolean): View[] {
  const views = new Map<Operand, View>();
  traced.inputs.forEach((variable, index) => views.set(variable, inputs[index]!));
  for (const constant of traced.constants) views.set(constant.variable, block.constant(constant));
  const view = (operand: Operand): View =>
    operand.kind === 'literal'
      ? viewOf(block.scalar(operand.value, operand.type.dtype), [], operand.type.dtype)
      : views.get(operand)!;
  const uses = countUses(traced);
  const defining = definitions(traced);
  const soleDefinition = (operand: Operand): Equation | undefined =>
    operand.kind === 'variable' && uses.get(operand) === 1 ? defining.get(operand) : undefined;
  for (const equation of traced.equations) {
    const rule = rules[equation.primitive];
    if (rule === undefined) throw noRule(equation.primitive);
    const results = rule({ block, equation, view, soleDefinition, forCpu });
    equation.outputs.forEach((variable, index) => views.set(variable, results[index]!));
  }
  return traced.outputs.map(view);
}
