/**
 * A hostile request beside well-behaved ones, through the whole core: decoding, batcher, ONNX Runtime, solvers, encoding. Whatever it
 * holds, the answers of the others are bit for bit those that they get among themselves in a batch of that size.
 */
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createCore } from '../../server/core.js';
import { deserialize } from '../../server/call-outcome.js';
import type { RunnableCore } from '../../server/start.js';
import { Cancellation } from '../../src/cancellation.js';
import { type Clock, systemClock } from '../../src/clock.js';
import { loadConfig } from '../../src/config.js';
import type { CallContext } from '../../src/coordinator.js';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import type { Answer, Problem } from '../../src/problem.js';
import { assertChangeIsKnown } from '../../src/wire/assignment-options.js';
import type { CoordinateRequestInput, CoordinateRequestMessage } from '../../src/wire/messages.js';
import { encodeAnswer } from '../../src/wire/response.js';
import { booleans, floats } from '../request-fixtures.js';
import { seededNormal } from '../seeded-normal.js';
import { requestFromBytes, requestMessage, responseBytes } from '../wire-codec.js';
import { requestBytes, sampleRequests } from './request-seeds.js';
import { inputRefusals, promise, type Target, unlessRefused } from './target.js';

/** By this clock every run costs nothing, so that requests share batches also where a CPU had better run them one by one. */
const timeless: Clock = { ...systemClock, nowMs: () => 0 };
/** Agents and tasks of the smallest bucket: more would only be slower. */
const mostMembers = 16;
/** Without a deadline: only a hang takes longer than the answer. */
const endless = (): CallContext => ({ deadlineMs: Infinity, signal: new Cancellation(), decodeMs: 0 });
/** Copies of one neighbour at a time, to learn its answers from. */
const copiesAtATime = [1, 2, 3, 4, 4, 3, 2, 1];
const leastBuckets = 2;
const mostLearnings = 40;

function members(count: number, width: number, seed: number) {
  const normal = seededNormal(seed);
  return floats([count, width], Array.from({ length: count * width }, normal));
}

/** Each of a program of its own, so that a hostile request like one of them shares its batch. */
const neighbours: readonly CoordinateRequestInput[] = [
  { agents: members(6, 3, 1), tasks: members(5, 3, 2) },
  { utility: members(5, 7, 3), operators: ['ASSIGNMENT'], assignment: { forms: ['PLAN', 'HARD'], temperature: 0.5 } },
  { responses: members(7, 2, 4), operators: ['CONSENSUS'] },
];

/** Of the same programs. */
const variations: readonly CoordinateRequestInput[] = [
  { ...neighbours[0], agentMask: booleans([6], [1, 0, 1, 1, 0, 1]), priority: 'HIGH', requestId: 'other' },
  {
    agents: members(16, 4, 5),
    tasks: members(16, 4, 6),
    assignment: { locks: new Array<number>(16).fill(-2), keepBonus: 1 },
  },
  { agents: floats([2, 3], [NaN, 1, 2, 1e15, -1e15, 0]), tasks: floats([1, 3], [1e15, 0, 0]) },
  { ...neighbours[1], assignment: { forms: ['PLAN', 'HARD'], temperature: 1e-30, previous: [0, 1, 2, -1, 4] } },
  {
    utility: floats([2, 2], [-Infinity, -Infinity, 3e38, -3e38]),
    operators: ['ASSIGNMENT'],
    assignment: { forms: ['PLAN', 'HARD'] },
  },
  {
    responses: floats([3, 2], [Infinity, 0, 1e15, -1e15, 1, 1]),
    operators: ['CONSENSUS'],
    consensus: { sigma: 1e-30 },
  },
];

class Neighbour {
  readonly problem: Problem;
  /** Its answer, by batch and bucket. */
  readonly #known = new Map<string, Buffer>();

  constructor(problem: Problem) {
    this.problem = problem;
  }

  get bucketsKnown(): number {
    return this.#known.size;
  }

  /** The first answer in a batch of some size is what all others of that size must be. */
  check(answer: Answer): void {
    const { bucket } = answer.execution;
    const bytes = this.#bytes(answer);
    const known = this.#known.get(bucket);
    promise(known === undefined || known.equals(bytes), `a neighbour's answer changed (${bucket})`);
    this.#known.set(bucket, bytes);
  }

  #bytes(answer: Answer): Buffer {
    return responseBytes({ ...encodeAnswer(answer, this.problem), execution: null });
  }
}

export async function openNeighbourTarget(): Promise<Target> {
  const { config } = loadConfig(
    ['--engine', 'onnx', '--log-level', 'silent', '--max-padding-waste', '1', '--solver-threads', '1'],
    {},
  );
  const metrics = createMetrics(new Registry());
  const core = await createCore({ config, clock: timeless, metrics, log: pino({ level: 'silent' }) });
  const known = neighbours.map((request) => new Neighbour(core.decode(requestMessage(request))));
  for (const neighbour of known) await learnAll(core, neighbour);
  let sharedBatches = 0;
  let answered = 0;
  return {
    name: 'neighbour',
    seeds: [...neighbours, ...variations, ...sampleRequests.slice(0, 6)].map(requestBytes),
    mostBytes: 1024,
    isTimed: true,
    async check(bytes) {
      const hostile = hostileProblem(core, bytes);
      // One that is refused never meets anybody: a single neighbour sees to it that the refusal harmed nothing.
      const beside = hostile === null ? [known[answered % known.length]!] : known;
      const own = hostile === null ? [] : [core.coordinate(hostile, endless())];
      const answers = Promise.all(beside.map((neighbour) => core.coordinate(neighbour.problem, endless())));
      const twin = hostile === null ? [] : [core.coordinate(hostile, endless())];
      const hostileAnswers = await Promise.allSettled([...own, ...twin]);
      for (const [i, answer] of (await answers).entries()) {
        beside[i]!.check(answer);
        if (answer.execution.batchSize > 1) sharedBatches++;
        answered++;
      }
      let isAnswered = false;
      for (const result of hostileAnswers) {
        if (result.status === 'rejected') assertFairRefusal(result.reason);
        else {
          responseBytes(encodeAnswer(result.value, hostile!));
          isAnswered = true;
        }
      }
      return isAnswered;
    },
    summary: () => `${answered} answers of neighbours compared, ${sharedBatches} of them from a batch with others`,
    close: () => core.close(),
  };
}

function assertFairRefusal(reason: unknown): void {
  if (reason instanceof CoordinatorError && reason.status !== 'INTERNAL' && reason.status !== 'UNAVAILABLE') return;
  throw reason;
}

/** Has a neighbour answered among copies of itself, until its programs of several batch sizes are loaded and its answers known. */
async function learnAll(core: RunnableCore, neighbour: Neighbour): Promise<void> {
  for (let i = 0; i < mostLearnings; i++) {
    for (const count of copiesAtATime) {
      const copies = Array.from({ length: count }, () => core.coordinate(neighbour.problem, endless()));
      for (const answer of await Promise.all(copies)) neighbour.check(answer);
    }
    if (neighbour.bucketsKnown >= leastBuckets) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('a neighbour never shared a batch');
}

/** Null where it is refused before the queue, or larger than this target looks at. */
function hostileProblem(core: RunnableCore, bytes: Buffer): Problem | null {
  const message = unlessRefused(() => deserialize(() => requestFromBytes(bytes)), ['INVALID_ARGUMENT']);
  if (message === null) return null;
  return unlessRefused(() => {
    const problem = core.decode(withFewPrograms(message));
    assertChangeIsKnown(problem.assignment);
    return problem.agentCount > mostMembers || problem.taskCount > mostMembers ? null : problem;
  }, inputRefusals);
}

/** What decides a program takes few values, so that most runs compile nothing. */
function withFewPrograms(message: CoordinateRequestMessage): CoordinateRequestMessage {
  const { assignment, consensus } = message;
  return {
    ...message,
    assignment:
      assignment === null
        ? null
        : {
            ...assignment,
            iterations: assignment.iterations > 1000 ? assignment.iterations : assignment.iterations % 2,
            topK: assignment.topK % 3,
          },
    consensus: consensus === null ? null : { ...consensus, iterations: consensus.iterations % 2 },
  };
}
