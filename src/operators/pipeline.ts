/** The whole program of a Coordinate call for one bucket: which operators run, in which order, on which values. */
import { numpy as np } from '@jax-js/jax';
import { type Program, ProgramBuilder } from '../compiler/program.js';
import {
  absorbed,
  exponents,
  finiteOrZero,
  type Factors,
  exactLogIterations,
  type Kernel,
  largest,
  logIteration,
  logOfScalar,
  type LogProblem,
  type Potentials,
  renewedKernel,
  rowSums,
  scalingStep,
  startedAt,
  startOf,
  type StepResult,
  stepsPerRenewal,
} from './assignment.js';
import {
  absence,
  activeMean,
  agentsFirst,
  centred,
  consensusResult,
  consensusStep,
  type Field,
  kernelLine,
  medoid,
  type StateLayout,
} from './consensus.js';
import { type MedianMethod, medianPlan } from './median.js';
import { project } from './projection.js';
import { type Bucket, medoidCandidates, type ProgramSpec, programSignature, type SoftSpec } from './signature.js';
import {
  biasedUtility,
  bilinearUtility,
  distanceUtility,
  spread,
  squaredDistanceColumns,
  taskColumns,
} from './utility.js';

/** What suits the engine; the answers do not depend on it. */
export interface PipelineOptions {
  /** `sort` unless set. */
  readonly median?: MedianMethod;
  /** `y` unless set. */
  readonly layout?: StateLayout;
}

/**
 * Elements [B,N,M] of squared differences that one piece of a distance may hold: 16 MiB of float32. ONNX Runtime computes
 * all squares of a straight piece before it adds the first two, so 64 coordinates at 5120 x 5120 would take 6.7 GB.
 */
const squareElements = 2 ** 22;
/** Coordinates in one piece at most, where memory allows more: longer ones only lengthen the program. */
const longestDistancePiece = 64;

/** Elements of the differences that the medoid start holds at once: 1 MiB of float32. */
const medoidElements = 2 ** 18;

/** Traces the program that `programSignature(spec)` describes, in this bucket. Throws for specs that contradict themselves. */
export function buildProgram(spec: ProgramSpec, bucket: Bucket, options: PipelineOptions = {}): Program {
  const builder = new ProgramBuilder(programSignature(spec), bucket);
  if (spec.projection !== null) {
    const inputs = ['agents', 'projection_weight', 'projection_bias', 'resource_max', 'budget', 'agent_mask'];
    builder.traced(inputs, ['resources'], (states, weight, bias, limit, budget, mask) => [
      project(states, weight, bias, limit, budget, mask),
    ]);
  }
  if (spec.utility !== null) buildUtility(builder, spec, bucket);
  if (spec.soft !== null) buildSoft(builder, spec, spec.soft);
  if (spec.consensus !== null) buildConsensus(builder, spec, bucket, options);
  return builder.build();
}

/** Writes `U` [B,N,M] (and `utility_out`). */
function buildUtility(builder: ProgramBuilder, spec: ProgramSpec, bucket: Bucket): void {
  const { utility } = spec;
  if (utility === null) return;
  if (utility.source === 'given') {
    builder.traced(['utility'], ['U'], (given) => [given]);
  } else if (utility.source === 'bilinear') {
    builder.traced(['agents', 'tasks', 'bilinear'], ['U'], (agents, tasks, weight) => [
      bilinearUtility(agents, tasks, weight),
    ]);
  } else {
    buildDistance(builder, utility.width, bucket);
  }
  if (spec.utilityOut) builder.traced(['U'], ['utility_out'], (u) => [u]);
}

function buildDistance(builder: ProgramBuilder, width: number, bucket: Bucket): void {
  const piece = distancePiece(width, bucket);
  // With a projection the agents are wider than the tasks; only the first coordinates count.
  builder.traced(['agents'], ['located'], (agents) => [agents.slice([], [], [0, width])]);
  builder.traced(['tasks'], ['columns'], (tasks) => [taskColumns(tasks)]);
  if (piece === width) {
    builder.traced(['located', 'columns'], ['U'], (agents, columns) => [
      distanceUtility(squaredDistanceColumns(agents, columns, width)),
    ]);
    return;
  }
  // Each turn adds the first piece and rotates the states, so the body reads at fixed places.
  builder.traced(['located', 'columns'], ['sum.0'], (agents, columns) => [
    squaredDistanceColumns(agents, columns, piece),
  ]);
  const rotate = (array: np.Array, axis: 1 | 2): np.Array => {
    const cut = (from: number, to: number) =>
      axis === 1 ? array.ref.slice([], [from, to], []) : array.ref.slice([], [], [from, to]);
    return np.concatenate([cut(piece, width), cut(0, piece)], axis);
  };
  builder.loop(
    width / piece - 1,
    ['sum.0', 'located', 'columns'],
    [],
    ['sum', 'located.end', 'columns.end'],
    (sum, agents, columns) => {
      const [a, c] = [rotate(agents, 2), rotate(columns, 1)];
      return [sum.add(squaredDistanceColumns(a.ref, c.ref, piece)), a, c];
    },
  );
  builder.traced(['sum'], ['U'], (sum) => [distanceUtility(sum)]);
}

/** Coordinates per piece: a divisor of `width` (widths and pieces are powers of two, as padded). */
function distancePiece(width: number, { batch, agents, tasks }: Bucket): number {
  const fitting = Math.max(1, squareElements / (batch * agents * tasks));
  return Math.min(width, longestDistancePiece, 2 ** Math.floor(Math.log2(fitting)));
}

/** Slack parts of exponents and kernels, as value names. */
const slackNames = ['l.idle', 'l.unserved', 'l.corner'] as const;

function buildSoft(builder: ProgramBuilder, spec: ProgramSpec, soft: SoftSpec): void {
  const source = spec.utility?.source;
  if (source === undefined) throw new Error('a soft assignment needs a utility');
  // The scaling form is chosen only where every pair of active agents and tasks is allowed.
  const scales = soft.form === 'scaling';
  const forbids = !scales && (soft.bias || source === 'given');

  const optional = [...(soft.bias ? ['bias'] : []), ...(soft.slack ? ['idle', 'unserved'] : [])];
  if (source === 'distance') {
    const inputs = ['U', ...(soft.bias ? ['bias'] : []), 'agent_mask', 'spread_rows', 'task_mask'];
    builder.traced(inputs, ['spread'], (u, ...rest) => {
      const bias = soft.bias ? rest.shift()! : null;
      const [agentMask, spreadRows, taskMask] = rest as [np.Array, np.Array, np.Array];
      const [batch, agents, tasks] = u.shape as [number, number, number];
      const rows = agentMask.mul(spreadRows).reshape([batch, 1, agents]);
      return [spread(bias === null ? u : biasedUtility(u, bias), rows, taskMask.reshape([batch, tasks, 1]), forbids)];
    });
  } else {
    builder.traced(['temperature'], ['spread'], (temperature) => [np.ones([temperature.shape[0]!, 1, 1])]);
  }

  // Bilinear utilities of masked (zero) tasks are 0, inside the range that the scaling form was chosen for.
  const maskColumns = !(scales && source === 'bilinear');
  const exponentNames = ['l', 'top', 'unit', ...(soft.slack ? slackNames : [])];
  builder.traced(['U', 'task_mask', 'temperature', 'spread', ...optional], exponentNames, (u, mask, t, s, ...rest) => {
    const bias = soft.bias ? rest.shift()! : null;
    const [idle, unserved] = soft.slack ? (rest as [np.Array, np.Array]) : [null, null];
    return exponents({ utility: u, bias, taskMask: mask, temperature: t, spread: s, idle, unserved }, maskColumns);
  });
  builder.traced(['row_mass', 'column_mass'], ['a', 'b'], (a, b) => [asRow(a), asRow(b)]);
  if (scales) buildScaling(builder, soft);
  else buildLog(builder, soft);
  if (soft.topK > 0) builder.topK(soft.plan ? 'plan' : 'plan.inner', soft.topK, 'top_k_mass', 'top_k_tasks');
}

function asRow(array: np.Array): np.Array {
  const [batch, length] = array.shape as [number, number];
  return array.reshape([batch, 1, length]);
}

function buildScaling(builder: ProgramBuilder, soft: SoftSpec): void {
  const kernelInputs = ['K', 'a', 'b', ...(soft.slack ? ['K.idle', 'K.unserved', 'K.corner'] : [])];
  builder.traced(
    ['l', ...(soft.slack ? slackNames : [])],
    kernelInputs.filter((name) => name.startsWith('K')),
    (...l) => l.map((exponent) => np.exp(exponent)),
  );
  const start = ['v.0', ...(soft.slack ? ['v0.0'] : [])];
  const startInputs = ['initial_column_potential', 'unit', 'task_mask', ...(soft.slack ? ['K.corner'] : [])];
  builder.traced(startInputs, start, (potential, unit, mask, ...corner) => [
    np.exp(startOf(potential, unit, 'scaling')).mul(asRow(mask)),
    ...corner.map((array) => np.onesLike(array)),
  ]);
  const before = ['v.n', ...(soft.slack ? ['v0.n'] : [])];
  const factors = (arrays: np.Array[]): Factors => ({ vector: arrays[0]!, slack: arrays[1] ?? null });
  const count = start.length;
  builder.loop(soft.iterations - 1, start, kernelInputs, before, (...arrays) => {
    const { columns } = scalingStep(kernelOf(arrays.slice(count)), factors(arrays));
    return [columns.vector, ...(columns.slack === null ? [] : [columns.slack])];
  });
  builder.traced([...before, ...kernelInputs, 'top', 'unit'], resultNames(soft), (...arrays) => {
    const [unit, top] = [arrays.pop()!, arrays.pop()!];
    const kernel = kernelOf(arrays.slice(count));
    const step = scalingStep(kernel, factors(arrays.slice(0, count)));
    const end: EndPotentials = {
      f: soft.potentials ? np.log(step.rows.vector.ref) : null,
      g: np.log(step.columns.vector.ref),
      g0: step.columns.slack === null ? null : logOfScalar(step.columns.slack.ref),
    };
    return softResult(soft, kernel, step, end, top, unit);
  });
}

function kernelOf(arrays: readonly np.Array[]): Kernel {
  const [k, rowMass, columnMass, idle, unserved, corner] = arrays as [np.Array, np.Array, np.Array, ...np.Array[]];
  const slack = idle === undefined ? null : { idle, unserved: unserved!, corner: corner! };
  return { k, rowMass, columnMass, slack };
}

function buildLog(builder: ProgramBuilder, soft: SoftSpec): void {
  const problemNames = ['l', 'a', 'b', ...(soft.slack ? slackNames : [])];
  const potentialNames = (suffix: string) =>
    ['f', 'g', ...(soft.slack ? ['f0', 'g0'] : [])].map((n) => `${n}.${suffix}`);
  const problemOf = (arrays: readonly np.Array[]): LogProblem => {
    const [l, rowMass, columnMass, idle, unserved, corner] = arrays as [np.Array, np.Array, np.Array, ...np.Array[]];
    return {
      l,
      rowMass,
      columnMass,
      slack: idle === undefined ? null : { idle, unserved: unserved!, corner: corner! },
    };
  };
  const potentialsOf = (arrays: readonly np.Array[]): Potentials => {
    const [f, g, f0, g0] = arrays as [np.Array, np.Array, ...np.Array[]];
    return { f, g, slack: soft.slack ? { f0: f0!, g0: g0! } : null };
  };
  const listed = ({ f, g, slack }: Potentials): np.Array[] => [f, g, ...(slack === null ? [] : [slack.f0, slack.g0])];
  const count = soft.slack ? 4 : 2;

  const exact = Math.min(soft.iterations, exactLogIterations);
  builder.traced(
    ['initial_column_potential', 'unit', ...problemNames],
    potentialNames('1'),
    (initial, unit, ...arrays) => {
      const problem = problemOf(arrays);
      const start = startOf(initial, unit, 'log');
      if (exact === 1) return listed(logIteration(problem, { g: start, slack: null }));
      let potentials = logIteration(problem, startedAt(start, logIteration(problem, null)));
      for (let i = 2; i < exact; i += 1) potentials = logIteration(problem, potentials);
      return listed(potentials);
    },
  );
  // The last block also gives the results, so it has at least one step if any is left.
  const left = soft.iterations - exact;
  const steps = soft.slack ? stepsPerRenewal.slack : stepsPerRenewal.plain;
  const blocks = Math.max(0, Math.ceil(left / steps) - 1);
  const last = left - blocks * steps;
  builder.loop(blocks, potentialNames('1'), problemNames, potentialNames('n'), (...arrays) => {
    const potentials = potentialsOf(arrays.slice(0, count));
    const step = repeatedStep(renewedKernel(problemOf(arrays.slice(count)), potentials), steps);
    return listed(absorbed(potentials, step.rows, step.columns));
  });
  builder.traced([...potentialNames('n'), ...problemNames, 'top', 'unit'], resultNames(soft), (...arrays) => {
    const [unit, top] = [arrays.pop()!, arrays.pop()!];
    const potentials = potentialsOf(arrays.slice(0, count));
    const kernel = renewedKernel(problemOf(arrays.slice(count)), potentials);
    const { f, g, slack } = potentials;
    if (last === 0) {
      const end = { f: soft.potentials ? f : null, g, g0: slack?.g0 ?? null };
      return softResult(soft, kernel, null, end, top, unit);
    }
    const step = repeatedStep(kernel, last);
    const end: EndPotentials = {
      f: soft.potentials ? f.add(np.log(step.rows.vector.ref)) : null,
      g: g.add(np.log(step.columns.vector.ref)),
      g0: slack === null ? null : slack.g0.add(logOfScalar(step.columns.slack!.ref)),
    };
    return softResult(soft, kernel, step, end, top, unit);
  });
}

/** `count` >= 1 scaling steps from factors of 1. */
function repeatedStep(kernel: Kernel, count: number): StepResult {
  let step = scalingStep(kernel, null);
  for (let i = 1; i < count; i += 1) step = scalingStep(kernel, step.columns);
  return step;
}

function resultNames(soft: SoftSpec): string[] {
  return [
    ...(soft.plan ? ['plan'] : soft.topK > 0 ? ['plan.inner'] : []),
    ...(soft.slack ? ['idle_mass'] : []),
    'row_error',
    'column_error',
    ...(soft.potentials ? ['row_potential'] : []),
    'column_potential',
  ];
}

/** Share of a column's mass that its sum is rounded by: with a capacity of a million, more than a plan may be wrong by. */
const marginRounding = 1e-6;

/** In units of the exponents; f null: not asked for. g0 is that of the slack column. */
interface EndPotentials {
  readonly f: np.Array | null;
  readonly g: np.Array;
  readonly g0: np.Array | null;
}

/**
 * The plan diag(u) K diag(v) with its marginal errors, in the order of `resultNames`. `step` null: u and v are 1.
 * Potentials leave the program in raw units: f counts from top, so its own is tau spread f - top; with slack both count from
 * the slack column's, as agents and tasks alone do not tell how much of it is whose.
 */
function softResult(
  soft: SoftSpec,
  kernel: Kernel,
  step: StepResult | null,
  end: EndPotentials,
  top: np.Array,
  unit: np.Array,
): np.Array[] {
  const { k, rowMass, columnMass, slack } = kernel;
  const [batch, agents, tasks] = k.shape as [number, number, number];
  const columns = step?.columns ?? null;
  const rows = step?.rows ?? null;
  const worst = (array: np.Array) => np.max(np.maximum(array.ref, array.neg()), -1);

  let rowTotal = rowSums(kernel, columns);
  if (rows !== null) rowTotal = rows.vector.ref.mul(rowTotal);
  let columnTotal: np.Array;
  if (step === null) {
    columnTotal = np.sum(k.ref, 1).reshape([batch, 1, tasks]);
    if (slack !== null) columnTotal = columnTotal.add(slack.unserved.ref);
  } else {
    columnTotal = step.columns.vector.ref.mul(step.columnSums);
  }
  const results: np.Array[] = [];
  if (soft.plan || soft.topK > 0) {
    results.push(rows === null ? k : k.mul(rows.vector.ref.reshape([batch, agents, 1])).mul(columns!.vector.ref));
  }
  if (slack !== null) {
    const idle = rows === null ? slack.idle : rows.vector.ref.mul(slack.idle).mul(columns!.slack!.ref);
    results.push(idle.reshape([batch, agents]));
  }
  const missing = columnTotal.ref.sub(columnMass.ref);
  const beyondRounding = np.maximum(missing.ref, missing.neg()).sub(columnMass.mul(marginRounding));
  results.push(worst(rowTotal.ref.sub(rowMass)), np.maximum(np.max(beyondRounding, -1), 0));
  const finite = (array: np.Array) => np.clip(array, -largest, largest);
  const anchor = end.g0 === null ? null : finiteOrZero(end.g0);
  if (end.f !== null) {
    const f = anchor === null ? end.f : end.f.add(anchor.ref);
    const inUtility = finite(f.mul(unit.ref).sub(top));
    results.push(np.where(np.greater(rowTotal, 0), inUtility, 0).reshape([batch, agents]));
  }
  const g = anchor === null ? end.g : end.g.sub(anchor);
  results.push(np.where(np.greater(columnTotal, 0), finite(g.mul(unit)), 0).reshape([batch, tasks]));
  return results;
}

function buildConsensus(builder: ProgramBuilder, spec: ProgramSpec, bucket: Bucket, options: PipelineOptions): void {
  const { consensus } = spec;
  const { median: method = 'sort', layout = 'y' } = options;
  if (consensus === null) return;
  const { width, iterations, start, source } = consensus;
  const planNames = method === 'sort' ? ['median.limit', 'median.weights'] : ['median.ranks'];
  builder.traced(['agent_mask', 'median_ranks'], ['hidden', ...planNames], (mask, ranks) => [
    absence(mask.ref),
    ...medianPlan(method, asRow(mask), ranks),
  ]);
  builder.traced([source], ['x'], (x) => [x.slice([], [], [0, width])]);
  if (layout === 'y') builder.traced(['x'], ['y'], (x) => [agentsFirst(x)]);
  builder.traced(['consensus_constants'], ['slope', 'offset'], (constants) => kernelLine(constants));
  if (start === 'MEDOID') {
    const pieces = Math.max(1, Math.floor(medoidElements / (bucket.batch * bucket.agents * width)));
    const chunk = layout === 'x' ? medoidCandidates : Math.min(medoidCandidates, 2 ** Math.floor(Math.log2(pieces)));
    builder.traced(
      [layout, 'hidden', 'candidates', ...planNames],
      ['origin'],
      (states, hidden, candidates, ...plan) => [medoid(method, layout, chunk, states, hidden, candidates, plan)],
    );
  } else {
    builder.traced(['x', 'agent_mask'], ['origin'], (x, mask) => [activeMean(x, mask)]);
  }
  if (layout === 'y') builder.traced(['origin', 'y'], ['x.seen', 'y.seen'], (origin, y) => centred(origin, y));
  else builder.traced(['origin', 'x'], ['x.seen'], (origin, x) => [x.sub(origin)]);
  if (start === 'MEDOID') builder.traced(['origin'], ['c.0'], (origin) => [np.zeros(origin.shape)]);
  // Far from 0 the mean is rounded by much more than the states differ; what it missed shows once they are centred.
  else builder.traced(['x.seen', 'agent_mask'], ['c.0'], (seen, mask) => [activeMean(seen, mask)]);

  const fieldNames = ['x.seen', `${layout}.seen`, 'hidden', 'slope', 'offset', ...planNames];
  const fieldOf = (arrays: readonly np.Array[]): Field => {
    const [x, states, hidden, slope, offset, ...plan] = arrays as [
      np.Array,
      np.Array,
      np.Array,
      np.Array,
      ...np.Array[],
    ];
    return { method, layout, x, states, hidden, slope, offset: offset!, plan };
  };
  builder.loop(iterations, ['c.0', 'c.0'], fieldNames, ['c', 'c.previous'], (c, _previous, ...field) => [
    consensusStep(c.ref, fieldOf(field)),
    c,
  ]);
  const inputs = ['origin', 'c', 'c.previous', 'agent_mask', 'consensus_constants', ...fieldNames];
  const outputs = ['centroid', 'weights', 'kernel', 'flags', 'scale', 'effective_count', 'last_step'];
  builder.traced(inputs, outputs, (origin, c, previous, mask, constants, ...field) =>
    consensusResult(origin, c, previous, mask, constants, fieldOf(field)),
  );
}
