/** This service against a server that does nothing, with the same request bytes and answers of the same size. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LoadResult } from './load-generator.js';
import { coordinatePath, type RequestShape, rawCall, rawClient, sampleRequest } from './messages.js';
import { atLeast, atMost, type Cell, type Check } from './report.js';
import type { BenchContext, Section } from './section.js';
import { type ServerProcess, startNullServer, startService } from './server-process.js';
import { median } from './statistics.js';

const shape = { policy: 'reference', agents: 100, tasks: 100, width: 64, seed: 1 } as const;

interface Variant {
  readonly name: string;
  readonly request: Pick<RequestShape, 'forms' | 'solver'>;
  /** Least share of the do-nothing server's rate at 32 callers. */
  readonly leastRatio: number;
  /** Whether a lone caller's p50 is promised. */
  readonly promisesLatency: boolean;
}

const variants: readonly Variant[] = [
  { name: 'TOP_K', request: { forms: ['TOP_K'] }, leastRatio: 0.35, promisesLatency: false },
  { name: 'HARD exact', request: { forms: ['HARD'], solver: 'EXACT' }, leastRatio: 0.25, promisesLatency: true },
];
const callerCounts = [1, 32] as const;
const mostExtraP50Ms = 2;

interface Pair {
  readonly service: LoadResult;
  readonly nothing: LoadResult;
}

export const throughput: Section = async (context) => {
  const service = await startService();
  const rows: Cell[][] = [];
  const checks: Check[] = [];
  let failed = 0;
  try {
    for (const variant of variants) {
      const requestFile = join(context.folder, `${variant.name}.request`);
      const answerFile = join(context.folder, `${variant.name}.answer`);
      const request = sampleRequest({ ...shape, ...variant.request });
      writeFileSync(requestFile, request);
      writeFileSync(answerFile, await answerOf(service, request));
      const nothing = await startNullServer(answerFile);
      try {
        for (const callers of callerCounts) {
          const pairs = await measure(context, variant.name, callers, requestFile, service, nothing);
          const of = (pick: (pair: Pair) => number): number => median(pairs.map(pick));
          const ratio = of((pair) => pair.service.ratePerSecond / pair.nothing.ratePerSecond);
          const extraP50Ms = of((pair) => pair.service.p50Ms - pair.nothing.p50Ms);
          const errors = pairs.reduce((sum, pair) => sum + pair.service.failed + pair.nothing.failed, 0);
          failed += errors;
          rows.push([
            variant.name,
            callers,
            of((pair) => pair.service.ratePerSecond),
            of((pair) => pair.nothing.ratePerSecond),
            ratio,
            of((pair) => pair.service.p50Ms),
            of((pair) => pair.nothing.p50Ms),
            extraP50Ms,
            of((pair) => pair.service.p99Ms),
            errors,
          ]);
          if (callers === 32) {
            checks.push(atLeast(`rate, ${variant.name}, 32 callers`, variant.leastRatio, ratio, 'of do-nothing'));
          } else if (variant.promisesLatency) {
            checks.push(atMost(`extra p50, ${variant.name}, one caller`, mostExtraP50Ms, extraP50Ms, 'ms'));
          }
        }
      } finally {
        await nothing.stop();
      }
    }
  } finally {
    await service.stop();
  }
  checks.push(atMost('failed calls under load', 0, failed, ''));
  return {
    name: 'throughput',
    title: 'Against a do-nothing gRPC server',
    method:
      `\`reference\` policy, N=M=100, d=64, all operators. ${context.rounds} rounds of ${context.seconds} s, service and do-nothing ` +
      'server in turn within each round; medians over the rounds, the ratio taken within each. The do-nothing server (grpc-js, ' +
      'the same messages) decodes the same request and sends the answer that the service gave. Rates in calls a second, times in ms.',
    tables: [
      {
        columns: [
          'answer',
          'callers',
          'rate',
          'do-nothing',
          'ratio',
          'p50',
          'do-nothing p50',
          'extra p50',
          'p99',
          'errors',
        ],
        rows,
      },
    ],
    checks,
  };
};

async function answerOf(server: ServerProcess, request: Buffer): Promise<Buffer> {
  const client = rawClient(server.grpcAddress);
  try {
    return await rawCall(client, coordinatePath, request).answer;
  } finally {
    client.close();
  }
}

async function measure(
  context: BenchContext,
  name: string,
  callers: number,
  requestFile: string,
  service: ServerProcess,
  nothing: ServerProcess,
): Promise<Pair[]> {
  const load = (server: ServerProcess, seconds: number): Promise<LoadResult> =>
    context.generator.generate({ address: server.grpcAddress, requestFile, callers, seconds });
  // Both run once unmeasured, so that code is compiled and the programs of larger batches are loaded.
  await load(service, context.seconds);
  await load(nothing, context.seconds / 2);
  const pairs: Pair[] = [];
  for (let round = 0; round < context.rounds; round++) {
    const pair = { service: await load(service, context.seconds), nothing: await load(nothing, context.seconds) };
    pairs.push(pair);
    const { ratePerSecond } = pair.service;
    context.progress(
      `${name}, ${callers} callers: ${ratePerSecond.toFixed(0)}/s against ${pair.nothing.ratePerSecond.toFixed(0)}/s`,
    );
  }
  return pairs;
}
