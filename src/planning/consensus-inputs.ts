/** The consensus operator's inputs that depend on counts and true widths: constants, ranks and medoid candidates. */
import type { JobTensor } from '../batching/job.js';
import { medoidCandidates } from '../operators/signature.js';
import type { ConsensusProblem, Matrix } from '../problem.js';

/** Weight efficiency on clean Gaussian data at which sigma is set. */
const efficiency = 0.95;
/** Standard normal quantile of 99.9 %: outliers are beyond it. */
const outlierQuantile = 3.0902;
/**
 * A fixed sigma^2 is read within these: 0 means adaptive, and above, inactive agents (at squared distance 1e38) would
 * get weight. Squared distances of accepted states stay below 1e34.
 */
const sigmaSquaredRange = [1e-30, 4e35] as const;

/** sigma/s at which exp(-r^2/2 sigma^2) keeps 95 % efficiency in d dimensions. */
export function sigmaFactor(d: number): number {
  const t = Math.sqrt(1 - efficiency ** (2 / (d + 2)));
  return Math.sqrt((1 - t) / t);
}

/** Wilson-Hilferty quantile of chi^2 with d degrees of freedom at the normal quantile z. */
export function chi2Quantile(d: number, z: number): number {
  return d * (1 - 2 / (9 * d) + z * Math.sqrt(2 / (9 * d))) ** 3;
}

/**
 * Adds `responses` (unless shared with agents), `candidates`, `median_ranks` and `consensus_constants` to a job's inputs.
 * `lastCentroid` [r], null: none, is the last candidate in place of an agent. It wins only where its median squared distance is
 * the least, so a stale or captured one changes nothing.
 */
export function addConsensusInputs(
  inputs: Map<string, JobTensor>,
  responses: Matrix,
  active: Uint8Array,
  consensus: ConsensusProblem,
  shared: boolean,
  lastCentroid: Float32Array | null,
): void {
  const { rows, columns, data } = responses;
  if (!shared) inputs.set('responses', { rows, columns, data, rowMask: active });
  const indices = activeIndices(active);
  const count = indices.length;
  if (consensus.start === 'MEDOID') {
    const candidates = new Float32Array(medoidCandidates * columns);
    for (let c = 0; c < medoidCandidates && count > 0; c++) {
      const pick = indices[Math.floor((c * count) / medoidCandidates)]!;
      candidates.set(data.subarray(pick * columns, (pick + 1) * columns), c * columns);
    }
    if (lastCentroid !== null) candidates.set(lastCentroid, (medoidCandidates - 1) * columns);
    inputs.set('candidates', { rows: medoidCandidates, columns, data: candidates });
  }
  const lower = Math.max(Math.floor((count - 1) / 2), 0);
  const upper = Math.min(Math.floor(count / 2), Math.max(count - 1, 0));
  inputs.set('median_ranks', { rows: 1, columns: 2, data: Int32Array.of(lower, upper) });
  const { sigma } = consensus;
  const [low, high] = sigmaSquaredRange;
  const constants = Float32Array.of(
    sigmaFactor(columns) ** 2,
    chi2Quantile(columns, 0),
    chi2Quantile(columns, outlierQuantile),
    sigma === null ? 0 : Math.min(Math.max(sigma * sigma, low), high),
  );
  inputs.set('consensus_constants', { rows: 1, columns: 4, data: constants });
}

export function activeIndices(active: Uint8Array): Uint32Array {
  const indices = new Uint32Array(active.length);
  let count = 0;
  for (let i = 0; i < active.length; i++) if (active[i] === 1) indices[count++] = i;
  return indices.subarray(0, count);
}
