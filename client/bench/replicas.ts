/** One server against two on one host, each a process of its own, behind our client's balancer: how the rate grows, and what ends it. */
import { execFile } from 'node:child_process';
import { cpus } from 'node:os';
import { promisify } from 'node:util';
import { cpuTimeBetween, cpuTimeOf, type CpuTime } from './cpu-time.js';
import { serviceEngine, serviceFlags } from './engines.js';
import type { ReplicasJob, ReplicasLoad } from './replicas-caller.js';
import { atMost, type Cell } from './report.js';
import type { Section } from './section.js';
import { compiled, type ServerProcess, settled, startService } from './server-process.js';
import { median } from './statistics.js';

const run = promisify(execFile);
/** Of one replica; two are also measured with as many each, as batches are the smaller the fewer callers there are. */
const callers = 32;
const warmUpSeconds = 6;

interface Measured {
  readonly load: ReplicasLoad;
  /** One for each replica under load; null where the system does not tell. */
  readonly servers: readonly (CpuTime | null)[];
}

export const replicas: Section = async (context) => {
  const flags = [...serviceFlags(context), '--devices', '1'];
  const servers: ServerProcess[] = [];
  const rounds: { readonly one: Measured; readonly two: Measured; readonly more: Measured }[] = [];
  try {
    servers.push(await startService(flags));
    servers.push(await startService(flags));
    for (const seconds of [context.seconds, warmUpSeconds]) {
      await measure(servers, 2 * callers, seconds);
      for (const server of servers) await settled(server);
    }
    for (let round = 0; round < context.rounds; round++) {
      const one = await measure(servers.slice(0, 1), callers, context.seconds);
      const two = await measure(servers, callers, context.seconds);
      const more = await measure(servers, 2 * callers, context.seconds);
      rounds.push({ one, two, more });
      const rates = [one, two, more].map(({ load }) => `${load.ratePerSecond.toFixed(0)}/s`);
      context.progress(`one replica ${rates[0]!}, two ${rates[1]!}, with ${2 * callers} callers ${rates[2]!}`);
    }
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
  const cores = cpus().length;
  const row = (name: string, count: number, measured: readonly Measured[]): Cell[] => {
    const of = (pick: (each: Measured) => number | null): Cell => {
      const values = measured.map(pick).filter((value) => value !== null);
      return values.length === 0 ? '-' : median(values);
    };
    return [
      name,
      count,
      of(({ load }) => load.ratePerSecond),
      of(({ load }) => load.p50Ms),
      of(({ load }) => load.p99Ms),
      of((each) => perCallUs(each, ({ processMs }) => processMs)),
      of((each) => perCallUs(each, ({ mainThreadMs }) => mainThreadMs)),
      of(({ load, servers: times }) => busiest(times, load.elapsedMs)),
      of(({ load }) => (load.cpuMs * 1000) / load.calls),
      of(({ load }) => load.cpuMs / load.elapsedMs),
      of(coresUsed),
      measured.reduce((sum, { load }) => sum + load.failed, 0),
    ];
  };
  const ones = rounds.map(({ one }) => one);
  const twos = rounds.map(({ two }) => two);
  const mores = rounds.map(({ more }) => more);
  const failed = [...ones, ...twos, ...mores].reduce((sum, { load }) => sum + load.failed, 0);
  const growth = (pick: 'two' | 'more'): string =>
    median(rounds.map((round) => round[pick].load.ratePerSecond / round.one.load.ratePerSecond)).toFixed(2);
  return {
    name: 'replicas',
    title: 'Two replicas on one host',
    method:
      `Engine of each: ${serviceEngine(context)}, one device. \`reference\` policy, N=M=100, d=64, TOP_K; ${callers} or ${2 * callers} callers in one process over our client, ` +
      `which balances by round robin; ${context.rounds} rounds of ${context.seconds} s, one replica and two in turn, medians. With two the rate is ${growth('two')} times ` +
      `that of one, with ${callers} callers for each ${growth('more')} times (within rounds). This machine has ${cores} cores for servers and callers together. CPU time is in us a call, over all threads of the servers and of their ` +
      'main threads alone; busy is the share of the time that the busiest main thread, and the process of the callers, had a core; cores is what all of it used. Times in ms.',
    tables: [
      {
        columns: [
          'replicas',
          'callers',
          'rate',
          'p50',
          'p99',
          'server CPU',
          'main thread',
          'main busy',
          'caller CPU',
          'caller busy',
          'cores',
          'lost',
        ],
        rows: [row('one', callers, ones), row('two', callers, twos), row('two', 2 * callers, mores)],
      },
    ],
    checks: [atMost('calls lost over two replicas', 0, failed, '')],
  };
};

async function measure(servers: readonly ServerProcess[], count: number, seconds: number): Promise<Measured> {
  const job: ReplicasJob = { addresses: servers.map(({ grpcAddress }) => grpcAddress), callers: count, seconds };
  const before = servers.map(({ pid }) => cpuTimeOf(pid));
  const { stdout } = await run(process.execPath, [compiled('replicas-caller.js'), JSON.stringify(job)]);
  const load = JSON.parse(stdout) as ReplicasLoad;
  return { load, servers: servers.map(({ pid }, index) => cpuTimeBetween(before[index]!, cpuTimeOf(pid))) };
}

/** Over all servers; null where one is not known. */
function sumMs(times: readonly (CpuTime | null)[], pick: (time: CpuTime) => number): number | null {
  return times.reduce<number | null>((sum, time) => (sum === null || time === null ? null : sum + pick(time)), 0);
}

function perCallUs({ load, servers }: Measured, pick: (time: CpuTime) => number): number | null {
  const ms = sumMs(servers, pick);
  return ms === null ? null : (ms * 1000) / load.calls;
}

function busiest(times: readonly (CpuTime | null)[], elapsedMs: number): number | null {
  const shares = times.flatMap((time) => (time === null ? [] : [time.mainThreadMs / elapsedMs]));
  return shares.length === 0 ? null : Math.max(...shares);
}

function coresUsed({ load, servers }: Measured): number | null {
  const ms = sumMs(servers, ({ processMs }) => processMs);
  return ms === null ? null : (ms + load.cpuMs) / load.elapsedMs;
}
