/**
 * Callers of several replicas, in a process of their own, over our own client: first a closed loop, then an open one until they
 * are told to stop. `rolling.ts` forks it with a RollingJob and speaks with it by messages.
 */
import { CoordinatorClient, matrix } from '../client.js';
import { uniformArray } from './random-states.js';

export interface RollingJob {
  readonly addresses: readonly string[];
  /** Agents and tasks. */
  readonly count: number;
  readonly distinctRequests: number;
  /** Of the closed loop. */
  readonly callers: number;
}

export type RollingOrder =
  | { readonly kind: 'closed'; readonly seconds: number }
  /** Calls and ticks at equal distances, over one client and one stream. */
  | { readonly kind: 'open'; readonly callsPerSecond: number; readonly ticksPerSecond: number }
  | { readonly kind: 'stop' };

/** One call or tick; times in milliseconds since 1970, as both processes see them. */
export interface Sent {
  readonly atMs: number;
  readonly tookMs: number;
  /** Null where it was answered. */
  readonly failure: string | null;
}

export type RollingReply =
  | { readonly kind: 'closed'; readonly ratePerSecond: number }
  | {
      readonly kind: 'stop';
      readonly calls: readonly Sent[];
      readonly ticks: readonly Sent[];
      readonly reconnects: number;
      /** Ticks whose answer came before that of an earlier one, or a second time. */
      readonly outOfOrder: number;
      /** By which calls were sent later than scheduled, each. */
      readonly lagsMs: readonly number[];
    };

const job = JSON.parse(process.argv[2]!) as RollingJob;
const client = new CoordinatorClient(job.addresses);
const requests = Array.from({ length: job.distinctRequests }, (_, seed) => ({
  agents: matrix(job.count, 2, uniformArray(2 * job.count, 2 * seed)),
  tasks: matrix(job.count, 2, uniformArray(2 * job.count, 2 * seed + 1)),
  assignment: { forms: ['HARD'] as const },
}));
const requestAt = (index: number) => requests[index % requests.length]!;
const wallMs = (): number => performance.timeOrigin + performance.now();

async function closedLoop(seconds: number): Promise<number> {
  const endMs = wallMs() + 1000 * seconds;
  let answered = 0;
  const caller = async (): Promise<void> => {
    while (wallMs() < endMs) {
      await client.coordinate(requestAt(answered));
      answered++;
    }
  };
  await Promise.all(Array.from({ length: job.callers }, caller));
  return answered / seconds;
}

/** Sends at equal distances; what was late is sent at once, so nothing is left out. */
class Pace {
  readonly sent: Promise<Sent>[] = [];
  readonly lagsMs: number[] = [];
  #stopped = false;

  constructor(perSecond: number, send: (index: number) => Promise<unknown>) {
    const startMs = wallMs();
    const sendDue = (): void => {
      for (;;) {
        if (this.#stopped) return;
        const waitMs = startMs + (1000 * this.sent.length) / perSecond - wallMs();
        if (waitMs > 0) {
          setTimeout(sendDue, waitMs);
          return;
        }
        this.lagsMs.push(-waitMs);
        this.sent.push(this.#outcome(send(this.sent.length)));
      }
    };
    sendDue();
  }

  async stop(): Promise<Sent[]> {
    this.#stopped = true;
    return Promise.all(this.sent);
  }

  async #outcome(call: Promise<unknown>): Promise<Sent> {
    const atMs = wallMs();
    let failure: string | null = null;
    try {
      await call;
    } catch (error) {
      failure = String(error);
    }
    return { atMs, tookMs: wallMs() - atMs, failure };
  }
}

const stream = client.openStream();
let lastTick = -1;
let outOfOrder = 0;
let calls: Pace | null = null;
let ticks: Pace | null = null;

async function tick(index: number): Promise<void> {
  await stream.send(requestAt(index));
  if (index <= lastTick) outOfOrder++;
  lastTick = index;
}

async function obey(order: RollingOrder): Promise<void> {
  if (order.kind === 'closed') {
    await reply({ kind: 'closed', ratePerSecond: await closedLoop(order.seconds) });
  } else if (order.kind === 'open') {
    calls = new Pace(order.callsPerSecond, (index) => client.coordinate(requestAt(index)));
    ticks = new Pace(order.ticksPerSecond, tick);
  } else {
    const [allCalls, allTicks] = await Promise.all([calls?.stop() ?? [], ticks?.stop() ?? []]);
    const { reconnects } = stream;
    const lagsMs = calls?.lagsMs ?? [];
    await reply({ kind: 'stop', calls: allCalls, ticks: allTicks, reconnects, outOfOrder, lagsMs });
    await stream.close();
    client.close();
    process.disconnect();
  }
}

/** Resolves when the message is written: to disconnect before that would cut off a long one. */
function reply(message: RollingReply): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send!(message, undefined, {}, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

process.on('message', (order: RollingOrder) => void obey(order));
