/** Robust consensus (eq. (3)) of any number of agents, agent by agent in double precision. Memory: a few numbers per agent. */
import { medoidCandidates } from '../operators/signature.js';
import { activeIndices, chi2Quantile, sigmaFactor } from '../planning/consensus-inputs.js';
import type { ConsensusAnswer, ConsensusStart, Matrix } from '../problem.js';

export interface ConsensusInputs {
  readonly sigma: number | null;
  readonly start: ConsensusStart;
  readonly iterations: number;
  readonly groups: Uint32Array | null;
}

/** Standard normal quantile of 99.9 %: outliers are beyond it. */
const outlierQuantile = 3.0902;
/** Below this a squared width counts as zero. */
const tiny = 1e-30;

/**
 * The answer for responses [N,r], each group of its own. `rejectedAgents` are flagged beside what is found. `look` is called now and then, and may
 * throw. Groups without active members: centroid, scale and count 0.
 */
export function consensusOf(
  responses: Matrix,
  active: Uint8Array,
  inputs: ConsensusInputs,
  rejectedAgents: readonly number[],
  look: () => void,
): ConsensusAnswer {
  const { rows, columns: width } = responses;
  const { groups } = inputs;
  const members = groups === null ? [activeIndices(active)] : membersOf(groups, active);
  const answer = {
    centroid: new Float32Array(members.length * width),
    weights: new Float32Array(rows),
    kernel: new Float32Array(rows),
    scale: new Float32Array(members.length),
    effectiveCount: new Float32Array(members.length),
  };
  const outliers = [...rejectedAgents];
  let lastStep = 0;
  for (const [group, agents] of members.entries()) {
    if (agents.length === 0) continue;
    const found = new GroupConsensus(responses, agents, inputs, look).solve();
    answer.centroid.set(found.centroid, group * width);
    answer.scale[group] = found.scale;
    answer.effectiveCount[group] = found.effectiveCount;
    lastStep = Math.max(lastStep, found.lastStep);
    for (let at = 0; at < agents.length; at++) {
      answer.weights[agents[at]!] = found.weights[at]!;
      answer.kernel[agents[at]!] = found.kernel[at]!;
      if (found.squares[at]! > found.limit) outliers.push(agents[at]!);
    }
  }
  outliers.sort((a, b) => a - b);
  return { ...answer, responseWidth: width, groupCount: groups === null ? null : members.length, outliers, lastStep };
}

/** Active members of each group up to the largest used, ascending. */
function membersOf(groups: Uint32Array, active: Uint8Array): Uint32Array[] {
  let count = 0;
  for (const group of groups) count = Math.max(count, group + 1);
  const sizes = new Uint32Array(count);
  for (let i = 0; i < groups.length; i++) if (active[i] === 1) sizes[groups[i]!]!++;
  const members = Array.from(sizes, (size) => new Uint32Array(size));
  sizes.fill(0);
  for (let i = 0; i < groups.length; i++) {
    if (active[i] === 1) members[groups[i]!]![sizes[groups[i]!]!++] = i;
  }
  return members;
}

interface FoundConsensus {
  readonly centroid: Float64Array;
  readonly weights: Float64Array;
  readonly kernel: Float64Array;
  /** Squared distances to the centroid, and beyond which an agent is an outlier. */
  readonly squares: Float64Array;
  readonly limit: number;
  readonly scale: number;
  readonly effectiveCount: number;
  readonly lastStep: number;
}

class GroupConsensus {
  readonly #responses: Matrix;
  readonly #agents: Uint32Array;
  readonly #inputs: ConsensusInputs;
  readonly #look: () => void;
  readonly #squares: Float64Array;
  readonly #scratch: Float64Array;
  readonly #weights: Float64Array;

  constructor(responses: Matrix, agents: Uint32Array, inputs: ConsensusInputs, look: () => void) {
    this.#responses = responses;
    this.#agents = agents;
    this.#inputs = inputs;
    this.#look = look;
    this.#squares = new Float64Array(agents.length);
    this.#scratch = new Float64Array(agents.length);
    this.#weights = new Float64Array(agents.length);
  }

  solve(): FoundConsensus {
    const { columns: width } = this.#responses;
    const { sigma, iterations } = this.#inputs;
    let centroid = this.#inputs.start === 'MEAN' ? this.#mean() : this.#medoid();
    let lastStep = 0;
    const chi2Median = chi2Quantile(width, 0);
    const factor = sigmaFactor(width) ** 2;
    let variance = 0;
    let denominator = 1;
    const measure = (): void => {
      this.#distances(centroid);
      variance = this.#median() / chi2Median;
      denominator = 2 * Math.max(sigma === null ? factor * variance : sigma * sigma, tiny);
    };
    for (let iteration = 0; iteration < iterations; iteration++) {
      measure();
      this.#softmax(denominator);
      const next = this.#weightedMean(centroid);
      lastStep = 0;
      for (let c = 0; c < width; c++) lastStep = Math.max(lastStep, Math.abs(next[c]! - centroid[c]!));
      centroid = next;
    }
    measure();
    this.#softmax(denominator);
    let power = 0;
    for (const weight of this.#weights) power += weight * weight;
    return {
      centroid,
      weights: this.#weights,
      kernel: this.#squares.map((square) => Math.exp(-square / denominator)),
      squares: this.#squares,
      limit: Math.max(variance, tiny) * chi2Quantile(width, outlierQuantile),
      scale: Math.sqrt(variance),
      effectiveCount: 1 / power,
      lastStep,
    };
  }

  #mean(): Float64Array {
    this.#weights.fill(1 / this.#agents.length);
    return this.#weightedMean(this.#row(this.#agents[0]!));
  }

  /** Of 16 evenly spaced members the one with the least median squared distance; ties go to the lower index. */
  #medoid(): Float64Array {
    let best = Infinity;
    let chosen = this.#agents[0]!;
    let last = -1;
    for (let candidate = 0; candidate < medoidCandidates; candidate++) {
      const pick = this.#agents[Math.floor((candidate * this.#agents.length) / medoidCandidates)]!;
      if (pick === last) continue;
      last = pick;
      this.#distances(this.#row(pick));
      const median = this.#median();
      if (median >= best) continue;
      best = median;
      chosen = pick;
    }
    return this.#row(chosen);
  }

  #row(agent: number): Float64Array {
    const { columns, data } = this.#responses;
    return Float64Array.from(data.subarray(agent * columns, (agent + 1) * columns));
  }

  #distances(point: Float64Array): void {
    this.#look();
    const { columns, data } = this.#responses;
    for (let at = 0; at < this.#agents.length; at++) {
      const from = this.#agents[at]! * columns;
      let square = 0;
      for (let c = 0; c < columns; c++) {
        const difference = data[from + c]! - point[c]!;
        square += difference * difference;
      }
      this.#squares[at] = square;
    }
  }

  /** Of the squared distances; the mean of the two middle ones where their number is even. */
  #median(): number {
    const values = this.#scratch;
    values.set(this.#squares);
    const upper = values.length >> 1;
    const high = selectRank(values, upper);
    if ((values.length & 1) === 1) return high;
    let low = -Infinity;
    for (let at = 0; at < upper; at++) if (values[at]! > low) low = values[at]!;
    return (low + high) / 2;
  }

  #softmax(denominator: number): void {
    let nearest = Infinity;
    for (const square of this.#squares) if (square < nearest) nearest = square;
    let sum = 0;
    for (let at = 0; at < this.#weights.length; at++) {
      const power = Math.exp((nearest - this.#squares[at]!) / denominator);
      this.#weights[at] = power;
      sum += power;
    }
    for (let at = 0; at < this.#weights.length; at++) this.#weights[at] = this.#weights[at]! / sum;
  }

  /** Seen from `origin`, so that what all have in common does not round. */
  #weightedMean(origin: Float64Array): Float64Array {
    const { columns, data } = this.#responses;
    const sums = new Float64Array(columns);
    for (let at = 0; at < this.#agents.length; at++) {
      const weight = this.#weights[at]!;
      if (weight === 0) continue;
      const from = this.#agents[at]! * columns;
      for (let c = 0; c < columns; c++) sums[c] = sums[c]! + weight * (data[from + c]! - origin[c]!);
    }
    return sums.map((sum, c) => origin[c]! + sum);
  }
}

/** Puts the value of a rank at its place, none greater before it, and gives it. Linear on average. */
function selectRank(values: Float64Array, rank: number): number {
  let left = 0;
  let right = values.length - 1;
  while (right > left) {
    const a = values[left]!;
    const b = values[(left + right) >>> 1]!;
    const c = values[right]!;
    const pivot = Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
    let i = left;
    let j = right;
    while (i <= j) {
      while (values[i]! < pivot) i++;
      while (values[j]! > pivot) j--;
      if (i > j) break;
      const swap = values[i]!;
      values[i++] = values[j]!;
      values[j--] = swap;
    }
    if (rank <= j) right = j;
    else if (rank >= i) left = i;
    else break;
  }
  return values[rank]!;
}
