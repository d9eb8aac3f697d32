/**
 * The domain's request and answer, free of wire formats: what `wire/request.ts` makes and `wire/response.ts` encodes.
 * N agents, M tasks, d state width, e task width, k resource kinds, r response width, G groups.
 */
import type { Policy } from './policies/policy.js';
import type { TickState, WarmStart } from './warm-start.js';

/** Row-major float32 matrix that owns its memory or borrows it from the request; never written to. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float32Array;
  /** Sum of squares of each row, where checking the request has computed them. */
  readonly rowSquares?: Float64Array;
}

export type Operator = 'PROJECTION' | 'ASSIGNMENT' | 'CONSENSUS';
export type Priority = 'LOW' | 'NORMAL' | 'HIGH';
export type AssignmentForm = 'HARD' | 'TOP_K' | 'PLAN';
export type Solver = 'AUTO' | 'EXACT' | 'AUCTION' | 'GREEDY';
export type ConsensusStart = 'MEDOID' | 'MEAN';
export type SinkhornForm = 'scaling' | 'log';

/** A validated request with all defaults applied. Lengths agree with N and M; every number is finite unless said. */
export interface Problem {
  readonly requestId: string;
  readonly policy: Policy;
  /** N. At least 1. */
  readonly agentCount: number;
  /** M. 0 where the request has neither tasks nor utility. */
  readonly taskCount: number;
  /** [N,d], or null where only `utility` was given. Rejected rows may hold anything, NaN included. */
  readonly agents: Matrix | null;
  /** [M,e]; null where `utility` is given or there is no assignment. */
  readonly tasks: Matrix | null;
  /** [N,M], -Infinity = forbidden pair; null where it is computed from agents and tasks. */
  readonly utility: Matrix | null;
  /** [N,r] what the group must agree on; the same object as `agents` where the request gave none. */
  readonly responses: Matrix | null;
  readonly agentIds: readonly string[] | null;
  readonly taskIds: readonly string[] | null;
  /** [N] 1 where the agent is neither masked nor rejected. */
  readonly agentActive: Uint8Array;
  /** [M] 1 where the task is not masked. */
  readonly taskActive: Uint8Array;
  /** Unmasked agents whose agents or responses row held NaN, Inf or |x| > 1e15; ascending. */
  readonly rejectedAgents: readonly number[];
  readonly priority: Priority;
  readonly forbidFallback: boolean;
  readonly outputValues: boolean;
  readonly projection: ProjectionProblem | null;
  readonly assignment: AssignmentProblem | null;
  readonly consensus: ConsensusProblem | null;
  /** What an earlier answer left, lined up with this request's agents and tasks; null: a cold start. It changes how fast an answer is found, never what is true of it. */
  readonly warmStart: WarmStart | null;
}

export interface ProjectionProblem {
  /** [k] */
  readonly resourceMax: Float32Array;
  /** [k], or null: no global cap. */
  readonly budget: Float32Array | null;
}

export interface AssignmentProblem {
  readonly forms: ReadonlySet<AssignmentForm>;
  readonly temperature: number;
  readonly iterations: number;
  /** At most M. */
  readonly topK: number;
  /** [N,M] utility added to pairs, -Infinity = forbidden; `forbidden` of the request is folded in. Null: none. Keep bonus not included. */
  readonly bias: Float32Array | null;
  /** [M], or null: 1 each. */
  readonly capacities: Uint32Array | null;
  /** Null: not given. */
  readonly idleUtility: number | null;
  /** [N] task index or -1; null: not given. */
  readonly previous: Int32Array | null;
  readonly keepBonus: number;
  /** [N] -2 free, -1 must idle, j must do j; null: all free. Never contradictory. */
  readonly locks: Int32Array | null;
  readonly solver: Solver;
  /** Null: not given. */
  readonly solveBudgetMs: number | null;
  /** Largest share of the active agents whose task may differ from `previous`, 0 to 1; null: no limit. Limits nothing without `previous`. */
  readonly maxChange: number | null;
}

export interface ConsensusProblem {
  /** Null: adaptive. */
  readonly sigma: number | null;
  readonly start: ConsensusStart;
  readonly iterations: number;
  /** [N] group number of each agent; null: one group. */
  readonly groups: Uint32Array | null;
}

export type StageName = 'decode' | 'queue' | 'pack' | 'transfer_in' | 'execute' | 'transfer_out' | 'assign' | 'encode';

/** What a Coordinate call answers, before encoding. Arrays are owned by the answer. */
export interface Answer {
  readonly requestId: string;
  /** [N,k] */
  readonly resources: Matrix | null;
  readonly assignment: AssignmentAnswer | null;
  readonly consensus: ConsensusAnswer | null;
  readonly rejectedAgents: readonly number[];
  readonly execution: ExecutionReport;
  /** What the next tick may start from; null where there is nothing to carry over. */
  readonly tick: TickState | null;
}

export interface AssignmentAnswer {
  readonly hard: HardAnswer | null;
  readonly soft: SoftAnswer | null;
  /** Share of agents whose task differs from `previous`; 0 where `previous` or the hard form was not asked for. */
  readonly churn: number;
  /** Whether anything of `Problem.warmStart` was used. */
  readonly warmStartUsed: boolean;
}

export interface HardAnswer {
  /** [N], -1 idle. */
  readonly taskOfAgent: Int32Array;
  /** Active tasks with free capacity left; ascending. */
  readonly unservedTasks: readonly number[];
  readonly objective: number;
  readonly totalUtility: number;
  readonly upperBound: number;
  readonly gap: number;
  /** What ran: `exact`, `auction`, `greedy`, `sparse-exact` or `sparse-auction`. */
  readonly solver: string;
  /** `max_change` kept the answer from being better. */
  readonly changeLimited: boolean;
  /** [M] dual prices in units of utility, at least 0, for the next tick; null where the solver has none. */
  readonly taskPrices: Float64Array | null;
}

export interface SoftAnswer {
  readonly form: SinkhornForm;
  readonly iterations: number;
  /** Maximum absolute marginal error over active agents, tasks. */
  readonly rowError: number;
  readonly columnError: number;
  /** [N,M], or null where PLAN was not asked for. */
  readonly plan: Matrix | null;
  /** [N,topK] task indices and masses, heaviest first, ties to the lower index; null where TOP_K was not asked for. */
  readonly topK: { readonly count: number; readonly tasks: Int32Array; readonly mass: Float32Array } | null;
  /** [N] */
  readonly idleMass: Float32Array;
}

export interface ConsensusAnswer {
  /** [r] with groupCount null, else [G,r]. */
  readonly centroid: Float32Array;
  readonly responseWidth: number;
  readonly groupCount: number | null;
  readonly weights: Float32Array;
  readonly kernel: Float32Array;
  /** Ascending; rejected agents included, masked ones not. */
  readonly outliers: readonly number[];
  readonly scale: Float32Array;
  readonly effectiveCount: Float32Array;
  readonly lastStep: number;
}

export interface ExecutionReport {
  readonly engine: string;
  readonly device: string;
  readonly bucket: string;
  readonly batchSize: number;
  readonly policyVersion: string;
  readonly executableFingerprint: string;
  readonly stages: readonly { readonly stage: StageName; readonly microseconds: number }[];
}
