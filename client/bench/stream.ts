/** Ticks of simulators over streams, and what streams carry beside unary calls. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AssignmentForm } from '../../src/problem.js';
import { inOwnProcess } from './bench-process.js';
import type { ClosedLoop } from './closed-caller.js';
import { serviceEngine, serviceFlags } from './engines.js';
import type { LoadResult } from './load-generator.js';
import { encodeRequest, float32Tensor } from './messages.js';
import { normalArray } from './random-states.js';
import { atLeast, atMost, type Cell, type Check } from './report.js';
import type { BenchContext, Section } from './section.js';
import { type ServerProcess, settled, startService } from './server-process.js';
import { median } from './statistics.js';
import type { TickLoad, TickResult } from './tick-caller.js';

const simulators = 10;
const periodMs = 100;
const tickCount = 300;
const warmUpTicks = 40;
/** Of each stream: its first tick is solved without a last one, and the streams start together. */
const uncounted = 3;
const mostP50Ms = 4;
const mostP99Ms = 15;

const callers = 32;
const connections = 4;
const count = 100;
const width = 64;
const leastOfUnary = 1.3;
const warmUpSeconds = 4;
/** Requests that follow each other in a stream: states drift by so much of their spread from one to the next, there and back. */
const drift = 0.01;
const driftTicks = 8;

const variants: readonly { readonly name: string; readonly forms: readonly AssignmentForm[] }[] = [
  { name: 'TOP_K', forms: ['TOP_K'] },
  { name: 'HARD exact', forms: ['HARD'] },
];

export const stream: Section = async (context) => {
  const service = await startService(serviceFlags(context));
  const ticks: Cell[][] = [];
  const rates: Cell[][] = [];
  const checks: Check[] = [];
  let failed = 0;
  try {
    for (const together of [false, true]) {
      const { result, rounds } = await tickRounds(context, service, together);
      const what = together ? 'all at the same moment' : 'spread over the period';
      failed += result.failed;
      ticks.push([
        what,
        result.answered,
        result.p50Ms,
        result.p99Ms,
        result.longestMs,
        result.firstLongestMs,
        result.lagP99Ms,
        result.warmShare,
        result.meanChurn,
      ]);
      context.progress(`ticks ${what}: p50 ${rounds.map(({ p50Ms }) => p50Ms.toFixed(2)).join(', ')} ms`);
      if (together) continue;
      const name = `stream tick, N=M=${tickCount}, ${simulators} streams at ${1000 / periodMs} Hz`;
      checks.push(atMost(`${name}, p50`, mostP50Ms, result.p50Ms, 'ms'));
      checks.push(atMost(`${name}, p99`, mostP99Ms, result.p99Ms, 'ms'));
    }
    for (const { name, forms } of variants) {
      const requestFiles = driftingRequests(context, forms);
      const measure = (over: ClosedLoop['over'], seconds: number): Promise<LoadResult> => {
        const job: ClosedLoop = { address: service.grpcAddress, requestFiles, over, callers, connections, seconds };
        return inOwnProcess<LoadResult>('closed-caller.js', job);
      };
      await measure('unary calls', context.seconds);
      await settled(service);
      for (const over of ['unary calls', 'streams'] as const) await measure(over, warmUpSeconds);
      const unary: LoadResult[] = [];
      const streams: LoadResult[] = [];
      for (let round = 0; round < context.rounds; round++) {
        unary.push(await measure('unary calls', context.seconds));
        streams.push(await measure('streams', context.seconds));
        const [calls, ticksOf] = [unary.at(-1)!, streams.at(-1)!].map(({ ratePerSecond }) => ratePerSecond.toFixed(0));
        context.progress(`${name}: ${callers} streams ${ticksOf}/s, ${callers} unary callers ${calls}/s`);
      }
      const of = (results: readonly LoadResult[], pick: (result: LoadResult) => number) => median(results.map(pick));
      const ratio = median(streams.map(({ ratePerSecond }, round) => ratePerSecond / unary[round]!.ratePerSecond));
      const errors = [...unary, ...streams].reduce((sum, result) => sum + result.failed, 0);
      failed += errors;
      rates.push([
        name,
        of(unary, (result) => result.ratePerSecond),
        of(streams, (result) => result.ratePerSecond),
        ratio,
        of(unary, (result) => result.p50Ms),
        of(streams, (result) => result.p50Ms),
        of(unary, (result) => result.p99Ms),
        of(streams, (result) => result.p99Ms),
        errors,
      ]);
      checks.push(atLeast(`rate, ${name}, ${callers} streams`, leastOfUnary, ratio, 'of the unary rate'));
    }
  } finally {
    await service.stop();
  }
  checks.push(atMost('failed ticks', 0, failed, ''));
  return {
    name: 'stream',
    title: 'Streams',
    method:
      `Engine: ${serviceEngine(context)}. First table: ${simulators} simulators at ${1000 / periodMs} Hz, one stream each over one connection, N=M=${tickCount} under \`distance\` on a map of 1000 m, \`HARD\` with the exact solver; every agent ` +
      `drives 1 m a tick towards the task that the last answer gave it. Ticks are sent on time whatever is unanswered. ${context.rounds} rounds of ${context.seconds} s after a warm-up, the round of the median p99; the first ${uncounted} ticks of every stream, which has nothing to start from, only count in the column 'longest first'; lag is by how much ticks were sent late. ` +
      `Second table: \`reference\`, N=M=${count}, d=${width}, all operators; ${callers} streams with one request under way each, against ${callers} unary callers of the same ` +
      `load generator (grpc-js) over ${connections} connections; the states drift from request to request by ${100 * drift} % of their spread. ${context.rounds} rounds in turn, medians. Rates in answers a second, times in ms.`,
    tables: [
      {
        columns: ['ticks', 'answers', 'p50', 'p99', 'longest', 'longest first', 'lag p99', 'warm', 'churn'],
        rows: ticks,
      },
      {
        columns: [
          'answer',
          'unary rate',
          'stream rate',
          'ratio',
          'unary p50',
          'stream p50',
          'unary p99',
          'stream p99',
          'errors',
        ],
        rows: rates,
      },
    ],
    checks,
  };
};

async function tickRounds({ rounds, seconds }: BenchContext, { grpcAddress }: ServerProcess, together: boolean) {
  const load = (ticks: number, seed: number): Promise<TickResult> => {
    const job: TickLoad = {
      address: grpcAddress,
      simulators,
      ticks,
      uncounted,
      periodMs,
      together,
      count: tickCount,
      seed,
    };
    return inOwnProcess<TickResult>('tick-caller.js', job);
  };
  await load(warmUpTicks, 1);
  const results: TickResult[] = [];
  for (let round = 0; round < rounds; round++) {
    results.push(await load(uncounted + Math.ceil((1000 * seconds) / periodMs), 1000 * (round + 1)));
  }
  const byTail = [...results].sort((a, b) => a.p99Ms - b.p99Ms);
  const failed = results.reduce((sum, each) => sum + each.failed, 0);
  return { result: { ...byTail[byTail.length >> 1]!, failed }, rounds: results };
}

/** Files of requests whose states drift to and fro, so that the last is followed by the first. */
function driftingRequests({ folder }: BenchContext, forms: readonly AssignmentForm[]): string[] {
  const length = count * width;
  const [agents, tasks, direction] = [normalArray(length, 1), normalArray(length, 2), normalArray(length, 3)];
  return Array.from({ length: driftTicks }, (_, tick) => {
    const steps = Math.min(tick, driftTicks - tick);
    const states = agents.map((value, index) => value + steps * drift * direction[index]!);
    const file = join(folder, `drift-${forms.join('-')}-${tick}.request`);
    writeFileSync(
      file,
      encodeRequest({
        policy: 'reference',
        agents: float32Tensor(count, width, states),
        tasks: float32Tensor(count, width, tasks),
        assignment: { forms, solver: 'EXACT' },
      }),
    );
    return file;
  });
}
