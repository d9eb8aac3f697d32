/** `npm run soak`: a server under mixed load for minutes, and whether what it holds stays as much as it was. */
import { parseArgs } from 'node:util';
import { type ServiceError, status } from '@grpc/grpc-js';
import { seededNormal, seededUniform } from '../seeded-normal.js';
import { floatTensor, rawClient, type RawClient, type RawMessage } from '../service/raw-client.js';
import { streamClient } from '../service/stream-client.js';
import { callOnce, eventually, knownCalls, pause, startLoad, Tally } from './known-answers.js';
import { cpuPlugin } from './plugin.js';
import { recordSection, whereAndWhen } from './record.js';
import { type ChaosServer, killAll, metric, openFiles, startChaosServer } from './server.js';

const seed = 7;
const knownCallers = 3;
const mixedCallers = 3;
const streams = 3;
const ticksOfStream = 40;
/** Of the time: what grows in it is caches that fill. */
const warmUpShare = 0.25;
const samples = 24;
const warmUpDeadlineMs = 240_000;

interface Sample {
  readonly atSeconds: number;
  readonly rssMb: number;
  readonly heapMb: number;
  readonly externalMb: number;
  readonly files: number;
  readonly resources: number;
  readonly deviceObjects: number;
  readonly lagMs: number;
}

/** What may not grow: the median of the last third over that of the first third, after the warm-up. */
const limits: readonly { readonly of: keyof Sample; readonly factor: number; readonly plus: number }[] = [
  { of: 'rssMb', factor: 1.1, plus: 20 },
  { of: 'heapMb', factor: 1.1, plus: 5 },
  { of: 'externalMb', factor: 1.1, plus: 20 },
  { of: 'files', factor: 1, plus: 5 },
  { of: 'resources', factor: 1, plus: 10 },
  { of: 'deviceObjects', factor: 1, plus: 10 },
];

class MixedTally {
  readonly ended = new Map<string, number>();
  readonly broken: string[] = [];

  count(what: string): void {
    this.ended.set(what, (this.ended.get(what) ?? 0) + 1);
  }
}

interface Running {
  readonly isStopped: () => boolean;
  readonly tally: MixedTally;
}

const sizes = [3, 8, 20, 40, 70, 120];
const allowedFailures: readonly status[] = [status.CANCELLED, status.DEADLINE_EXCEEDED, status.RESOURCE_EXHAUSTED];

/** Calls of many sizes, some cancelled, some with too little time, some wrong. */
async function mixedCaller(client: RawClient, ownSeed: number, { isStopped, tally }: Running): Promise<void> {
  const [uniform, normal] = [seededUniform(ownSeed), seededNormal(ownSeed)];
  const states = (count: number): RawMessage =>
    floatTensor(Array.from({ length: count }, () => [normal(), normal(), normal()]));
  while (!isStopped()) {
    const size = sizes[Math.floor(uniform() * sizes.length)]!;
    const draw = uniform();
    const request: RawMessage = { agents: states(size), tasks: states(size) };
    if (uniform() < 0.3) request['assignment'] = { forms: ['TOP_K', 'HARD'] };
    if (draw > 0.9) request['agents'] = { ...states(2), shape: [7, 7] };
    const deadlineMs = draw < 0.15 ? 1 + 10 * uniform() : 30_000;
    try {
      const answer = await client.coordinate(request, { deadline: Date.now() + deadlineMs });
      const tasks = (answer['assignment'] as { taskOfAgent: number[] }).taskOfAgent;
      if (tasks.length !== size || new Set(tasks).size !== size) tally.broken.push(`tasks ${tasks.join(' ')}`);
      tally.count('calls answered');
    } catch (error) {
      const { code } = error as ServiceError;
      if (draw > 0.9 ? code === status.INVALID_ARGUMENT : allowedFailures.includes(code))
        tally.count(draw > 0.9 ? 'bad calls refused' : 'calls out of time');
      else tally.broken.push(String(error));
    }
  }
}

/** Streams one after another, whose members join and leave; every third is cancelled in the middle. */
async function streamer(address: string, ownSeed: number, { isStopped, tally }: Running): Promise<void> {
  const [uniform, normal] = [seededUniform(ownSeed), seededNormal(ownSeed)];
  const client = streamClient(address);
  for (let index = 0; !isStopped(); index++) {
    const stream = client.open();
    let members = Array.from({ length: 12 }, (_, i) => `a${i}`);
    const sent: string[][] = [];
    for (let tick = 0; tick < ticksOfStream && !isStopped(); tick++) {
      if (uniform() < 0.3) members = members.slice(1);
      if (uniform() < 0.3 && members.length < 16) members = [...members, `b${index}-${tick}`];
      if (members.length === 0) members = ['c'];
      sent.push(members);
      const positions = (count: number) => floatTensor(Array.from({ length: count }, () => [normal(), normal()]));
      stream.send({
        requestId: String(tick),
        agentIds: members,
        taskIds: members,
        agents: positions(members.length),
        tasks: positions(members.length),
      });
      await stream.received(Math.max(0, tick - 3));
    }
    const isCancelled = index % 3 === 2;
    if (isCancelled) stream.call.cancel();
    else {
      stream.call.end();
      const { code, details } = await stream.status;
      if (code !== status.OK || stream.answers.length !== sent.length)
        tally.broken.push(`stream: ${code} ${details}, ${stream.answers.length} of ${sent.length} answers`);
    }
    for (const [tick, answer] of stream.answers.entries()) {
      const { taskOfAgent } = answer['assignment'] as { taskOfAgent: number[] };
      const isRight = answer['requestId'] === String(tick) && new Set(taskOfAgent).size === sent[tick]!.length;
      if (!isRight) tally.broken.push(`tick ${tick}: ${JSON.stringify(answer['requestId'])} ${taskOfAgent.join(' ')}`);
      else tally.count('ticks answered');
    }
    tally.count(isCancelled ? 'streams cancelled' : 'streams ended');
  }
  client.close();
}

/** Until every program that the load needs is compiled, however slow the machine: one call after another, each of as long as it takes. */
async function warmUp(address: string): Promise<void> {
  const client = rawClient(address);
  const tally = new Tally();
  for (let i = 0; i < knownCalls.length; i++) await callOnce(client, i, tally, warmUpDeadlineMs);
  for (const size of sizes) {
    const states = floatTensor(Array.from({ length: size }, (_, i) => [i, 1, 2]));
    for (const assignment of [{}, { forms: ['TOP_K', 'HARD'] }]) {
      await client.coordinate(
        { agents: states, tasks: states, assignment },
        { deadline: Date.now() + warmUpDeadlineMs },
      );
    }
  }
  client.close();
  if (tally.right < knownCalls.length) throw new Error(`warm-up: ${tally.toString()}`);
}

async function sampleOf(server: ChaosServer, startMs: number): Promise<Sample> {
  const gauges = () => server.log.filter((line) => line['msg'] === 'gauges');
  const before = gauges().length;
  server.kill('SIGUSR2');
  await eventually('the gauges are read', () => gauges().length > before);
  const { rss, heapUsed, external, resources, lagMs } = gauges().at(-1) as Record<string, number>;
  const objects = await metric(server, 'coordinate_pjrt_live_objects');
  return {
    atSeconds: Math.round((performance.now() - startMs) / 1000),
    rssMb: rss! / 1e6,
    heapMb: heapUsed! / 1e6,
    externalMb: external! / 1e6,
    files: openFiles(server) ?? 0,
    resources: resources!,
    deviceObjects: [...objects.values()].reduce((sum, value) => sum + value, 0),
    lagMs: lagMs!,
  };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** What grew, in words. */
export function growthIn(all: readonly Sample[]): string[] {
  const settled = all.slice(Math.floor(all.length * warmUpShare));
  const third = Math.max(1, Math.floor(settled.length / 3));
  return limits.flatMap(({ of, factor, plus }) => {
    const first = median(settled.slice(0, third).map((sample) => sample[of]));
    const last = median(settled.slice(-third).map((sample) => sample[of]));
    return last <= factor * first + plus ? [] : [`${of} grew from ${first.toFixed(1)} to ${last.toFixed(1)}`];
  });
}

/** The exit code: 0 where nothing grew and every answer was right. */
export async function main(parameters: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...parameters],
    options: { minutes: { type: 'string', default: '5' }, record: { type: 'boolean', default: false } },
  });
  const totalMs = Number(values.minutes) * 60_000;
  const plugin = cpuPlugin();
  const engine = plugin === null ? ['--engine', 'onnx'] : ['--engine', 'xla', '--pjrt-plugin', plugin];
  const server = await startChaosServer({
    flags: [...engine, '--max-batch', '1'],
    nodeArguments: ['--expose-gc', '--import', new URL('gauge-shim.mjs', import.meta.url).href],
  });
  await warmUp(server.grpcAddress);
  const running = { stopped: false };
  const shared: Running = { isStopped: () => running.stopped, tally: new MixedTally() };
  const load = startLoad(server.grpcAddress, knownCallers);
  const client = rawClient(server.grpcAddress, { 'grpc.use_local_subchannel_pool': 1 });
  const others = [
    ...Array.from({ length: mixedCallers }, (_, i) => mixedCaller(client, seed + i, shared)),
    ...Array.from({ length: streams }, (_, i) => streamer(server.grpcAddress, seed + 100 + i, shared)),
  ];
  const startMs = performance.now();
  const all: Sample[] = [];
  while (performance.now() - startMs < totalMs) {
    await pause(totalMs / samples);
    const sample = await sampleOf(server, startMs);
    all.push(sample);
    const { atSeconds, rssMb, heapMb, files, deviceObjects, lagMs } = sample;
    process.stdout.write(
      `${atSeconds} s: ${rssMb.toFixed(0)} MB resident, ${heapMb.toFixed(1)} MB heap, ${files} files, ${deviceObjects} device objects, loop delay p99 ${lagMs.toFixed(1)} ms\n`,
    );
  }
  running.stopped = true;
  await Promise.all(others);
  const tally = await load.stop();
  client.close();
  server.kill('SIGTERM');
  const code = await server.exited;
  await killAll();
  const grown = growthIn(all);
  const faults = [
    ...grown,
    ...tally.wrong,
    ...tally.failures,
    ...shared.tally.broken,
    ...(code === 0 ? [] : [`exit code ${String(code)}`]),
  ];
  const counts = [...shared.tally.ended].map(([what, count]) => `${count} ${what}`).join(', ');
  const summary = `${tally.toString()}; ${counts}`;
  process.stdout.write(
    `${summary}\n${faults.length === 0 ? 'nothing grew, every answer was right' : faults.slice(0, 10).join('\n')}\n`,
  );
  if (values.record)
    recordSection('soak', textOf(all, summary, faults, plugin === null ? 'ONNX Runtime' : 'XLA on the CPU'));
  return faults.length === 0 ? 0 : 1;
}

function textOf(all: readonly Sample[], summary: string, faults: readonly string[], engine: string): string {
  const rows = all.map(
    (s) =>
      `| ${s.atSeconds} | ${s.rssMb.toFixed(0)} | ${s.heapMb.toFixed(1)} | ${s.externalMb.toFixed(0)} | ${s.files} | ${s.resources} | ${s.deviceObjects} | ${s.lagMs.toFixed(1)} |`,
  );
  const criterion = limits
    .map(({ of, factor, plus }) => `${of} ${factor === 1 ? '' : `x ${factor} `}+ ${plus}`)
    .join(', ');
  return `${all.at(-1)!.atSeconds} s of mixed load on ${engine} (${whereAndWhen()}): ${knownCallers} callers whose answers are known, ${mixedCallers} with
calls of ${sizes.join(', ')} members of which 15 % have too little time and 10 % are wrong, ${streams} with streams whose members join and leave and of which a third is cancelled.
${summary}. **${faults.length === 0 ? 'Nothing grew, every answer was right.' : faults.slice(0, 5).join('; ')}**

Sampled after a garbage collection; memory in MB, the delay of the event loop in ms (p99 since the last sample, the collection itself included). It fails where, after the first
quarter, the median of the last third is above that of the first third by more than: ${criterion}.

| s | resident | heap | external | files | resources | device objects | loop delay |
|---|---|---|---|---|---|---|---|
${rows.join('\n')}`;
}
