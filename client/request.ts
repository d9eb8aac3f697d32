/**
 * What callers of the client hand in and get back: plain objects and typed arrays, no generated classes.
 * N agents, M tasks, d state width, e task width, k resource kinds, r response width, G groups.
 * Field meanings and defaults are those of proto/tensorconsensus/v1/coordinator.proto, in camelCase.
 */
import type { AssignmentForm, ConsensusStart, Operator, Priority } from '../src/problem.js';

export type { AssignmentForm, ConsensusStart, Operator, Priority };

/** The solvers that a request may name. */
export type SolverChoice = 'AUTO' | 'EXACT' | 'AUCTION' | 'GREEDY';

/** Row-major. The array's kind decides the dtype: float32, float64, int32, or uint8 for masks. */
export interface TensorInput {
  readonly data: Float32Array | Float64Array | Int32Array | Uint8Array;
  readonly shape: readonly number[];
}

/** Row-major; the array is the caller's own. */
export interface FloatTensor {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

export interface IntTensor {
  readonly data: Int32Array;
  readonly shape: readonly number[];
}

type Numbers = readonly number[] | Float32Array | Int32Array | Uint32Array;

/** One call. Fields that are left out have the defaults of the policy or of the API. */
export interface CoordinateRequest {
  /** Echoed; a random one is sent where it is left out, so that a server's log can be searched for it. */
  readonly requestId?: string | undefined;
  readonly policy?: string | undefined;
  /** [N,d]. A row with NaN, Infinity or |x| > 1e15 rejects that agent only. */
  readonly agents?: TensorInput | undefined;
  /** [M,e]; not together with `utility`. */
  readonly tasks?: TensorInput | undefined;
  /** [N,M], higher is better; -Infinity forbids a pair. */
  readonly utility?: TensorInput | undefined;
  /** [N,r] what the group must agree on; `agents` where left out. */
  readonly responses?: TensorInput | undefined;
  readonly agentIds?: readonly string[] | undefined;
  readonly taskIds?: readonly string[] | undefined;
  /** [N], 0 = as if absent. */
  readonly agentMask?: Uint8Array | undefined;
  /** [M], 0 = as if absent. */
  readonly taskMask?: Uint8Array | undefined;
  readonly operators?: readonly Operator[] | undefined;
  readonly projection?: { readonly resourceMax?: Numbers; readonly budget?: Numbers } | undefined;
  readonly assignment?: AssignmentRequest | undefined;
  readonly consensus?: ConsensusRequest | undefined;
  readonly seed?: number | bigint | undefined;
  readonly priority?: Priority | undefined;
  readonly forbidFallback?: boolean | undefined;
  /** Of no use outside streams. */
  readonly supersede?: boolean | undefined;
  /** Tensors travel as numbers instead of bytes: slow, and no difference to the answer here. */
  readonly outputValues?: boolean | undefined;
}

export interface AssignmentRequest {
  readonly forms?: readonly AssignmentForm[];
  readonly temperature?: number;
  readonly iterations?: number;
  readonly topK?: number;
  /** [N,M] added to the utility. */
  readonly bias?: TensorInput;
  /** [N,M] as booleans. */
  readonly forbidden?: Uint8Array;
  /** [M] */
  readonly capacities?: Numbers;
  readonly idleUtility?: number;
  /** [N], -1 = was idle. */
  readonly previous?: Numbers;
  readonly keepBonus?: number;
  /** [N], -2 free, -1 must idle, j must do j. */
  readonly locks?: Numbers;
  readonly solver?: SolverChoice;
  readonly solveBudgetUs?: number;
  readonly maxChange?: number;
  /** `warmStart` of an earlier answer. */
  readonly warmStart?: Uint8Array;
}

export interface ConsensusRequest {
  readonly sigma?: number;
  readonly start?: ConsensusStart;
  readonly iterations?: number;
  /** [N], each below N. */
  readonly groups?: Numbers;
}

export interface CoordinateAnswer {
  readonly requestId: string;
  /** [N,k], or null where there was no projection. */
  readonly resources: FloatTensor | null;
  readonly assignment: AssignmentAnswer | null;
  readonly consensus: ConsensusAnswer | null;
  readonly rejectedAgents: readonly number[];
  readonly execution: ExecutionReport | null;
}

export interface AssignmentAnswer {
  /** [N], -1 idle; empty where HARD was not asked for. */
  readonly taskOfAgent: Int32Array;
  readonly unservedTasks: readonly number[];
  readonly idleAgentIds: readonly string[];
  readonly unservedTaskIds: readonly string[];
  /** [N,M] */
  readonly plan: FloatTensor | null;
  /** [N,topK], heaviest first. */
  readonly topKTasks: IntTensor | null;
  readonly topKMass: FloatTensor | null;
  /** [N] */
  readonly idleMass: FloatTensor | null;
  readonly objective: number;
  readonly totalUtility: number;
  /** Certified: no allowed assignment beats it. */
  readonly upperBound: number;
  /** (upperBound - objective) / max(|objective|, 1e-12) */
  readonly gap: number;
  readonly solver: string;
  readonly sinkhornForm: string;
  readonly rowError: number;
  readonly columnError: number;
  readonly converged: boolean;
  readonly iterations: number;
  /** Share of agents whose task differs from `previous`. */
  readonly churn: number;
  readonly changeLimited: boolean;
  /** Opaque, for the next request; empty where the service makes none. */
  readonly warmStart: Uint8Array;
  readonly warmStartUsed: boolean;
}

export interface ConsensusAnswer {
  /** [r], or [G,r] with groups. */
  readonly centroid: FloatTensor;
  /** [N], sum 1 in a group. */
  readonly weights: FloatTensor;
  /** [N] */
  readonly kernel: FloatTensor;
  /** Indices, ascending; rejected agents included. */
  readonly outliers: readonly number[];
  readonly scale: readonly number[];
  readonly effectiveCount: readonly number[];
  readonly lastStep: number;
}

export interface ExecutionReport {
  readonly engine: string;
  readonly device: string;
  readonly bucket: string;
  readonly batchSize: number;
  readonly policyVersion: string;
  readonly executableFingerprint: string;
  readonly stages: readonly { readonly stage: string; readonly microseconds: number }[];
}

export interface PolicyInfo {
  readonly name: string;
  readonly version: string;
  readonly isDefault: boolean;
  /** d; 0: any. */
  readonly agentWidth: number;
  /** e; 0: any. */
  readonly taskWidth: number;
  /** k; 0: no projection. */
  readonly resourceKinds: number;
  readonly utility: string;
  readonly temperature: number;
  readonly iterations: number;
  /** Null: adaptive. */
  readonly sigma: number | null;
  readonly start: string;
  readonly forms: readonly string[];
  readonly buckets: readonly string[];
  readonly engine: string;
  readonly device: string;
  readonly fingerprint: string;
}

/** [rows, columns], row-major: the usual tensor. Fails where the length does not match. */
export function matrix(rows: number, columns: number, data: Float32Array | readonly number[]): FloatTensor {
  const values = data instanceof Float32Array ? data : Float32Array.from(data);
  if (values.length !== rows * columns) {
    throw new RangeError(`matrix: expected ${rows} x ${columns} = ${rows * columns} values, received ${values.length}`);
  }
  return { data: values, shape: [rows, columns] };
}
