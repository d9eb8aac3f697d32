/** The ticks of a stream: what each carries over from those before it. The input is a list of requests, each with its length (16 bits) before it. */
import { deserialize } from '../../server/call-outcome.js';
import type { Answer, Problem } from '../../src/problem.js';
import { StreamMemory } from '../../src/stream/stream-memory.js';
import { decodeTickState, encodeTickState, tickStateOf } from '../../src/warm-start.js';
import { decodeRequest } from '../../src/wire/request.js';
import { encodeAnswer } from '../../src/wire/response.js';
import { limits, policies } from '../request-fixtures.js';
import { loaderResponseBytes, requestFromBytes, responseBytes } from '../wire-codec.js';
import { requestBytes, sampleRequests } from './request-seeds.js';
import { inputRefusals, promise, type Target, unlessRefused } from './target.js';
import { checkProblem } from './target-request.js';

const mostTicks = 16;
const execution = {
  engine: '',
  device: '',
  bucket: '',
  batchSize: 1,
  policyVersion: '',
  executableFingerprint: '',
  stages: [],
};

export function ticksBytes(ticks: readonly Buffer[]): Buffer {
  return Buffer.concat(
    ticks.flatMap((tick) => {
      const length = Buffer.alloc(2);
      length.writeUInt16LE(tick.length);
      return [length, tick];
    }),
  );
}

function ticksOf(bytes: Buffer): Buffer[] {
  const ticks: Buffer[] = [];
  for (let at = 0; at + 2 <= bytes.length && ticks.length < mostTicks;) {
    const length = bytes.readUInt16LE(at);
    ticks.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return ticks;
}

const requests = sampleRequests.map(requestBytes);

export const streamTarget: Target = {
  name: 'stream',
  seeds: [
    ticksBytes([requests[2]!, requests[6]!, requests[2]!]),
    ticksBytes([requests[0]!, requests[0]!, requests[9]!, requests[5]!]),
    ticksBytes([requests[3]!, requests[4]!, requests[8]!]),
    ticksBytes(requests.slice(0, 6)),
  ],
  mostBytes: 8192,
  check(bytes) {
    const memory = new StreamMemory();
    let isAccepted = false;
    for (const tick of ticksOf(bytes)) {
      const message = unlessRefused(() => deserialize(() => requestFromBytes(tick)), ['INVALID_ARGUMENT']);
      const decoded =
        message === null ? null : unlessRefused(() => decodeRequest(message, { policies, limits }), inputRefusals);
      if (decoded === null) continue;
      const problem = memory.carryInto(decoded);
      checkProblem(problem);
      promise(
        problem.warmStart === null ||
          problem.warmStart.taskOfAgent === null ||
          problem.warmStart.taskOfAgent.length === problem.agentCount,
        'tasks of N',
      );
      const answer = answerTo(problem);
      const encoded = encodeAnswer(answer, problem);
      promise(
        responseBytes(encoded).equals(loaderResponseBytes(encoded)),
        'an answer is written as proto-loader writes it',
      );
      memory.remember(problem, answer);
      isAccepted = true;
    }
    return isAccepted;
  },
};

/** As an engine and a solver might have given it: each agent in turn gets the next task. */
function answerTo(problem: Problem): Answer {
  const { agentCount, taskCount, assignment, consensus, responses, requestId, rejectedAgents } = problem;
  const hard =
    assignment === null
      ? null
      : {
          taskOfAgent: Int32Array.from({ length: agentCount }, (_, i) => (i < taskCount ? i : -1)),
          unservedTasks: [],
          objective: 0,
          totalUtility: 0,
          upperBound: 0,
          gap: 0,
          solver: 'exact',
          changeLimited: false,
          taskPrices: new Float64Array(taskCount).fill(0.5),
        };
  const centroid = consensus === null || responses === null ? null : new Float32Array(responses.columns);
  const tick = tickStateOf(
    { hard, sinkhorn: null, consensus: centroid === null ? null : { centroid, groupCount: null } },
    problem,
  );
  if (tick !== null) {
    const carried = decodeTickState(encodeTickState(tick));
    promise(carried !== null, 'a state that the server makes is read by the server');
  }
  return {
    requestId,
    resources: null,
    assignment: hard === null ? null : { hard, soft: null, churn: 0, warmStartUsed: false },
    consensus: null,
    rejectedAgents,
    tick,
    execution,
  };
}
