/**
 * Well-behaved calls whose right answers are known from elsewhere: small assignments from trying all, plans and consensus from the
 * executable specification. While a scenario runs they are what counts its wrong answers.
 */
import { type ServiceError, status } from '@grpc/grpc-js';
import { goldenCases, planTolerance, worstError } from '../golden/cases.js';
import { seededUniform } from '../seeded-normal.js';
import {
  floatsOf,
  floatTensor,
  maskTensor,
  rawClient,
  type RawClient,
  type RawMessage,
} from '../service/raw-client.js';

interface KnownCall {
  readonly request: RawMessage;
  /** What is wrong with an answer; null where it is right. */
  readonly mistake: (answer: RawMessage) => string | null;
}

const consensusTolerance = 1e-3;
const objectiveTolerance = 1e-5;

/** The best total utility of giving each agent a task of its own; N at most M, few enough to try all. */
function bestTotal(utility: readonly (readonly number[])[], from = 0, taken = 0): number {
  if (from === utility.length) return 0;
  let best = -Infinity;
  for (const [task, value] of utility[from]!.entries()) {
    if ((taken & (1 << task)) !== 0) continue;
    best = Math.max(best, value + bestTotal(utility, from + 1, taken | (1 << task)));
  }
  return best;
}

function smallAssignments(): KnownCall[] {
  const uniform = seededUniform(42);
  return Array.from({ length: 12 }, (_, i): KnownCall => {
    const [agents, tasks] = [2 + (i % 5), 3 + (i % 5)];
    const utility = Array.from({ length: agents }, () =>
      Array.from({ length: tasks }, () => Math.fround(100 * uniform())),
    );
    const best = bestTotal(utility);
    return {
      request: { requestId: `small-${i}`, utility: floatTensor(utility), operators: ['ASSIGNMENT'] },
      mistake(answer) {
        if (answer['requestId'] !== `small-${i}`) return `the answer to ${String(answer['requestId'])}`;
        const { taskOfAgent, objective } = answer['assignment'] as { taskOfAgent: number[]; objective: number };
        if (new Set(taskOfAgent).size !== agents) return `task_of_agent ${taskOfAgent.join(' ')}`;
        const total = taskOfAgent.reduce((sum, task, agent) => sum + (utility[agent]![task] ?? NaN), 0);
        const isBest = Math.abs(total - best) <= objectiveTolerance * best;
        const isTold = Math.abs(objective - best) <= objectiveTolerance * best;
        return isBest && isTold ? null : `total ${total}, objective ${objective}, best ${best}`;
      },
    };
  });
}

/** Those of the specification that need no policy of their own. */
function specified(): KnownCall[] {
  return goldenCases().flatMap((golden, index): KnownCall[] => {
    const requestId = `golden-${index}`;
    const known = (request: RawMessage, errors: (answer: RawMessage) => readonly [number, number]): KnownCall => ({
      request: { requestId, ...request },
      mistake(answer) {
        if (answer['requestId'] !== requestId) return `the answer to ${String(answer['requestId'])}`;
        const [error, tolerance] = errors(answer);
        return error <= tolerance ? null : `${requestId}: off by ${error}`;
      },
    });
    if (golden.op === 'project') return [];
    if (golden.op === 'consensus') {
      const { responses, sigma, start, mask, centroid } = golden;
      const request = {
        responses: floatTensor(responses),
        operators: ['CONSENSUS'],
        consensus: {
          ...(sigma === undefined ? {} : { sigma }),
          ...(start === undefined ? {} : { start: start.toUpperCase() }),
        },
        ...(mask === undefined ? {} : { agentMask: maskTensor(mask) }),
      };
      return [
        known(request, (answer) => [
          worstError(floatsOf((answer['consensus'] as RawMessage)['centroid'])!.values, centroid),
          consensusTolerance,
        ]),
      ];
    }
    // Every other number of iterations is a program to compile: a few will do.
    if (golden.iterations !== 50 || golden.utility.length > 32) return [];
    const capacities = golden.capacities ?? (golden.idle === undefined ? golden.col : undefined);
    const request = {
      utility: floatTensor(golden.utility),
      operators: ['ASSIGNMENT'],
      ...(golden.agent_mask === undefined ? {} : { agentMask: maskTensor(golden.agent_mask) }),
      ...(golden.task_mask === undefined ? {} : { taskMask: maskTensor(golden.task_mask) }),
      assignment: {
        forms: ['PLAN'],
        temperature: golden.tau,
        iterations: golden.iterations,
        ...(capacities === undefined ? {} : { capacities }),
        ...(golden.idle === undefined ? {} : { idleUtility: golden.idle }),
      },
    };
    return [
      known(request, (answer) => [
        worstError(floatsOf((answer['assignment'] as RawMessage)['plan'])!.values, golden.plan.flat()),
        planTolerance(golden),
      ]),
    ];
  });
}

export const knownCalls: readonly KnownCall[] = [...smallAssignments(), ...specified()];

/** What well-behaved callers saw. */
export class Tally {
  right = 0;
  readonly wrong: string[] = [];
  /** Calls without an answer, by status. */
  readonly failed = new Map<string, number>();
  readonly failures: string[] = [];

  get failedCount(): number {
    return [...this.failed.values()].reduce((sum, count) => sum + count, 0);
  }

  fail(error: ServiceError): void {
    const name = status[error.code];
    this.failed.set(name, (this.failed.get(name) ?? 0) + 1);
    if (this.failures.length < 20) this.failures.push(`${name}: ${error.details}`);
  }

  toString(): string {
    const failed = [...this.failed].map(([name, count]) => `${count} ${name}`).join(', ');
    return `${this.right} right, ${this.wrong.length} wrong${failed === '' ? '' : `, without an answer: ${failed}`}`;
  }
}

/** Makes the `index`-th call and counts what came; whether there was an answer. */
export async function callOnce(client: RawClient, index: number, tally: Tally, deadlineMs = 120_000): Promise<boolean> {
  const known = knownCalls[index % knownCalls.length]!;
  let answer: RawMessage;
  try {
    answer = await client.coordinate(known.request, { deadline: Date.now() + deadlineMs });
  } catch (error) {
    tally.fail(error as ServiceError);
    return false;
  }
  const mistake = known.mistake(answer);
  if (mistake === null) tally.right++;
  else tally.wrong.push(mistake);
  return true;
}

export interface Load {
  readonly tally: Tally;
  /** Resolves once so many more answers have come; rejects after `limitMs`. */
  more(answers: number, limitMs?: number): Promise<void>;
  /** Resolves when the calls under way have ended. */
  stop(): Promise<Tally>;
}

const pauseAfterFailureMs = 20;

/** Callers that call one after another until they are stopped, on one connection, which they make anew where it is lost. */
export function startLoad(address: string, callers = 8): Load {
  const client = rawClient(address, {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.min_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 200,
  });
  const tally = new Tally();
  const state = { stopped: false, next: 0 };
  const caller = async (): Promise<void> => {
    while (!state.stopped) {
      if (!(await callOnce(client, state.next++, tally))) await pause(pauseAfterFailureMs);
    }
  };
  const ended = Promise.all(Array.from({ length: callers }, caller));
  return {
    tally,
    async more(answers, limitMs = 60_000) {
      const goal = tally.right + tally.wrong.length + answers;
      const endMs = performance.now() + limitMs;
      while (tally.right + tally.wrong.length < goal) {
        if (performance.now() > endMs)
          throw new Error(
            `no ${answers} answers within ${limitMs} ms: ${tally.toString()}; ${tally.failures.slice(-3).join('; ')}`,
          );
        await pause(10);
      }
    },
    async stop() {
      state.stopped = true;
      await ended;
      client.close();
      return tally;
    },
  };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves once `holds` does; rejects with `what` after `limitMs`. */
export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
  limitMs = 60_000,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await pause(50);
  }
}
