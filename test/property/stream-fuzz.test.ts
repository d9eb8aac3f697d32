/**
 * Streams through the real server under random members, windows, superseding, bad requests, faults and cancellations: every
 * tick is answered once and in order, and each starts from what the last answered one left, by ids.
 */
import * as grpc from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CancelSignal } from '../../src/cancellation.js';
import type { Answer, Problem } from '../../src/problem.js';
import type { CallContext } from '../../src/coordinator.js';
import { loadConfig } from '../../src/config.js';
import { CoordinatorError } from '../../src/errors.js';
import { decodeRequest } from '../../src/wire/request.js';
import { startServer, type RunningServer, type RunnableCore } from '../../server/start.js';
import { limits, policies } from '../request-fixtures.js';
import { seededUniform } from '../seeded-normal.js';
import { floatTensor, type RawMessage } from '../service/raw-client.js';
import { streamClient, type RawStream } from '../service/stream-client.js';

/** Task ids by agent id; agents without a task are left out. */
type Tasks = Readonly<Record<string, string>>;

const agentNames = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const taskNames = ['s', 't', 'u', 'v', 'w', 'x'];

function namedTasks({ agentIds, taskIds }: Problem, tasks: Int32Array): Tasks {
  const named = [...tasks].flatMap((task, i) => (task < 0 ? [] : [[agentIds![i]!, taskIds![task]!] as const]));
  return Object.fromEntries(named);
}

/** Gives random assignments after random times, fails at random, and keeps the previous that each tick came with. */
class RandomCore implements RunnableCore {
  readonly engine = 'none';
  readonly device = 'none';
  random = seededUniform(1);
  /** By request id. */
  readonly previous = new Map<string, Tasks | null>();
  running = 0;

  decode(message: Parameters<RunnableCore['decode']>[0]): Problem {
    return decodeRequest(message, { policies, limits });
  }

  async coordinate(problem: Problem, { signal, onBegun }: CallContext): Promise<Answer> {
    const { random } = this;
    const previous = problem.assignment?.previous ?? null;
    this.previous.set(problem.requestId, previous === null ? null : namedTasks(problem, previous));
    this.running++;
    try {
      await pause(random() * 3, signal);
      onBegun?.();
      await pause(random() * 3, signal);
    } finally {
      this.running--;
    }
    if (random() < 0.1) throw new CoordinatorError('ENGINE_FAILED', 'the engine crashed');
    if (random() < 0.05) throw new Error('a defect');
    const { agentCount, taskCount, requestId } = problem;
    const free = Array.from({ length: taskCount }, (_, j) => j);
    const taskOfAgent = Int32Array.from({ length: agentCount }, () =>
      free.length === 0 || random() < 0.2 ? -1 : free.splice(Math.floor(random() * free.length), 1)[0]!,
    );
    const hard = {
      taskOfAgent,
      unservedTasks: [],
      objective: 0,
      totalUtility: 0,
      upperBound: 0,
      gap: 0,
      solver: 'exact',
      changeLimited: false,
      taskPrices: null,
    };
    return {
      requestId,
      resources: null,
      assignment: { hard, soft: null, churn: 0, warmStartUsed: false },
      consensus: null,
      rejectedAgents: [],
      tick: null,
      execution: {
        engine: 'none',
        device: 'none',
        bucket: '',
        batchSize: 1,
        policyVersion: '1',
        executableFingerprint: '',
        stages: [],
      },
    };
  }

  listPolicies(): ReturnType<RunnableCore['listPolicies']> {
    return { policies: [] };
  }

  warmUp(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Rejects with CANCELLED when the signal aborts. */
function pause(delayMs: number, signal?: CancelSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, delayMs);
    const abort = (): void => {
      clearTimeout(timer);
      reject(new CoordinatorError('CANCELLED', 'the call was cancelled'));
    };
    if (signal?.aborted === true) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}

const core = new RandomCore();
let server: RunningServer;

beforeAll(async () => {
  const { config } = loadConfig(
    ['--grpc-address=127.0.0.1:0', '--admin-address=127.0.0.1:0', '--log-level=silent', '--stream-window=4'],
    {},
  );
  server = await startServer(config, { createCore: () => Promise.resolve(core) });
  await server.ready;
});

afterAll(async () => {
  await server.close();
});

interface Sent {
  readonly requestId: string;
  /** Null: an undecodable one. */
  readonly agentIds: readonly string[] | null;
  readonly taskIds: readonly string[];
}

/** A random subset in random order, at least one. */
function some(names: readonly string[], random: () => number): string[] {
  const chosen = names.filter(() => random() < 0.7).sort(() => random() - 0.5);
  return chosen.length === 0 ? [names[0]!] : chosen;
}

/** Sends ticks at random paces; gives what was sent. */
async function play(stream: RawStream, name: string, ticks: number, random: () => number): Promise<Sent[]> {
  const sent: Sent[] = [];
  for (let i = 0; i < ticks; i++) {
    const requestId = `${name}-${i}`;
    const [agentIds, taskIds] = [some(agentNames, random), some(taskNames, random)];
    if (random() < 0.05) {
      sent.push({ requestId: '', agentIds: null, taskIds });
      stream.sendBytes(Buffer.from([0x0b]));
    } else {
      const utility = floatTensor(agentIds.map(() => taskIds.map(() => random())));
      // One in ten lacks an id.
      const given = random() < 0.1 ? agentIds.slice(1).concat('twice', 'twice') : agentIds;
      const request: RawMessage = { requestId, utility, agentIds: given, taskIds, supersede: random() < 0.4 };
      sent.push({ requestId, agentIds: given === agentIds ? agentIds : [], taskIds });
      stream.send({ ...request, operators: ['ASSIGNMENT'], assignment: { forms: ['HARD'] } });
    }
    const mood = random();
    if (mood < 0.3) await stream.received(sent.length);
    else if (mood < 0.6) await pause(random() * 4);
  }
  return sent;
}

function codeOf(answer: RawMessage): number {
  return (answer['error'] as { code: number }).code;
}

/** Throws unless each answer is that of its request and each tick came with what the last answered one before it left. */
function check(sent: readonly Sent[], answers: readonly RawMessage[]): { answered: number; failed: number } {
  let last: Tasks | null = null;
  let answered = 0;
  for (const [i, answer] of answers.entries()) {
    const { requestId, agentIds, taskIds } = sent[i]!;
    expect(answer['requestId']).toBe(requestId);
    const seen = core.previous.get(requestId);
    if (seen !== undefined) {
      const known = (agent: string, task: string) => agentIds!.includes(agent) && taskIds.includes(task);
      const kept = Object.entries(last ?? {}).filter(([agent, task]) => known(agent, task));
      expect(seen, requestId).toEqual(last === null ? null : Object.fromEntries(kept));
    }
    if (answer['error'] !== null) {
      const isBad = agentIds === null || agentIds.length === 0;
      // One that was superseded is not looked at.
      if (isBad) expect([grpc.status.INVALID_ARGUMENT, grpc.status.CANCELLED]).toContain(codeOf(answer));
      continue;
    }
    answered++;
    const { taskOfAgent } = answer['assignment'] as { taskOfAgent: number[] };
    const named = taskOfAgent.flatMap((task, k) => (task < 0 ? [] : [[agentIds![k]!, taskIds[task]!]]));
    last = Object.fromEntries(named) as Tasks;
  }
  return { answered, failed: answers.length - answered };
}

test.each([1, 2, 3, 4])(
  'every tick is answered once, in order, from what the last one left (seed %i)',
  async (seed) => {
    const random = seededUniform(seed);
    core.random = seededUniform(seed + 1000);
    core.previous.clear();
    const client = streamClient(server.grpcAddress);
    let answered = 0;
    let failed = 0;
    await Promise.all(
      Array.from({ length: 8 }, async (_, s) => {
        const stream = client.open();
        const isCancelled = s % 4 === 3;
        const sending = play(stream, `${seed}-s${s}`, 60, seededUniform(seed * 100 + s));
        if (isCancelled) {
          await pause(20 + 60 * random());
          stream.call.cancel();
          const sent = await sending;
          expect((await stream.status).code).toBe(grpc.status.CANCELLED);
          check(sent, stream.answers);
          return;
        }
        const sent = await sending;
        stream.call.end();
        expect((await stream.status).code, `stream ${s}`).toBe(grpc.status.OK);
        expect(stream.answers).toHaveLength(sent.length);
        const counts = check(sent, stream.answers);
        answered += counts.answered;
        failed += counts.failed;
      }),
    );
    client.close();
    expect(answered).toBeGreaterThan(50);
    expect(failed).toBeGreaterThan(10);
    await expect.poll(() => core.running, { timeout: 5000 }).toBe(0);
    const open = await server.registry.getSingleMetric('coordinate_streams_open')!.get();
    expect(open.values[0]!.value).toBe(0);
  },
);
