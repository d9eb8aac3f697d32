/** What callers notice of a hard kill and a rolling restart of three replicas. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { atMost, type Cell } from './report.js';
import type { RollingJob, RollingOrder, RollingReply, Sent } from './rolling-caller.js';
import type { Section } from './section.js';
import { compiled, type ServerProcess, startService } from './server-process.js';
import { median, percentile } from './statistics.js';

const replicaCount = 3;
const count = 32;
const distinctRequests = 16;
const closedCallers = 12;
const load = 0.7;
/** Of what is sent, up to so many a second. */
const tickShare = 0.1;
const mostTicksPerSecond = 20;
/** One engine thread and one solver each: three servers and their callers share this machine. */
const serveFlags = ['--engine', 'onnx', '--engine-threads', '1', '--solver-threads', '1', '--max-batch', '8'];
const windowMs = 2000;
/** After each event, the window included; so most of what is measured lies outside of the windows. */
const restMs = 6000;
/** Before the first event: as long as what lies outside of the windows afterwards, so that neither p99 is of fewer calls. */
const quietForMs = 2 * restMs;
const mostTimesQuiet = 2;

/** Something happened to a replica at this time, in milliseconds since 1970. */
interface Happening {
  readonly what: 'killed' | 'told to end' | 'started' | 'serves again';
  readonly atMs: number;
}

interface Round {
  readonly quiet: readonly Sent[];
  /** Of the time in which replicas went and came. */
  readonly rolling: readonly Sent[];
  readonly happenings: readonly Happening[];
}

const wallMs = (): number => performance.timeOrigin + performance.now();
const rest = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs));

export const rolling: Section = async (context) => {
  const replicas: ServerProcess[] = [];
  const flags = [...serveFlags, '--executable-cache-dir', join(context.folder, 'rolling-executables')];
  for (let i = 0; i < replicaCount; i++) replicas.push(await startService(flags));
  const addresses = replicas.map(({ grpcAddress }) => grpcAddress);
  const job: RollingJob = { addresses, count, distinctRequests, callers: closedCallers };
  const caller = fork(compiled('rolling-caller.js'), [JSON.stringify(job)]);
  const endWithParent = (): void => void caller.kill();
  process.once('exit', endWithParent);
  const order = (message: RollingOrder): void => void caller.send(message);
  const gone = once(caller, 'exit').then(([code, signal]: unknown[]): never => {
    throw new Error(`rolling: the callers ended without an answer (${String(code ?? signal)})`);
  });
  gone.catch(() => undefined);
  const replyTo = async (message: RollingOrder): Promise<RollingReply> => {
    const reply = once(caller, 'message') as Promise<[RollingReply]>;
    order(message);
    return (await Promise.race([reply, gone]))[0];
  };
  const spans: {
    readonly quietMs: number;
    readonly rollMs: number;
    readonly endMs: number;
    readonly happenings: Happening[];
  }[] = [];
  let capacity: number;
  let ticksPerSecond: number;
  let told: Extract<RollingReply, { kind: 'stop' }>;
  try {
    await replyTo({ kind: 'closed', seconds: 2 * context.seconds });
    const rates: number[] = [];
    for (let round = 0; round < context.rounds; round++) {
      const reply = await replyTo({ kind: 'closed', seconds: context.seconds });
      if (reply.kind === 'closed') rates.push(reply.ratePerSecond);
    }
    capacity = median(rates);
    context.progress(`capacity: ${capacity.toFixed(0)}/s in a closed loop of ${closedCallers} callers`);
    ticksPerSecond = Math.min(mostTicksPerSecond, tickShare * load * capacity);
    order({ kind: 'open', callsPerSecond: load * capacity - ticksPerSecond, ticksPerSecond });
    await rest(restMs);
    for (let round = 0; round < context.rounds; round++) {
      const happenings: Happening[] = [];
      const quietMs = wallMs();
      await rest(quietForMs);
      const rollMs = wallMs();
      for (const [index, replica] of replicas.entries()) {
        const isKilled = index === round % replicaCount;
        const note = (what: Happening['what']): void => {
          happenings.push({ what, atMs: wallMs() });
          context.progress(`round ${round + 1}: replica ${index + 1} ${what}`);
        };
        note(isKilled ? 'killed' : 'told to end');
        if (isKilled) process.kill(replica.pid, 'SIGKILL');
        await replica.stop();
        note('started');
        replicas[index] = await startService(flags, { grpcAddress: addresses[index]! });
        note('serves again');
        await rest(restMs);
      }
      spans.push({ quietMs, rollMs, endMs: wallMs(), happenings });
    }
    const reply = await replyTo({ kind: 'stop' });
    if (reply.kind !== 'stop') throw new Error(`rolling: expected the results, received ${reply.kind}`);
    told = reply;
  } finally {
    caller.kill();
    process.removeListener('exit', endWithParent);
    await Promise.all(replicas.map((replica) => replica.stop()));
  }

  const rounds = spans.map(({ quietMs, rollMs, endMs, happenings }): Round => {
    const between = (from: number, to: number): Sent[] => told.calls.filter(({ atMs }) => atMs >= from && atMs < to);
    return { quiet: between(quietMs, rollMs), rolling: between(rollMs, endMs), happenings };
  });
  const p99 = (calls: readonly Sent[]): number =>
    percentile(
      calls.map(({ tookMs }) => tookMs),
      0.99,
    );
  const quietP99 = median(rounds.map(({ quiet }) => p99(quiet)));
  const outsideP99 = median(
    rounds.map((round) => p99(round.rolling.filter((call) => !isNear(call, round.happenings)))),
  );
  const restingP99 = median(
    rounds.map((round) =>
      p99(round.rolling.filter((call) => !isNear(call, round.happenings) && !isDuringStart(call, round.happenings))),
    ),
  );
  const insideP99 = median(rounds.map((round) => p99(round.rolling.filter((call) => isNear(call, round.happenings)))));
  const longestMs = Math.max(...rounds.flatMap(({ rolling: calls }) => calls.map(({ tookMs }) => tookMs)));
  const failures = [...told.calls, ...told.ticks].filter(({ failure }) => failure !== null);
  for (const [message, times] of countsOf(failures)) context.progress(`lost: ${times} x ${message}`);
  const startsMs = spans.flatMap(({ happenings }) => starts(happenings).map(([from, to]) => to - from));
  const rows: Cell[][] = [
    ['quiet', quietP99, 1],
    ['outside of the windows', outsideP99, outsideP99 / quietP99],
    ['outside, and no replica starts', restingP99, restingP99 / quietP99],
    ['inside of the windows', insideP99, insideP99 / quietP99],
  ];
  return {
    name: 'rolling',
    title: 'Rolling restart and hard kill',
    method:
      `Three replicas as processes on this machine (ONNX Runtime, one engine and one solver thread, batches up to 8), N=M=${count}, \`distance\`, \`HARD\`; one \`CoordinatorClient\` over them in a process of its own. ` +
      `Capacity is the rate of ${closedCallers} callers in a closed loop; the load is an open loop at ${load * 100} % of it (${(load * capacity).toFixed(0)}/s), of which ${ticksPerSecond.toFixed(0)}/s are ticks of a stream. Each of ${context.rounds} rounds: ` +
      `${quietForMs / 1000} s of quiet, then one replica gets SIGKILL and the two others SIGTERM, one after the other; each is started again on its port at once, with the compiled programs in the folder that all share, and ${restMs / 1000} s pass after it serves. A window is the ${windowMs / 1000} s after a replica was killed or told to end, or serves again. ` +
      `All share the cores: capacity does not fall by a third with a replica, and a starting one (${median(startsMs).toFixed(0)} ms) takes cores from those that serve, though behind them where this user may set that, which with a machine each it would not; so the time of starts is also shown apart. Medians of the rounds, ms.`,
    tables: [
      { columns: ['calls sent', 'p99', 'times quiet'], rows },
      {
        columns: [
          'calls',
          'ticks',
          'lost',
          'ticks out of order',
          'stream reconnects',
          'longest call',
          'generator lag p99',
        ],
        rows: [
          [
            told.calls.length,
            told.ticks.length,
            failures.length,
            told.outOfOrder,
            told.reconnects,
            longestMs,
            percentile(told.lagsMs, 0.99),
          ],
        ],
      },
    ],
    checks: [
      atMost('calls and ticks lost', 0, failures.length, ''),
      atMost('ticks out of order', 0, told.outOfOrder, ''),
      atMost(`p99 outside of ${windowMs / 1000} s windows, times quiet`, mostTimesQuiet, outsideP99 / quietP99, ''),
    ],
  };
};

/** How often what was said; numbers in it do not make a difference. */
function countsOf(failures: readonly Sent[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { failure } of failures) {
    const message = (failure ?? '').replace(/\d+/g, '…');
    counts.set(message, (counts.get(message) ?? 0) + 1);
  }
  return counts;
}

/** Whether any part of the call lies in the window after an event that changes who serves. */
function isNear({ atMs, tookMs }: Sent, happenings: readonly Happening[]): boolean {
  return happenings.some(
    (event) => event.what !== 'started' && atMs <= event.atMs + windowMs && atMs + tookMs >= event.atMs,
  );
}

function isDuringStart({ atMs, tookMs }: Sent, happenings: readonly Happening[]): boolean {
  return starts(happenings).some(([from, to]) => atMs <= to && atMs + tookMs >= from);
}

/** From starting a process until it serves. */
function starts(happenings: readonly Happening[]): (readonly [number, number])[] {
  return happenings.flatMap(({ what, atMs }, index) =>
    what === 'started' ? [[atMs, happenings[index + 1]!.atMs] as const] : [],
  );
}
