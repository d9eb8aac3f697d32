/** What a large problem is, and what its worker and the service tell each other. Structured-cloned plain data; matrices own their buffers. */
import type { HardResult } from '../assignment/hard.js';
import type { SparseProblem } from '../assignment/sparse-problem.js';
import { sizeLadder } from '../batching/buckets.js';
import type { ErrorCode, FieldViolation } from '../errors.js';
import type { ConsensusAnswer, Matrix, Problem } from '../problem.js';
import type { ConsensusInputs } from './consensus.js';
import type { ProjectionInputs } from './projection.js';
import type { LargeSoft, SoftInputs } from './soft.js';

/** Beyond every bucket: no tensor program is compiled for it. */
export function isLarge({ agentCount, taskCount }: Pick<Problem, 'agentCount' | 'taskCount'>): boolean {
  const largest = sizeLadder[sizeLadder.length - 1]!;
  return agentCount > largest || taskCount > largest;
}

/** How the worker gets at the utility of a bilinear policy: the vectors a W / sqrt(d) are computed there. */
export interface BilinearInputs {
  /** [N,d] */
  readonly agents: Float32Array;
  /** [d,e] */
  readonly weight: Matrix;
}

export interface LargeProblem {
  readonly agentActive: Uint8Array;
  readonly rejectedAgents: readonly number[];
  readonly states: Matrix | null;
  readonly projection: ProjectionInputs | null;
  readonly responses: Matrix | null;
  readonly consensus: ConsensusInputs | null;
  /** `values` hold no agents where `bilinear` is given. */
  readonly assignment: SparseProblem | null;
  readonly bilinear: BilinearInputs | null;
  readonly soft: SoftInputs | null;
  readonly isHard: boolean;
  /** Until the caller's deadline; null: none. */
  readonly timeLeftMs: number | null;
}

export interface LargeResult {
  readonly resources: Matrix | null;
  readonly consensus: ConsensusAnswer | null;
  readonly soft: LargeSoft | null;
  readonly hard: HardResult | null;
  /** Everything but the hard assignment; the hard assignment. */
  readonly executeMs: number;
  readonly assignMs: number;
}

export interface LargeFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly violations: readonly FieldViolation[];
}

/** [1] shared: 1 where nobody waits for the problem in work. */
export interface LargeWorkerData {
  readonly cancelFlag: Int32Array;
}

/** Worker to service: that it can take a problem, or the outcome of the one in work. */
export type LargeReply = 'ready' | { readonly result: LargeResult | null; readonly failure: LargeFailure | null };
