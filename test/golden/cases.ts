/** The golden cases of the executable specification, decoded: the strings "NaN", "Infinity", "-Infinity" are numbers again. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';

interface CaseBase {
  readonly note?: string;
}

export interface ProjectCase extends CaseBase {
  readonly op: 'project';
  readonly states: number[][];
  readonly weight: number[][];
  readonly bias: number[];
  readonly r_max: number[];
  readonly budget?: number[];
  readonly resources: number[][];
}

export interface SinkhornCase extends CaseBase {
  readonly op: 'sinkhorn' | 'soft_assignment';
  readonly utility: number[][];
  readonly tau: number;
  readonly iterations: number;
  readonly col?: number[];
  readonly capacities?: number[];
  readonly idle?: number;
  readonly agent_mask?: number[];
  readonly task_mask?: number[];
  readonly plan: number[][];
  readonly idle_mass?: number[];
  readonly row_error_max?: number;
  readonly col_error_max?: number;
}

export interface ConsensusCase extends CaseBase {
  readonly op: 'consensus';
  readonly responses: number[][];
  readonly sigma?: number;
  readonly start?: 'mean' | 'medoid';
  readonly mask?: number[];
  readonly iterations: number;
  readonly centroid: number[];
  readonly weights: number[];
  readonly kernel: number[];
  readonly scaled_d2: number[];
  readonly flags: number[];
  readonly scale: number;
  readonly n_eff: number;
}

export type GoldenCase = ProjectCase | SinkhornCase | ConsensusCase;

const specials: Record<string, number> = { NaN: NaN, Infinity: Infinity, '-Infinity': -Infinity };

export function goldenCases(): GoldenCase[] {
  const text = readFileSync(join(packageRoot, 'test/golden/cases.json'), 'utf8');
  return JSON.parse(text, (_key, value: unknown) =>
    typeof value === 'string' && value in specials ? specials[value] : value,
  ) as GoldenCase[];
}

/** Largest |actual - expected| / max(1, |expected|); Infinity where a NaN or a length differs. */
export function worstError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!) / Math.max(1, Math.abs(expected[i]!));
    if (!(error <= worst)) worst = Number.isNaN(error) ? Infinity : error;
  }
  return worst;
}

/** Design tolerance of a plan: 1e-5, or 1e-3 where range(U)/temperature is above 50. */
export function planTolerance(golden: SinkhornCase): number {
  const finite = golden.utility.flat().filter(Number.isFinite);
  const range = Math.max(...finite) - Math.min(...finite);
  return range / golden.tau > 50 ? 1e-3 : 1e-5;
}
