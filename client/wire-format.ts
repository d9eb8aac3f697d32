/** Between the client's plain types and the messages of coordinator.proto. */
import type {
  AssignmentResultMessage,
  ConsensusResultMessage,
  CoordinateRequestInput,
  CoordinateResponseMessage,
  ListPoliciesResponseMessage,
  PolicyInfoMessage,
  TensorInput as TensorMessageInput,
  TensorMessage,
} from '../src/wire/messages.js';
import { decodeFloats, decodeTensor, encodeTensor, isGiven } from '../src/wire/tensor.js';
import type {
  AssignmentAnswer,
  AssignmentRequest,
  ConsensusAnswer,
  CoordinateAnswer,
  CoordinateRequest,
  FloatTensor,
  IntTensor,
  PolicyInfo,
  TensorInput,
} from './request.js';

/** Tensors are not copied: their arrays must not change until the call is answered or has failed. */
export function encodeRequest(request: CoordinateRequest, requestId: string): CoordinateRequestInput {
  return {
    requestId,
    policy: request.policy,
    agents: tensor(request.agents),
    tasks: tensor(request.tasks),
    utility: tensor(request.utility),
    responses: tensor(request.responses),
    agentIds: request.agentIds,
    taskIds: request.taskIds,
    agentMask: mask(request.agentMask),
    taskMask: mask(request.taskMask),
    operators: request.operators,
    projection:
      request.projection === undefined
        ? undefined
        : { resourceMax: list(request.projection.resourceMax), budget: list(request.projection.budget) },
    assignment: request.assignment === undefined ? undefined : assignment(request, request.assignment),
    consensus:
      request.consensus === undefined ? undefined : { ...request.consensus, groups: list(request.consensus.groups) },
    seed: request.seed?.toString(),
    priority: request.priority,
    forbidFallback: request.forbidFallback,
    supersede: request.supersede,
    outputValues: request.outputValues,
  };
}

/** The request with that warm start; null where it brings one of its own, or asks for no assignment. */
export function withWarmStart(message: CoordinateRequestInput, warmStart: Uint8Array): CoordinateRequestInput | null {
  const { operators, tasks, utility, assignment: options } = message;
  const assigns = operators == null || operators.length === 0 || operators.includes('ASSIGNMENT');
  if (!assigns || (tasks == null && utility == null) || (options?.warmStart?.length ?? 0) > 0) return null;
  return { ...message, assignment: { ...options, warmStart } };
}

function assignment(request: CoordinateRequest, options: AssignmentRequest): CoordinateRequestInput['assignment'] {
  const { bias, forbidden, capacities, previous, locks, ...plain } = options;
  return {
    ...plain,
    bias: tensor(bias),
    forbidden: forbidden === undefined ? undefined : encodeTensor(forbidden, pairShape(request, forbidden.length)),
    capacities: list(capacities),
    previous: list(previous),
    locks: list(locks),
  };
}

/** [N,M] as the request's other tensors say it, else by one of them and the length; the server checks the rest. */
function pairShape(request: CoordinateRequest, length: number): number[] {
  const n = request.utility?.shape[0] ?? request.agents?.shape[0] ?? request.agentMask?.length ?? 1;
  return [n, request.utility?.shape[1] ?? request.tasks?.shape[0] ?? length / n];
}

function tensor(input: TensorInput | undefined): TensorMessageInput | undefined {
  if (input === undefined) return undefined;
  const { data, shape } = input;
  if (!(data instanceof Float64Array)) return encodeTensor(data, shape);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { dtype: 'FLOAT64', shape, data: bytes };
}

function mask(data: Uint8Array | undefined): TensorMessageInput | undefined {
  return data === undefined ? undefined : encodeTensor(data, [data.length]);
}

function list(numbers: ArrayLike<number> | undefined): number[] | undefined {
  return numbers === undefined ? undefined : Array.from(numbers);
}

/** @throws CoordinatorError where the server's answer is malformed. */
export function decodeAnswer(message: CoordinateResponseMessage): CoordinateAnswer {
  return {
    requestId: message.requestId,
    resources: floats('resources', message.resources),
    assignment: message.assignment === null ? null : decodeAssignment(message.assignment),
    consensus: message.consensus === null ? null : decodeConsensus(message.consensus),
    rejectedAgents: message.rejectedAgents,
    execution: message.execution,
  };
}

function decodeAssignment(message: AssignmentResultMessage): AssignmentAnswer {
  return {
    ...message,
    taskOfAgent: Int32Array.from(message.taskOfAgent),
    plan: floats('assignment.plan', message.plan),
    topKTasks: integers('assignment.top_k_tasks', message.topKTasks),
    topKMass: floats('assignment.top_k_mass', message.topKMass),
    idleMass: floats('assignment.idle_mass', message.idleMass),
  };
}

function decodeConsensus(message: ConsensusResultMessage): ConsensusAnswer {
  const none: FloatTensor = { data: new Float32Array(0), shape: [0] };
  return {
    ...message,
    centroid: floats('consensus.centroid', message.centroid) ?? none,
    weights: floats('consensus.weights', message.weights) ?? none,
    kernel: floats('consensus.kernel', message.kernel) ?? none,
  };
}

function floats(field: string, message: TensorMessage | null): FloatTensor | null {
  return isGiven(message) ? decodeFloats(field, message, {}) : null;
}

function integers(field: string, message: TensorMessage | null): IntTensor | null {
  if (!isGiven(message)) return null;
  const { shape, data } = decodeTensor(field, message);
  return { shape, data: data instanceof Int32Array ? data : Int32Array.from(data) };
}

export function decodePolicies(message: ListPoliciesResponseMessage): PolicyInfo[] {
  return message.policies.map((policy: PolicyInfoMessage): PolicyInfo => ({
    ...policy,
    sigma: policy.sigma ?? null,
    start: String(policy.start),
    forms: policy.forms.map(String),
  }));
}
