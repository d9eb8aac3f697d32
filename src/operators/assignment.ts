/**
 * Differentiable assignment: Sinkhorn scaling of exp(U / tau), the paper's eq. (2) and Algorithm 2, with masks,
 * marginals and slack, in two forms that give the same plan:
 *
 * - scaling: K = exp(l) once, then two products of a vector with K an iteration. For ranges of l that float32 bears, and
 *   where every active pair is allowed: forbidden pairs can leave a part of the problem with more mass on one side,
 *   whose factors then grow without end.
 * - log: the potentials f, g are kept as logarithms. K = exp(l + f + g) is renewed every `stepsPerRenewal` iterations, and
 *   the iterations between are scaling steps on it whose factors start at 1 (absorption).
 *   Why that is safe: after an update of the columns, row sums are at least a_i min(b) / sum(a) and at most sum(b), and
 *   likewise for columns, so an iteration changes a pair's factor by at most about N M (e^17 at 5120 x 5120); what
 *   underflows below e^-87 when K is renewed cannot matter within four. That holds from the second iteration on (the
 *   first still counts tasks without mass), so the first two take out maxima instead.
 *
 * Vectors are rows: over agents [B,1,N], over tasks [B,1,M], scalars [B,1,1]. A product with a matrix is then always
 * (row vector)(matrix), the fast one on every engine.
 *
 * Dead rows and columns (mass 0, or no allowed pair) need no masks inside the loop: the guard keeps denominators
 * positive, a zero mass gives the factor 0, and a factor that grew for want of entries only ever multiplies exact zeros.
 *
 * A start from the tick before: the columns' potentials g, in units of utility; 0 is a cold start. Sinkhorn converges from
 * any start, so they decide how soon, not to what. They are read within bounds that each form's arithmetic bears. With slack they
 * count from the slack column's potential, which starts at 0.
 *
 * Slack extends the problem by one column (idle agents) and one row (unserved tasks): vectors `idle` [B,1,N] and
 * `unserved` [B,1,M], the scalar `corner`, and one mass and one factor each.
 */
import { numpy as np } from '@jax-js/jax';
import type { SinkhornForm } from '../problem.js';
import { farthestStart, forbiddenUtility } from './signature.js';
import { biasedUtility } from './utility.js';

/** Iterations on one K in the log form. See above; with slack masses may differ much in size, so it renews more often. */
export const stepsPerRenewal = { plain: 4, slack: 2 } as const;

/** Iterations of the log form that take out maxima. */
export const exactLogIterations = 2;

/** Least denominator of an update. */
const guard = 1e-30;

/** Finite ends of float32. */
export const largest = 3.4e38;
const smallest = -largest;

/** tau times spread is read within these: its inverse and its products with potentials stay finite. */
const unitRange = [1e-37, 1e37] as const;

/** What the exponents are made from. */
export interface UtilityProblem {
  /** U [B,N,M], raw. */
  readonly utility: np.Array;
  /** [B,N,M] or null. */
  readonly bias: np.Array | null;
  readonly taskMask: np.Array;
  /** [B,1] */
  readonly temperature: np.Array;
  /** [B,1,1] */
  readonly spread: np.Array;
  /** [B,1] or null: no slack. */
  readonly idle: np.Array | null;
  readonly unserved: np.Array | null;
}

/**
 * l_ij = (U_ij + bias_ij - top_i) / unit with unit = spread tau and top_i the largest of row i, so that l <= 0 without rounding first.
 * Masked columns and forbidden pairs are -Infinity, exactly 0 once exponentiated. With `maskColumns` false masked columns
 * stay as they are; the scaling form may do that where they are known to be in range.
 *
 * -> l [B,N,M], top [B,1,N], unit [B,1,1], and with slack: l of the slack column [B,1,N], of the slack row [B,1,M], of the corner [B,1,1].
 */
export function exponents(problem: UtilityProblem, maskColumns: boolean): np.Array[] {
  const { utility, bias, taskMask, temperature, idle, unserved } = problem;
  const [batch, agents, tasks] = utility.shape as [number, number, number];
  const column = np.where(np.greater(taskMask, 0), 0, -Infinity).reshape([batch, 1, tasks]);
  let values = bias === null ? utility : biasedUtility(utility, bias);
  if (maskColumns) values = values.add(column.ref);
  const unit = np.clip(temperature.reshape([batch, 1, 1]).mul(problem.spread), ...unitRange);
  const inverse = np.reciprocal(unit.ref);
  let top = np.maximum(np.max(values.ref, -1), smallest).reshape([batch, agents, 1]);
  if (idle === null || unserved === null) {
    const l = values.sub(top.ref).mul(inverse);
    return [l, top.reshape([batch, 1, agents]), unit];
  }
  const slack = (value: np.Array) =>
    np.where(np.greater(value.ref, forbiddenUtility), value, -Infinity).reshape([batch, 1, 1]);
  const idleValue = slack(idle);
  top = np.maximum(top, idleValue.ref);
  const l = values.sub(top.ref).mul(inverse.ref);
  const rowTop = top.reshape([batch, 1, agents]);
  const idleColumn = idleValue.sub(rowTop.ref).mul(inverse.ref);
  const unservedValue = slack(unserved);
  const slackTop = np.maximum(unservedValue.ref, 0);
  const unservedRow = unservedValue.sub(slackTop.ref).mul(inverse.ref).add(column);
  const corner = slackTop.neg().mul(inverse);
  return [l, rowTop, unit, idleColumn, unservedRow, corner];
}

/** Where the columns start: potential [B,M] in units of utility, unit [B,1,1] -> g [B,1,M] in units of the exponents. */
export function startOf(potential: np.Array, unit: np.Array, form: SinkhornForm): np.Array {
  const [batch, tasks] = potential.shape as [number, number];
  return np.clip(potential.reshape([batch, 1, tasks]).div(unit), -farthestStart[form], farthestStart[form]);
}

/** K and what surrounds it; `slack` null where the problem is not extended. */
export interface Kernel {
  readonly k: np.Array;
  readonly rowMass: np.Array;
  readonly columnMass: np.Array;
  readonly slack: {
    readonly idle: np.Array;
    readonly unserved: np.Array;
    readonly corner: np.Array;
  } | null;
}

/** Factors of the columns, `slack` that of the slack column. */
export interface Factors {
  readonly vector: np.Array;
  readonly slack: np.Array | null;
}

export interface StepResult {
  readonly rows: Factors;
  readonly columns: Factors;
  /** Column sums of diag(u) K, slack included, before they were divided out. */
  readonly columnSums: np.Array;
}

function ratio(mass: np.Array, sum: np.Array): np.Array {
  return mass.div(np.maximum(sum, guard));
}

/** Row sums of K diag(v), slack included: [B,1,N]. `columns` null: all factors 1. */
export function rowSums(kernel: Kernel, columns: Factors | null): np.Array {
  const { k, slack } = kernel;
  if (columns === null) {
    const sums = np.sum(k.ref, -1).reshape(kernel.rowMass.shape);
    return slack === null ? sums : sums.add(slack.idle.ref);
  }
  const sums = np.matmul(columns.vector.ref, np.matrixTranspose(k.ref));
  return slack === null ? sums : sums.add(columns.slack!.ref.mul(slack.idle.ref));
}

/** u = a / (K v), v = b / (K' u): one iteration, rows first. Reads `kernel` and `columns` by reference. */
export function scalingStep(kernel: Kernel, columns: Factors | null): StepResult {
  const { k, rowMass, columnMass, slack } = kernel;
  const u = ratio(rowMass.ref, rowSums(kernel, columns));
  const sums = np.matmul(u.ref, k.ref);
  if (slack === null) {
    const v = ratio(columnMass.ref, sums.ref);
    return { rows: { vector: u, slack: null }, columns: { vector: v, slack: null }, columnSums: sums };
  }
  const total = (array: np.Array) => np.sum(array, -1, { keepdims: true });
  const slackRowSum =
    columns === null
      ? total(slack.unserved.ref).add(slack.corner.ref)
      : total(slack.unserved.ref.mul(columns.vector.ref)).add(slack.corner.ref.mul(columns.slack!.ref));
  const u0 = ratio(total(columnMass.ref), slackRowSum);
  const columnSums = sums.add(slack.unserved.ref.mul(u0.ref));
  const slackColumnSum = total(slack.idle.ref.mul(u.ref)).add(slack.corner.ref.mul(u0.ref));
  const v0 = ratio(total(rowMass.ref), slackColumnSum);
  const v = ratio(columnMass.ref, columnSums.ref);
  return { rows: { vector: u, slack: u0 }, columns: { vector: v, slack: v0 }, columnSums };
}

/**
 * Logarithm of one number per problem, [B,1,1]. Taken over whole vectors: where B is not a multiple of the engine's vector
 * length it may round the remainder differently, and an answer's bits would depend on its slot.
 */
export function logOfScalar(x: np.Array): np.Array {
  const batch = x.shape[0]!;
  return np.log(np.broadcastTo(x, [batch, 1, vectorLength])).slice([], [], [0, 1]);
}

/** At least that of any engine: float32 lanes of AVX-512. Buckets are multiples of it. */
const vectorLength = 16;

/** The log form's potentials: f [B,1,N], g [B,1,M], with slack f0, g0 [B,1,1]. -Infinity where the mass is 0. */
export interface Potentials {
  readonly f: np.Array;
  readonly g: np.Array;
  readonly slack: { readonly f0: np.Array; readonly g0: np.Array } | null;
}

/** What an iteration starts from. */
export interface ColumnPotentials {
  readonly g: np.Array;
  readonly slack: { readonly g0: np.Array } | null;
}

export interface LogProblem {
  readonly l: np.Array;
  readonly rowMass: np.Array;
  readonly columnMass: np.Array;
  readonly slack: { readonly idle: np.Array; readonly unserved: np.Array; readonly corner: np.Array } | null;
}

/**
 * One iteration of the log form with maxima taken out: f = log a - log sum_j exp(l_ij + g_j), g = log b - log sum_i exp(l_ij + f_i).
 * `before` null: g = 0.
 */
export function logIteration(problem: LogProblem, before: ColumnPotentials | null): Potentials {
  const { l, rowMass, columnMass, slack } = problem;
  const [batch, agents] = l.shape as [number, number];
  const plus = (array: np.Array, potential: np.Array | undefined) =>
    potential === undefined ? array.ref : array.ref.add(potential.ref);
  const total = (array: np.Array) => np.sum(array.ref, -1, { keepdims: true });

  const beside = slack === null ? null : plus(slack.idle, before?.slack?.g0);
  const f = potential(rowMass, plus(l, before?.g), -1, beside);
  const below = plus(l, f.ref.reshape([batch, agents, 1]));
  if (slack === null) return { f, g: potential(columnMass, below, 1, null), slack: null };
  const f0 = slackPotential(total(columnMass), plus(slack.unserved, before?.g), plus(slack.corner, before?.slack?.g0));
  const g = potential(columnMass, below, 1, plus(slack.unserved, f0));
  const g0 = slackPotential(total(rowMass), plus(slack.idle, f), plus(slack.corner, f0));
  return { f, g, slack: { f0, g0 } };
}

/**
 * `start` [B,1,M] in place of the columns' potentials, where it is not 0 throughout. To begin with 0 and to put a start in place of
 * what the first iteration gave keeps that iteration as short as a cold one's, for one iteration of a warm one's.
 */
export function startedAt(start: np.Array, cold: ColumnPotentials): ColumnPotentials {
  const size = np.max(np.maximum(start.ref, start.ref.neg()), -1, { keepdims: true });
  const isWarm = np.greater(size, 0);
  const g = np.where(isWarm.ref, start, cold.g.ref);
  return { g, slack: cold.slack === null ? null : { g0: np.where(isWarm, 0, cold.slack.g0.ref) } };
}

/** log mass - log sum exp(z) over the axis, `beside` (of the mass's shape) counted as one more entry. Consumes all but `mass`. */
function potential(mass: np.Array, z: np.Array, axis: 1 | -1, beside: np.Array | null): np.Array {
  let top = np.max(z.ref, axis).reshape(mass.shape);
  if (beside !== null) top = np.maximum(top, beside.ref);
  top = finiteOrZero(top);
  const along = axis === 1 ? top.ref : np.transpose(top.ref, [0, 2, 1]);
  let sums = np.sum(np.exp(z.sub(along)), axis).reshape(mass.shape);
  if (beside !== null) sums = sums.add(np.exp(beside.sub(top.ref)));
  return np.log(ratio(mass.ref, sums)).sub(top);
}

/** The same for the slack row or column: its entries [B,1,X] and the corner [B,1,1]. Consumes its arguments. */
function slackPotential(mass: np.Array, entries: np.Array, corner: np.Array): np.Array {
  const top = finiteOrZero(np.maximum(np.max(entries.ref, -1, { keepdims: true }), corner.ref));
  const sum = np.sum(np.exp(entries.sub(top.ref)), -1, { keepdims: true }).add(np.exp(corner.sub(top.ref)));
  return logOfScalar(ratio(mass, sum)).sub(top);
}

export function finiteOrZero(top: np.Array): np.Array {
  return np.where(np.greater(top.ref, smallest), top, 0);
}

/** K = exp(l + f + g) and its slack parts: the plan that the potentials stand for. */
export function renewedKernel(problem: LogProblem, potentials: Potentials): Kernel {
  const { l, rowMass, columnMass, slack } = problem;
  const [batch, agents] = l.shape as [number, number];
  const k = np.exp(l.ref.add(potentials.f.ref.reshape([batch, agents, 1])).add(potentials.g.ref));
  if (slack === null || potentials.slack === null) return { k, rowMass, columnMass, slack: null };
  const { f0, g0 } = potentials.slack;
  return {
    k,
    rowMass,
    columnMass,
    slack: {
      idle: np.exp(slack.idle.ref.add(potentials.f.ref).add(g0.ref)),
      unserved: np.exp(slack.unserved.ref.add(potentials.g.ref).add(f0.ref)),
      corner: np.exp(slack.corner.ref.add(f0.ref).add(g0.ref)),
    },
  };
}

/** f + log u, g + log v. */
export function absorbed(potentials: Potentials, rows: Factors, columns: Factors): Potentials {
  const { f, g, slack } = potentials;
  return {
    f: f.add(np.log(rows.vector)),
    g: g.add(np.log(columns.vector)),
    slack:
      slack === null || rows.slack === null || columns.slack === null
        ? null
        : { f0: slack.f0.add(logOfScalar(rows.slack)), g0: slack.g0.add(logOfScalar(columns.slack)) },
  };
}
