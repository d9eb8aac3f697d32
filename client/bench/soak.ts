/** Ten thousand mixed calls: every one ends once and as it should, and memory stays where it was. */
import { type Client, type ServiceError, status } from '@grpc/grpc-js';
import { coordinatePath, encodeRequest, float32Tensor, rawCall, rawClient, sampleRequest } from './messages.js';
import { normalArray, uniformSource } from './random-states.js';
import { atMost, type Cell } from './report.js';
import type { Section } from './section.js';
import { serviceEngine, serviceFlags } from './engines.js';
import { type ServerProcess, settled, startService } from './server-process.js';

const calls = 10_000;
const blocks = 5;
/** Calls of each form and size come in batches of every size: the last of their programs is asked for after thousands. */
const warmUpCalls = 4000;
const mostWarmUpCalls = 40_000;
const callers = 32;
const connections = 4;
const mostGrowth = 1.1;
const megabyte = 1e6;
const seed = 1;

type Kind = 'good' | 'bad' | 'cancelled' | 'late';

interface Planned {
  readonly kind: Kind;
  readonly request: Buffer;
  /** The statuses it may end with. */
  readonly allowed: readonly status[];
  readonly deadlineMs: number;
  /** Null: not cancelled. */
  readonly cancelAfterMs: number | null;
}

/** Sizes that are no bucket's, in every form, with and without weights. */
function goodRequests(): Buffer[] {
  const requests: Buffer[] = [];
  for (const [agents, tasks] of [
    [1, 1],
    [7, 3],
    [20, 30],
    [64, 64],
    [100, 100],
    [120, 90],
  ] as const) {
    for (const forms of [['HARD'], ['TOP_K'], ['HARD', 'PLAN']] as const) {
      requests.push(sampleRequest({ policy: 'reference', agents, tasks, width: 64, forms, seed }));
      requests.push(sampleRequest({ policy: 'distance', agents, tasks, width: 3, forms, seed }));
    }
  }
  return requests;
}

function badRequests(): { request: Buffer; code: status }[] {
  const states = float32Tensor(10, 2, normalArray(20, seed));
  const notANumber = float32Tensor(10, 2, normalArray(20, seed).fill(Number.NaN, 0, 1));
  const bad = (request: Record<string, unknown>, code: status) => ({ request: encodeRequest(request), code });
  return [
    bad({ agents: { ...states, shape: [11, 2] }, tasks: states }, status.INVALID_ARGUMENT),
    bad({ agents: states, tasks: notANumber }, status.INVALID_ARGUMENT),
    bad({ agents: states, tasks: states, assignment: { previous: [1, 2, 3] } }, status.INVALID_ARGUMENT),
    bad({ agents: states, tasks: states, policy: 'no-such-policy' }, status.NOT_FOUND),
    bad({}, status.INVALID_ARGUMENT),
  ];
}

const endsInTime = [status.OK, status.CANCELLED] as const;
const endsLate = [status.OK, status.DEADLINE_EXCEEDED] as const;

function* plannedCalls(): Generator<Planned, never> {
  const good = goodRequests();
  const bad = badRequests();
  const uniform = uniformSource(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(uniform() * from.length)]!;
  for (;;) {
    const draw = uniform();
    const patient = { deadlineMs: 60_000, cancelAfterMs: null };
    if (draw < 0.7) yield { kind: 'good', request: pick(good), allowed: [status.OK], ...patient };
    else if (draw < 0.85) {
      const { request, code } = pick(bad);
      yield { kind: 'bad', request, allowed: [code], ...patient };
    } else if (draw < 0.93) {
      const cancelAfterMs = Math.floor(uniform() * 20);
      yield { kind: 'cancelled', request: pick(good), allowed: endsInTime, deadlineMs: 60_000, cancelAfterMs };
    } else {
      const deadlineMs = 1 + Math.floor(uniform() * 20);
      yield { kind: 'late', request: pick(good), allowed: endsLate, deadlineMs, cancelAfterMs: null };
    }
  }
}

class Tally {
  sent = 0;
  ended = 0;
  readonly byKindAndStatus = new Map<string, number>();
  /** What was answered otherwise than it should be. */
  readonly unexpected: string[] = [];

  record(planned: Planned, code: status, details: string): void {
    this.ended += 1;
    const key = `${planned.kind} ${status[code]}`;
    this.byKindAndStatus.set(key, (this.byKindAndStatus.get(key) ?? 0) + 1);
    if (!planned.allowed.includes(code)) this.unexpected.push(`${key}: ${details}`);
  }
}

async function callOnce(client: Client, planned: Planned, tally: Tally): Promise<void> {
  tally.sent += 1;
  const call = rawCall(client, coordinatePath, planned.request, planned.deadlineMs);
  const timer = planned.cancelAfterMs === null ? null : setTimeout(() => call.cancel(), planned.cancelAfterMs);
  try {
    await call.answer;
    tally.record(planned, status.OK, '');
  } catch (error) {
    const { code, details } = error as ServiceError;
    tally.record(planned, code, details);
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}

async function callMany(count: number, clients: readonly Client[], plan: Iterator<Planned, never>, tally: Tally) {
  let left = count;
  const caller = async (index: number): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await callOnce(clients[index % clients.length]!, plan.next().value, tally);
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, index) => caller(index)));
}

/** Of one metric of the server's, over all labels. */
async function sumOf(server: ServerProcess, metric: string): Promise<number> {
  const text = await (await fetch(`http://${server.adminAddress}/metrics`)).text();
  let sum = 0;
  for (const [, value] of text.matchAll(new RegExp(`^${metric}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))) sum += Number(value);
  return sum;
}

/** How many calls the server says it ended. */
function endedByServer(server: ServerProcess): Promise<number> {
  return sumOf(server, 'coordinate_request_duration_seconds_count');
}

export const soak: Section = async (context) => {
  const service = await startService(serviceFlags(context), { probe: true, nodeArguments: ['--expose-gc'] });
  const clients = Array.from({ length: connections }, () => rawClient(service.grpcAddress));
  const plan = plannedCalls();
  const rows: Cell[][] = [];
  const read = async (after: number): Promise<number> => {
    // What was cancelled or late may still be running.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { rssBytes, heapUsedBytes, externalBytes } = await service.read(true);
    rows.push([after, rssBytes / megabyte, heapUsedBytes / megabyte, externalBytes / megabyte]);
    context.progress(`after ${after} calls: ${(rssBytes / megabyte).toFixed(0)} MB resident`);
    return rssBytes;
  };
  try {
    // Every program is loaded before memory is compared.
    let warmed = 0;
    let programs = 0;
    for (let before = -1; programs > before && warmed < mostWarmUpCalls; warmed += warmUpCalls) {
      before = programs;
      await callMany(warmUpCalls, clients, plan, new Tally());
      await settled(service);
      programs = await sumOf(service, 'coordinate_executables_resident');
      context.progress(`warmed up with ${warmed + warmUpCalls} calls: ${programs} programs`);
    }
    const before = await read(0);
    const endedBefore = await endedByServer(service);
    const tally = new Tally();
    let after = before;
    for (let block = 1; block <= blocks; block++) {
      await callMany(calls / blocks, clients, plan, tally);
      after = await read((block * calls) / blocks);
    }
    const counted = (await endedByServer(service)) - endedBefore;
    // A call that was cancelled or late before it was sent never reached the server.
    const mayBeUnseen = [...tally.byKindAndStatus]
      .filter(([key]) => key === 'cancelled CANCELLED' || key === 'late DEADLINE_EXCEEDED')
      .reduce((sum, [, count]) => sum + count, 0);
    for (const line of tally.unexpected.slice(0, 5)) context.progress(`unexpected: ${line}`);
    const outcomes = [...tally.byKindAndStatus].sort(([a], [b]) => a.localeCompare(b));
    return {
      name: 'soak',
      title: 'Ten thousand mixed calls',
      method:
        `Engine: ${serviceEngine(context)}. ${calls} calls by ${callers} callers after ${warmed} to warm up, which loaded ${programs} programs: 70 % good (six sizes, three forms, two policies), 15 % bad, 8 % cancelled ` +
        `by the caller within 20 ms, 7 % with deadlines up to 20 ms; seed ${seed}. Memory of the server process after a forced garbage collection, in MB.`,
      tables: [
        { columns: ['call and its end', 'count'], rows: outcomes.map(([key, count]) => [key, count]) },
        { columns: ['after calls', 'resident', 'heap', 'external'], rows },
      ],
      checks: [
        atMost(
          'mixed calls that did not end, or not as they should',
          0,
          calls - tally.ended + tally.unexpected.length,
          '',
        ),
        {
          what: 'calls ended by the server, once each',
          target: `${calls - mayBeUnseen} to ${calls}`,
          measured: String(counted),
          met: counted >= calls - mayBeUnseen && counted <= calls,
        },
        atMost('resident memory after them, of that before', mostGrowth, after / before, ''),
      ],
    };
  } finally {
    for (const client of clients) client.close();
    await service.stop();
  }
};
