/** What the service answers in time when it is asked for less and for more than it can do. */
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { inOwnProcess } from './bench-process.js';
import type { ClosedLoop } from './closed-caller.js';
import { serviceEngine, serviceFlags } from './engines.js';
import type { LinePlot } from './line-plot.js';
import type { LoadResult } from './load-generator.js';
import { sampleRequest } from './messages.js';
import type { OpenLoop, OpenResult } from './open-caller.js';
import { atLeast, atMost, type Cell } from './report.js';
import type { BenchContext, Section } from './section.js';
import type { ProbeReading } from './probe.js';
import { compiled, settled, startNullServer, startService } from './server-process.js';
import { median } from './statistics.js';

const count = 500;
const deadlineMs = 50;
const loads = [0.5, 0.8, 1, 1.5, 2, 4] as const;
const distinctRequests = 8;
const connections = 4;
/** Enough to keep the engine and the solvers busy, few enough that nothing waits long. */
const closedCallers = 8;
const warmUpSeconds = 4;
/** Of each load, before what is counted. */
const leadInSeconds = 1;
/** Against one measurement of the other sections: a p99 needs calls. */
const timesLonger = 1.5;

const leastOfBest = 0.9;
const overload2 = 2;
const mostRefusalMs = 5;
const restfulLoad = 0.8;

/** What the generator saw, and the server's event loop meanwhile. */
type Result = OpenResult & Pick<ProbeReading, 'loopDelayMs' | 'busiestMs'>;

export const overload: Section = async (context) => {
  const requestFiles = Array.from({ length: distinctRequests }, (_, index) => requestFile(context, index + 1));
  const service = await startService(serviceFlags(context), { probe: true });
  const byLoad = new Map<number, Result[]>(loads.map((load) => [load, []]));
  let capacity: number;
  try {
    const closed = (seconds: number): Promise<LoadResult> => {
      const job: ClosedLoop = {
        address: service.grpcAddress,
        requestFiles,
        over: 'bare unary calls',
        callers: closedCallers,
        connections,
        seconds,
      };
      return inOwnProcess<LoadResult>('closed-caller.js', job);
    };
    const open = (load: number, seconds: number): Promise<OpenResult> =>
      openLoop(service.grpcAddress, requestFiles, load * capacity, seconds);
    // Programs of other batch sizes are compiled in the background; then the code that serves them is compiled.
    await closed(context.seconds);
    await settled(service);
    await closed(warmUpSeconds);
    const rates: number[] = [];
    for (let round = 0; round < context.rounds; round++) rates.push((await closed(context.seconds)).ratePerSecond);
    capacity = median(rates);
    context.progress(`capacity: ${capacity.toFixed(0)}/s in a closed loop of ${closedCallers} callers`);
    // The code that refuses, too.
    await open(overload2, context.seconds);
    for (let round = 0; round < context.rounds; round++) {
      for (const load of loads) {
        await service.read();
        const result = await open(load, timesLonger * context.seconds);
        const { loopDelayMs, busiestMs } = await service.read();
        byLoad.get(load)!.push({ ...result, loopDelayMs, busiestMs });
        context.progress(
          `${load} of capacity: ${result.goodPerSecond.toFixed(0)}/s in time, ${result.refused} refused, ${result.late} late of ${result.sent}`,
        );
      }
    }
  } finally {
    await service.stop();
  }
  const nothing = await nothingBesideWork(context, requestFiles, overload2 * capacity);
  const of = (load: number, pick: (result: Result) => number): number => median(byLoad.get(load)!.map(pick));
  const best = Math.max(...loads.map((load) => of(load, (result) => result.goodPerSecond)));
  const rows = loads.map((load): Cell[] => {
    const share = (pick: (result: Result) => number): number => of(load, (result) => pick(result) / result.sent);
    return [
      load,
      load * capacity,
      of(load, (result) => result.goodPerSecond),
      of(load, (result) => result.goodPerSecond) / best,
      share((result) => result.refused),
      share((result) => result.late),
      of(load, (result) => result.goodP50Ms),
      of(load, (result) => result.goodP99Ms),
      of(load, (result) => result.refusedP50Ms),
      of(load, (result) => result.refusedP99Ms),
      of(load, (result) => result.lagP99Ms),
      of(load, (result) => result.loopDelayMs.p99),
      of(load, (result) => result.busiestMs ?? NaN),
      of(load, (result) => result.cpuShare),
      byLoad.get(load)!.reduce((sum, result) => sum + result.failed, 0),
    ];
  });
  const name = `at ${overload2} times capacity, ${deadlineMs} ms deadlines`;
  const all = [...byLoad.values()].flat();
  return {
    name: 'overload',
    title: 'Overload',
    method:
      `Engine: ${serviceEngine(context)}. \`distance\` policy, N=M=${count}, \`HARD\`, ${distinctRequests} different swarms. Capacity is the rate of ${closedCallers} callers without deadlines that each send the next call when they have ` +
      `the last answer. The load is then an open loop in a process of its own: calls are sent at equal distances (as ghz does with a rate) whatever is unanswered, over ${connections} connections in turn, each with a deadline of ${deadlineMs} ms. ` +
      `${context.rounds} rounds of ${timesLonger * context.seconds} s for each load, after ${leadInSeconds} s that is not counted, medians. In time: answered within the deadline; refused: told that it would be late or that the queue is full; late: the deadline passed. ` +
      'The generator writes HTTP/2 frames without a gRPC library, so that little of what is measured is its own. Latencies are from sending; lag is by how much the generator sent calls later than scheduled, generator its CPU time, of one core. Loop is how far apart the ticks of a timer of 1 ms are in the server, waiting for a core included, busiest the most that its main thread computed at a stretch: ' +
      'what a refusal waits for in the server; the rest of its time is the way and the generator. Loop, busiest and generator are of the second before, too. The second table is what a refusal may take on this machine: a server that gives everybody the same few bytes, ' +
      'from the same generator at the same rate, alone and while as many threads as there are cores compute at the priority of our solvers. Rates in calls a second, times in ms.',
    tables: [
      {
        columns: [
          'load',
          'offered',
          'in time',
          'of the best',
          'refused',
          'late',
          'p50',
          'p99',
          'refusal p50',
          'refusal p99',
          'lag p99',
          'loop p99',
          'busiest',
          'generator',
          'errors',
        ],
        rows,
      },
      {
        columns: ['a server that does nothing', 'offered', 'p50', 'p99', 'lag p99', 'generator'],
        rows: nothing,
      },
    ],
    plot: plotOf(loads.map((load) => [load, load * capacity, (pick) => of(load, pick)])),
    checks: [
      atLeast(
        `goodput ${name}`,
        leastOfBest,
        of(overload2, (result) => result.goodPerSecond) / best,
        'of the best rate',
      ),
      atMost(
        `p99 of answers ${name}`,
        deadlineMs,
        of(overload2, (result) => result.goodP99Ms),
        'ms',
      ),
      atMost(
        `p99 of refusals ${name}`,
        mostRefusalMs,
        of(overload2, (result) => result.refusedP99Ms),
        'ms',
      ),
      atMost(
        `calls refused at ${restfulLoad} of capacity`,
        0,
        byLoad.get(restfulLoad)!.reduce((sum, result) => sum + result.refused, 0),
        '',
      ),
      atMost(
        'calls that failed otherwise',
        0,
        all.reduce((sum, result) => sum + result.failed, 0),
        '',
      ),
    ],
  };
};

/** Of each load: itself, the calls a second that it offers, and the median over rounds of what is picked of a result. */
type LoadPoint = readonly [load: number, offered: number, of: (pick: (result: Result) => number) => number];

function plotOf(points: readonly LoadPoint[]): LinePlot {
  const goodput = points.map(([load, , of]) => [load, of(({ goodPerSecond }) => goodPerSecond)] as const);
  const latency = (pick: (result: Result) => number) => points.map(([load, , of]) => [load, of(pick)] as const);
  const most = Math.max(...goodput.map(([, rate]) => rate));
  const rateStep = 10 ** Math.floor(Math.log10(most));
  return {
    title: 'Answers in time and latencies against load',
    xLabel: 'load / capacity',
    mostX: 4,
    lines: [
      { label: 'answers', colour: '#0b6e4f', dashes: '' },
      { label: 'refusals', colour: '#b3261e', dashes: '' },
      { label: 'offered load; deadline', colour: '#7a7f87', dashes: '5 4' },
    ],
    panels: [
      {
        title: 'In time',
        yLabel: 'calls a second',
        mostY: rateStep * (Math.floor(most / rateStep) + 1),
        yStep: rateStep / 2,
        points: [goodput, [], [[0, 0], ...points.map(([load, offered]) => [load, offered] as const)]],
      },
      {
        title: 'Latency, p99',
        yLabel: 'ms',
        mostY: 60,
        yStep: 10,
        points: [
          latency(({ goodP99Ms }) => goodP99Ms),
          latency(({ refusedP99Ms }) => refusedP99Ms),
          [
            [0, deadlineMs],
            [4, deadlineMs],
          ],
        ],
      },
    ],
  };
}

function openLoop(
  address: string,
  requestFiles: readonly string[],
  ratePerSecond: number,
  seconds: number,
): Promise<OpenResult> {
  const job: OpenLoop = { address, requestFiles, ratePerSecond, seconds, leadInSeconds, deadlineMs, connections };
  return inOwnProcess<OpenResult>('open-caller.js', job);
}

/** What a server takes that does nothing, alone and beside threads that compute all the time: medians of rounds. */
async function nothingBesideWork(
  context: BenchContext,
  requestFiles: readonly string[],
  ratePerSecond: number,
): Promise<Cell[][]> {
  const answerFile = join(context.folder, 'overload-nothing.answer');
  writeFileSync(answerFile, '');
  const server = await startNullServer(answerFile);
  const measure = (seconds: number): Promise<OpenResult> =>
    openLoop(server.grpcAddress, requestFiles, ratePerSecond, seconds);
  const rows: Cell[][] = [];
  try {
    await measure(context.seconds);
    for (const busy of [0, availableParallelism()]) {
      const workers = Array.from({ length: busy }, () => new Worker(compiled('busy-worker.js')));
      const results: OpenResult[] = [];
      try {
        for (let round = 0; round < context.rounds; round++) results.push(await measure(timesLonger * context.seconds));
      } finally {
        await Promise.all(workers.map((worker) => worker.terminate()));
      }
      const of = (pick: (result: OpenResult) => number): number => median(results.map(pick));
      rows.push([
        busy === 0 ? 'alone' : `beside ${busy} busy threads`,
        ratePerSecond,
        of(({ goodP50Ms }) => goodP50Ms),
        of(({ goodP99Ms }) => goodP99Ms),
        of(({ lagP99Ms }) => lagP99Ms),
        of(({ cpuShare }) => cpuShare),
      ]);
    }
  } finally {
    await server.stop();
  }
  return rows;
}

function requestFile({ folder }: BenchContext, seed: number): string {
  const file = join(folder, `overload-${seed}.request`);
  const shape = {
    policy: 'distance',
    agents: count,
    tasks: count,
    width: 2,
    forms: ['HARD'],
    states: 'uniform',
  } as const;
  writeFileSync(file, sampleRequest({ ...shape, seed }));
  return file;
}
