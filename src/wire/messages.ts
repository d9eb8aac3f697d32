/**
 * The messages of coordinator.proto as @grpc/proto-loader gives them with `protoLoaderOptions`, and as it takes them.
 * A test holds `messageFields` against the .proto in both directions; the type of the table holds it against the
 * interfaces, so neither can drift.
 */
import type { Options } from '@grpc/proto-loader';

/** The one way in which the .proto is loaded: by the server, the client, reflection and the tests. */
export const protoLoaderOptions = {
  keepCase: false,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
} as const satisfies Options;

/** Below packageRoot: the include directory and, below that, the file. */
export const protoDirectory = 'proto';
export const protoFile = 'tensorconsensus/v1/coordinator.proto';
export const protoPackage = 'tensorconsensus.v1';

export type DTypeName = 'FLOAT32' | 'FLOAT64' | 'FLOAT16' | 'INT32' | 'UINT8';
export type OperatorName = 'OPERATOR_UNSPECIFIED' | 'PROJECTION' | 'ASSIGNMENT' | 'CONSENSUS';
export type PriorityName = 'NORMAL' | 'LOW' | 'HIGH';
export type AssignmentFormName = 'ASSIGNMENT_FORM_UNSPECIFIED' | 'HARD' | 'TOP_K' | 'PLAN';
export type SolverName = 'AUTO' | 'EXACT' | 'AUCTION' | 'GREEDY';
export type ConsensusStartName = 'CONSENSUS_START_UNSPECIFIED' | 'MEDOID' | 'MEAN';

/** Enums are open: a value that this version does not know arrives as its number. */
export type OpenEnum<Name extends string> = Name | number;

export interface TensorMessage {
  readonly dtype: OpenEnum<DTypeName>;
  /** int64 as decimal text. */
  readonly shape: readonly string[];
  /** Shares the memory of the whole message. */
  readonly data: Uint8Array;
  readonly values: readonly number[];
}

export interface CoordinateRequestMessage {
  readonly requestId: string;
  readonly policy: string;
  readonly agents: TensorMessage | null;
  readonly tasks: TensorMessage | null;
  readonly utility: TensorMessage | null;
  readonly responses: TensorMessage | null;
  readonly agentIds: readonly string[];
  readonly taskIds: readonly string[];
  readonly agentMask: TensorMessage | null;
  readonly taskMask: TensorMessage | null;
  readonly operators: readonly OpenEnum<OperatorName>[];
  readonly projection: ProjectionOptionsMessage | null;
  readonly assignment: AssignmentOptionsMessage | null;
  readonly consensus: ConsensusOptionsMessage | null;
  /** uint64 as decimal text. */
  readonly seed: string;
  readonly priority: OpenEnum<PriorityName>;
  readonly forbidFallback: boolean;
  readonly supersede: boolean;
  readonly outputValues: boolean;
}

export interface ProjectionOptionsMessage {
  readonly resourceMax: readonly number[];
  readonly budget: readonly number[];
}

export interface AssignmentOptionsMessage {
  readonly forms: readonly OpenEnum<AssignmentFormName>[];
  readonly temperature: number;
  readonly iterations: number;
  readonly topK: number;
  readonly bias: TensorMessage | null;
  readonly forbidden: TensorMessage | null;
  readonly capacities: readonly number[];
  readonly idleUtility?: number;
  readonly previous: readonly number[];
  readonly keepBonus: number;
  readonly locks: readonly number[];
  readonly solver: OpenEnum<SolverName>;
  readonly solveBudgetUs: number;
  readonly maxChange?: number;
  readonly warmStart: Uint8Array;
}

export interface ConsensusOptionsMessage {
  readonly sigma?: number;
  readonly start: OpenEnum<ConsensusStartName>;
  readonly iterations: number;
  readonly groups: readonly number[];
}

export interface CoordinateResponseMessage {
  readonly requestId: string;
  readonly resources: TensorMessage | null;
  readonly assignment: AssignmentResultMessage | null;
  readonly consensus: ConsensusResultMessage | null;
  readonly rejectedAgents: readonly number[];
  readonly execution: ExecutionMessage | null;
  readonly error: StreamErrorMessage | null;
}

export interface AssignmentResultMessage {
  readonly taskOfAgent: readonly number[];
  readonly unservedTasks: readonly number[];
  readonly idleAgentIds: readonly string[];
  readonly unservedTaskIds: readonly string[];
  readonly plan: TensorMessage | null;
  readonly topKTasks: TensorMessage | null;
  readonly topKMass: TensorMessage | null;
  readonly idleMass: TensorMessage | null;
  readonly objective: number;
  readonly totalUtility: number;
  readonly upperBound: number;
  readonly gap: number;
  readonly solver: string;
  readonly sinkhornForm: string;
  readonly rowError: number;
  readonly columnError: number;
  readonly converged: boolean;
  readonly iterations: number;
  readonly churn: number;
  readonly changeLimited: boolean;
  readonly warmStart: Uint8Array;
  readonly warmStartUsed: boolean;
}

export interface ConsensusResultMessage {
  readonly centroid: TensorMessage | null;
  readonly weights: TensorMessage | null;
  readonly kernel: TensorMessage | null;
  readonly outliers: readonly number[];
  readonly scale: readonly number[];
  readonly effectiveCount: readonly number[];
  readonly lastStep: number;
}

export interface ExecutionMessage {
  readonly engine: string;
  readonly device: string;
  readonly bucket: string;
  readonly batchSize: number;
  readonly policyVersion: string;
  readonly executableFingerprint: string;
  readonly stages: readonly StageTimeMessage[];
}

export interface StageTimeMessage {
  readonly stage: string;
  readonly microseconds: number;
}

export interface StreamErrorMessage {
  readonly code: number;
  readonly reason: string;
  readonly message: string;
  readonly retryAfterMs: number;
  /** '' where there is none. */
  readonly traceId: string;
}

export type ListPoliciesRequestMessage = Readonly<Record<string, never>>;

export interface ListPoliciesResponseMessage {
  readonly policies: readonly PolicyInfoMessage[];
}

export interface PolicyInfoMessage {
  readonly name: string;
  readonly version: string;
  readonly isDefault: boolean;
  readonly agentWidth: number;
  readonly taskWidth: number;
  readonly resourceKinds: number;
  readonly utility: string;
  readonly temperature: number;
  readonly iterations: number;
  readonly sigma?: number;
  readonly start: OpenEnum<ConsensusStartName>;
  readonly forms: readonly OpenEnum<AssignmentFormName>[];
  readonly buckets: readonly string[];
  readonly engine: string;
  readonly device: string;
  readonly fingerprint: string;
}

/**
 * What the sender of a message may pass: every field may be left out, messages likewise at any depth, and int64 may be
 * numbers. `data` is sent from where it lies.
 */
export type MessageInput<T> = T extends string | number | boolean | Uint8Array | null
  ? T
  : T extends readonly (infer Item)[]
    ? readonly MessageInput<Item>[]
    : { readonly [K in keyof T]?: (K extends 'shape' ? readonly (string | number)[] : MessageInput<T[K]>) | undefined };

/**
 * A message as the encoder takes it, which looks at nothing: enums and 64-bit integers are numbers. Of the answer's messages only tensors have any.
 */
export type Sent<T> = T extends TensorMessage
  ? SentTensor
  : T extends string | number | boolean | null | Uint8Array | readonly unknown[]
    ? T
    : { readonly [K in keyof T]: Sent<T[K]> };

export interface SentTensor {
  /** Index in `enumNames.DType`. */
  readonly dtype: number;
  readonly shape: readonly number[];
  /** Sent from where it lies: it must not change until then. */
  readonly data: Uint8Array;
  readonly values: readonly number[];
}

export type TensorInput = MessageInput<TensorMessage>;
export type CoordinateRequestInput = MessageInput<CoordinateRequestMessage>;

type FieldTable<T> = { readonly [K in keyof Required<T>]: string };

/** Type of every field as the .proto writes it, by message and JavaScript name. */
export const messageFields = {
  Tensor: {
    dtype: 'DType',
    shape: 'repeated int64',
    data: 'bytes',
    values: 'repeated float',
  } satisfies FieldTable<TensorMessage>,
  CoordinateRequest: {
    requestId: 'string',
    policy: 'string',
    agents: 'Tensor',
    tasks: 'Tensor',
    utility: 'Tensor',
    responses: 'Tensor',
    agentIds: 'repeated string',
    taskIds: 'repeated string',
    agentMask: 'Tensor',
    taskMask: 'Tensor',
    operators: 'repeated Operator',
    projection: 'ProjectionOptions',
    assignment: 'AssignmentOptions',
    consensus: 'ConsensusOptions',
    seed: 'uint64',
    priority: 'Priority',
    forbidFallback: 'bool',
    supersede: 'bool',
    outputValues: 'bool',
  } satisfies FieldTable<CoordinateRequestMessage>,
  ProjectionOptions: {
    resourceMax: 'repeated float',
    budget: 'repeated float',
  } satisfies FieldTable<ProjectionOptionsMessage>,
  AssignmentOptions: {
    forms: 'repeated AssignmentForm',
    temperature: 'float',
    iterations: 'uint32',
    topK: 'uint32',
    bias: 'Tensor',
    forbidden: 'Tensor',
    capacities: 'repeated uint32',
    idleUtility: 'optional float',
    previous: 'repeated sint32',
    keepBonus: 'float',
    locks: 'repeated sint32',
    solver: 'Solver',
    solveBudgetUs: 'uint32',
    maxChange: 'optional float',
    warmStart: 'bytes',
  } satisfies FieldTable<AssignmentOptionsMessage>,
  ConsensusOptions: {
    sigma: 'optional float',
    start: 'ConsensusStart',
    iterations: 'uint32',
    groups: 'repeated uint32',
  } satisfies FieldTable<ConsensusOptionsMessage>,
  CoordinateResponse: {
    requestId: 'string',
    resources: 'Tensor',
    assignment: 'AssignmentResult',
    consensus: 'ConsensusResult',
    rejectedAgents: 'repeated uint32',
    execution: 'Execution',
    error: 'StreamError',
  } satisfies FieldTable<CoordinateResponseMessage>,
  AssignmentResult: {
    taskOfAgent: 'repeated sint32',
    unservedTasks: 'repeated uint32',
    idleAgentIds: 'repeated string',
    unservedTaskIds: 'repeated string',
    plan: 'Tensor',
    topKTasks: 'Tensor',
    topKMass: 'Tensor',
    idleMass: 'Tensor',
    objective: 'double',
    totalUtility: 'double',
    upperBound: 'double',
    gap: 'double',
    solver: 'string',
    sinkhornForm: 'string',
    rowError: 'float',
    columnError: 'float',
    converged: 'bool',
    iterations: 'uint32',
    churn: 'float',
    changeLimited: 'bool',
    warmStart: 'bytes',
    warmStartUsed: 'bool',
  } satisfies FieldTable<AssignmentResultMessage>,
  ConsensusResult: {
    centroid: 'Tensor',
    weights: 'Tensor',
    kernel: 'Tensor',
    outliers: 'repeated uint32',
    scale: 'repeated float',
    effectiveCount: 'repeated float',
    lastStep: 'float',
  } satisfies FieldTable<ConsensusResultMessage>,
  Execution: {
    engine: 'string',
    device: 'string',
    bucket: 'string',
    batchSize: 'uint32',
    policyVersion: 'string',
    executableFingerprint: 'string',
    stages: 'repeated StageTime',
  } satisfies FieldTable<ExecutionMessage>,
  StageTime: { stage: 'string', microseconds: 'double' } satisfies FieldTable<StageTimeMessage>,
  StreamError: {
    code: 'uint32',
    reason: 'string',
    message: 'string',
    retryAfterMs: 'uint32',
    traceId: 'string',
  } satisfies FieldTable<StreamErrorMessage>,
  ListPoliciesRequest: {},
  ListPoliciesResponse: { policies: 'repeated PolicyInfo' } satisfies FieldTable<ListPoliciesResponseMessage>,
  PolicyInfo: {
    name: 'string',
    version: 'string',
    isDefault: 'bool',
    agentWidth: 'uint32',
    taskWidth: 'uint32',
    resourceKinds: 'uint32',
    utility: 'string',
    temperature: 'float',
    iterations: 'uint32',
    sigma: 'optional float',
    start: 'ConsensusStart',
    forms: 'repeated AssignmentForm',
    buckets: 'repeated string',
    engine: 'string',
    device: 'string',
    fingerprint: 'string',
  } satisfies FieldTable<PolicyInfoMessage>,
} as const;

/** Names of every enum's values, in the order of their numbers. */
export const enumNames = {
  DType: ['FLOAT32', 'FLOAT64', 'FLOAT16', 'INT32', 'UINT8'] satisfies DTypeName[],
  Operator: ['OPERATOR_UNSPECIFIED', 'PROJECTION', 'ASSIGNMENT', 'CONSENSUS'] satisfies OperatorName[],
  Priority: ['NORMAL', 'LOW', 'HIGH'] satisfies PriorityName[],
  AssignmentForm: ['ASSIGNMENT_FORM_UNSPECIFIED', 'HARD', 'TOP_K', 'PLAN'] satisfies AssignmentFormName[],
  Solver: ['AUTO', 'EXACT', 'AUCTION', 'GREEDY'] satisfies SolverName[],
  ConsensusStart: ['CONSENSUS_START_UNSPECIFIED', 'MEDOID', 'MEAN'] satisfies ConsensusStartName[],
} as const;
