/**
 * Requests from bytes and answers to bytes, by the decoders and encoders that protobufjs generates. What @grpc/proto-loader does between them and
 * its caller, a second tree of objects each way with every field looked at, took longer than the decoding itself; here requests get the same form
 * in one step for the types that are known, and answers are made in the form that is encoded. Tests compare both with proto-loader's.
 */
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { packageRoot } from '../package-root.js';
import {
  type AssignmentOptionsMessage,
  type ConsensusOptionsMessage,
  type CoordinateRequestMessage,
  type CoordinateResponseMessage,
  type OpenEnum,
  protoDirectory,
  protoFile,
  protoPackage,
  type Sent,
  type TensorMessage,
  enumNames,
} from './messages.js';
import { isWhole } from './peek.js';

/** The types of the .proto, with names in camel case. */
export const protoRoot: protobuf.Root = protobuf.loadSync(join(packageRoot, protoDirectory, protoFile));
protoRoot.resolveAll();

const requestType = protoRoot.lookupType(`${protoPackage}.CoordinateRequest`);
const responseType = protoRoot.lookupType(`${protoPackage}.CoordinateResponse`);

/**
 * The request in `bytes`, whose memory its tensors and its warm start share.
 *
 * @throws Error of any kind where they are no CoordinateRequest.
 */
export function readRequest(bytes: Buffer): CoordinateRequestMessage {
  if (!isWhole(bytes)) throw new RangeError('the message ends within a field');
  const message = requestType.decode(bytes) as unknown as DecodedRequest;
  const { projection, assignment, consensus } = message;
  return {
    requestId: message.requestId,
    policy: message.policy,
    agents: tensorOf(message.agents),
    tasks: tensorOf(message.tasks),
    utility: tensorOf(message.utility),
    responses: tensorOf(message.responses),
    agentIds: message.agentIds,
    taskIds: message.taskIds,
    agentMask: tensorOf(message.agentMask),
    taskMask: tensorOf(message.taskMask),
    operators: namesOf(message.operators, enumNames.Operator),
    projection: projection === null ? null : { resourceMax: projection.resourceMax, budget: projection.budget },
    assignment: assignment === null ? null : assignmentOf(assignment),
    consensus: consensus === null ? null : consensusOf(consensus),
    seed: textOf(message.seed),
    priority: nameOf(message.priority, enumNames.Priority),
    forbidFallback: message.forbidFallback,
    supersede: message.supersede,
    outputValues: message.outputValues,
  };
}

/** The answer's bytes; every field that is not null is written, whatever its value. */
export function writeResponse(message: Sent<CoordinateResponseMessage>): Buffer {
  return responseType.encode(message).finish() as Buffer;
}

/** An int64 or uint64 as protobufjs reads it. */
interface Long {
  readonly low: number;
  readonly high: number;
  toString(): string;
}

/*
 * Messages as protobufjs decodes them: enums are numbers; messages and optional fields that are absent are null. Lists that are absent
 * are one empty list that is shared and frozen, and so are absent bytes.
 */
interface DecodedTensor {
  readonly dtype: number;
  readonly shape: readonly Long[];
  readonly data: Uint8Array;
  readonly values: readonly number[];
}

interface DecodedAssignment extends Omit<
  AssignmentOptionsMessage,
  'forms' | 'bias' | 'forbidden' | 'idleUtility' | 'solver' | 'maxChange'
> {
  readonly forms: readonly number[];
  readonly bias: DecodedTensor | null;
  readonly forbidden: DecodedTensor | null;
  readonly idleUtility: number | null;
  readonly solver: number;
  readonly maxChange: number | null;
}

interface DecodedConsensus extends Omit<ConsensusOptionsMessage, 'sigma' | 'start'> {
  readonly sigma: number | null;
  readonly start: number;
}

type TensorField = 'agents' | 'tasks' | 'utility' | 'responses' | 'agentMask' | 'taskMask';

type DecodedRequest = Omit<
  CoordinateRequestMessage,
  TensorField | 'operators' | 'assignment' | 'consensus' | 'seed' | 'priority'
> & {
  readonly [Field in TensorField]: DecodedTensor | null;
} & {
  readonly operators: readonly number[];
  readonly assignment: DecodedAssignment | null;
  readonly consensus: DecodedConsensus | null;
  readonly seed: Long;
  readonly priority: number;
};

const noBytes: Uint8Array = Buffer.alloc(0);

function tensorOf(message: DecodedTensor | null): TensorMessage | null {
  if (message === null) return null;
  const { dtype, shape, data, values } = message;
  return { dtype: nameOf(dtype, enumNames.DType), shape: shape.map(textOf), data: bytesOf(data), values };
}

function assignmentOf(message: DecodedAssignment): AssignmentOptionsMessage {
  const { idleUtility, maxChange } = message;
  return {
    forms: namesOf(message.forms, enumNames.AssignmentForm),
    temperature: message.temperature,
    iterations: message.iterations,
    topK: message.topK,
    bias: tensorOf(message.bias),
    forbidden: tensorOf(message.forbidden),
    capacities: message.capacities,
    ...(idleUtility === null ? null : { idleUtility }),
    previous: message.previous,
    keepBonus: message.keepBonus,
    locks: message.locks,
    solver: nameOf(message.solver, enumNames.Solver),
    solveBudgetUs: message.solveBudgetUs,
    ...(maxChange === null ? null : { maxChange }),
    warmStart: bytesOf(message.warmStart),
  };
}

function consensusOf({ sigma, start, iterations, groups }: DecodedConsensus): ConsensusOptionsMessage {
  return { ...(sigma === null ? null : { sigma }), start: nameOf(start, enumNames.ConsensusStart), iterations, groups };
}

function bytesOf(data: Uint8Array): Uint8Array {
  return data.length === 0 ? noBytes : data;
}

/** The number itself where this version has no name for it. */
function nameOf<Name extends string>(value: number, names: readonly Name[]): OpenEnum<Name> {
  return names[value] ?? value;
}

function namesOf<Name extends string>(values: readonly number[], names: readonly Name[]): readonly OpenEnum<Name>[] {
  return values.map((value) => nameOf(value, names));
}

/** Decimal text. What fits in 31 bits, as nearly all does, needs none of the library's division. */
function textOf(long: Long): string {
  return long.high === 0 && long.low >= 0 ? String(long.low) : long.toString();
}
