/** A unary request between the socket and the queue: outline, message, problem, and back. */
import { isDeepStrictEqual } from 'node:util';
import { deserialize } from '../../server/call-outcome.js';
import type { CoordinateRequestMessage } from '../../src/wire/messages.js';
import type { Problem } from '../../src/problem.js';
import { outlineOf, type RequestOutline } from '../../src/wire/peek.js';
import { decodeRequest } from '../../src/wire/request.js';
import { isGiven } from '../../src/wire/tensor.js';
import { limits, policies } from '../request-fixtures.js';
import { coordinateMethod, loadedRequest, requestFromBytes } from '../wire-codec.js';
import { requestBytes, sampleRequests } from './request-seeds.js';
import { fieldsOf, messageOf } from './wire-fields.js';
import { inputRefusals, promise, type Target, unlessRefused } from './target.js';

const context = { policies, limits };
/** Longer ids and names are cut in an outline. */
const longestOutlineText = 256;
const mostOutlineEnums = 16;

export const requestTarget: Target = {
  name: 'request',
  seeds: sampleRequests.map(requestBytes),
  mostBytes: 4096,
  check(bytes) {
    const before = Buffer.from(bytes);
    const outline = outlineOf(bytes);
    const message = unlessRefused(() => deserialize(() => requestFromBytes(bytes)), ['INVALID_ARGUMENT']);
    if (message === null) return false;
    promise(isDeepStrictEqual(loadedRequest(bytes), message), 'a request is read as proto-loader reads it');
    const again = requestFromBytes(coordinateMethod.requestSerialize(message));
    promise(isDeepStrictEqual(again, message), 'decode(encode(message)) is the message');
    const isFollowed = isWellFormed(bytes);
    checkOutline(outlineOf(coordinateMethod.requestSerialize(message)), message);
    if (isFollowed) checkOutline(outline, message);
    const problem = unlessRefused(() => decodeRequest(message, context), inputRefusals);
    const problemAgain = unlessRefused(() => decodeRequest(again, context), inputRefusals);
    promise(isDeepStrictEqual(problemAgain, problem), 'equal messages make equal problems');
    promise(before.equals(bytes), 'nothing writes to the bytes of a request');
    if (problem === null) return false;
    checkProblem(problem);
    if (isFollowed && showsTasks(message)) checkForms(outline, problem);
    return true;
  },
};

/** An outline takes it that agents and weights for the assignment are there. */
function checkForms({ isHard }: RequestOutline, { assignment, policy }: Problem): void {
  if (assignment === null) return;
  const asked = isHard ?? policy.defaults.forms.includes('HARD');
  promise(assignment.forms.has('HARD') === asked, 'the outline knows whether a hard assignment is asked for');
}

/** Fields of `CoordinateRequest` that are numbers; all others have a length. Repeated enums come in both ways. */
const numberFields = [15, 16, 17, 18, 19];
const seedField = 15;
const operatorsField = 11;
const assignmentField = 13;
const formsField = 1;

/**
 * Whether every field that an outline reads is coded as its type is. The decoder reads others as if they were, and what is cut short as if
 * it ended there; an outline need not follow.
 */
function isWellFormed(bytes: Uint8Array): boolean {
  const fields = fieldsOf(bytes);
  if (fields === null || !messageOf(fields).equals(bytes)) return false;
  return fields.every(({ number, wire, value }) => {
    // The decoder takes numbers of 6 to 9 bytes, which no encoder writes for 32 bits, for longer than they are.
    if (typeof value === 'bigint' && number !== seedField && value >= 2n ** 32n && value < 2n ** 63n) return false;
    if (number === operatorsField) return wire === 0 || wire === 2;
    if (number > 19) return true;
    if (wire !== (numberFields.includes(number) ? 0 : 2)) return false;
    if (number !== assignmentField) return true;
    const options = fieldsOf(value as Buffer);
    return options?.every((option) => option.number !== formsField || option.wire === 0 || option.wire === 2) === true;
  });
}

/** Whether tensors that are there are given, and enums fit in what an outline reads. */
function showsTasks({ tasks, utility, operators, assignment }: CoordinateRequestMessage): boolean {
  return (
    [tasks, utility].every((tensor) => tensor === null || isGiven(tensor)) &&
    operators.length <= mostOutlineEnums &&
    (assignment?.forms.length ?? 0) <= mostOutlineEnums
  );
}

function checkOutline(outline: RequestOutline, message: CoordinateRequestMessage): void {
  const short = (text: string) => Buffer.byteLength(text) < longestOutlineText;
  promise(!short(message.requestId) || outline.requestId === message.requestId, 'the outline has the id');
  promise(!short(message.policy) || outline.policy === message.policy, 'the outline has the policy');
  promise(
    typeof message.priority === 'number' || outline.priority === message.priority,
    'the outline has the priority',
  );
}

/** What the rest of the server relies on. */
export function checkProblem({ agentCount, taskCount, agents, tasks, utility, responses, ...problem }: Problem): void {
  for (const matrix of [agents, tasks, utility, responses]) {
    if (matrix !== null) promise(matrix.data.length === matrix.rows * matrix.columns, 'a matrix holds its numbers');
  }
  for (const perAgent of [agents, utility, responses]) {
    if (perAgent !== null) promise(perAgent.rows === agentCount, 'a row for each agent');
  }
  promise(problem.agentActive.length === agentCount && problem.taskActive.length === taskCount, 'masks of N and M');
  if (problem.assignment === null) return;
  const { previous, locks, capacities, bias, temperature, iterations, topK } = problem.assignment;
  promise(previous === null || previous.length === agentCount, 'previous of N');
  promise(previous === null || previous.every((task) => task >= -1 && task < taskCount), 'previous tasks are tasks');
  promise(locks === null || locks.length === agentCount, 'locks of N');
  promise(capacities === null || capacities.length === taskCount, 'capacities of M');
  promise(bias === null || bias.length === agentCount * taskCount, 'bias of N times M');
  promise(temperature > 0 && temperature < Infinity, 'a temperature above 0');
  promise(iterations >= 1 && iterations <= 1000, 'iterations from 1 to 1000');
  promise(topK >= 0 && topK <= taskCount, 'top k within M');
}
