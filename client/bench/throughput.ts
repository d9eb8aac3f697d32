/**
 * This service, on each engine, against a server that does nothing, with the same request bytes and answers of the same
 * size; and against a Python server that does the same work, where a Python has what that needs.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';
import { referenceWeightsPath } from '../../src/policies/built-in.js';
import { protoDirectory } from '../../src/wire/messages.js';
import { withoutPlugin } from './engines.js';
import type { LoadResult } from './load-generator.js';
import { coordinatePath, type RequestShape, rawCall, rawClient, sampleRequest } from './messages.js';
import { benchScript, whyNoPython } from './python.js';
import { atLeast, atMost, type Cell, type Check } from './report.js';
import type { BenchContext, Section } from './section.js';
import { type ServerProcess, settled, startNullServer, startOther, startService } from './server-process.js';
import { median } from './statistics.js';

const shape = { policy: 'reference', agents: 100, tasks: 100, width: 64, seed: 1 } as const;

type EngineLabel = 'ONNX Runtime' | 'XLA';

interface Variant {
  readonly name: string;
  readonly request: Pick<RequestShape, 'forms' | 'solver'>;
  /** Least share of the do-nothing server's rate at 32 callers. */
  readonly leastRatios: Readonly<Record<EngineLabel, number>>;
  /** Whether a lone caller's p50 is promised. */
  readonly promisesLatency: boolean;
  /** Whether the Python server's answer is comparable. */
  readonly againstPython: boolean;
}

const variants: readonly Variant[] = [
  {
    name: 'TOP_K',
    request: { forms: ['TOP_K'] },
    leastRatios: { 'ONNX Runtime': 0.35, XLA: 0.7 },
    promisesLatency: false,
    againstPython: true,
  },
  {
    name: 'HARD exact',
    request: { forms: ['HARD'], solver: 'EXACT' },
    leastRatios: { 'ONNX Runtime': 0.25, XLA: 0.45 },
    promisesLatency: true,
    againstPython: false,
  },
];
const callerCounts = [1, 32] as const;
const mostExtraP50Ms: Readonly<Record<EngineLabel, number>> = { 'ONNX Runtime': 2, XLA: 1 };
const leastOfPython = 1.05;
const pythonPackages = ['jax', 'numpy', 'grpcio', 'grpcio-tools'] as const;
const pythonName = 'Python server';

interface Competitor {
  readonly name: string;
  readonly server: ServerProcess;
}

/** V8 compiles what a server does all day for some seconds after it began to. */
const warmUpSeconds = 6;

/** Of one round: what each server did, in the order of the competitors, the do-nothing server last. */
type Round = readonly LoadResult[];

export const throughput: Section = async (context) => {
  const competitors: (Competitor & { readonly name: EngineLabel })[] = [];
  const script = benchScript('python_server.py');
  const pythonMissing = await whyNoPython(context.python, script, pythonPackages);
  let python: Competitor | null = null;
  const rows: Cell[][] = [];
  const checks: Check[] = [];
  let failed = 0;
  try {
    competitors.push({ name: 'ONNX Runtime', server: await startService(['--engine', 'onnx']) });
    if (context.pluginPath === null) context.progress(withoutPlugin);
    else {
      const flags = ['--engine', 'xla', '--pjrt-plugin', context.pluginPath];
      competitors.push({ name: 'XLA', server: await startService(flags) });
    }
    if (pythonMissing !== null) context.progress(`the Python server is left out: ${pythonMissing}`);
    else {
      const { agents, tasks } = shape;
      const parameters = [script, join(packageRoot, protoDirectory), referenceWeightsPath, `${agents}`, `${tasks}`];
      python = { name: pythonName, server: await startOther(context.python, parameters) };
    }
    for (const variant of variants) {
      const requestFile = join(context.folder, `${variant.name}.request`);
      const answerFile = join(context.folder, `${variant.name}.answer`);
      const request = sampleRequest({ ...shape, ...variant.request });
      writeFileSync(requestFile, request);
      writeFileSync(answerFile, await answerOf(competitors[0]!.server, request));
      const nothing = await startNullServer(answerFile);
      try {
        for (const callers of callerCounts) {
          const measured = variant.againstPython && python !== null ? [...competitors, python] : competitors;
          const all = [...measured, { name: 'do-nothing', server: nothing }];
          const rounds = await measure(context, variant.name, callers, requestFile, all);
          failed += rounds.flat().reduce((sum, result) => sum + result.failed, 0);
          const of = (pick: (round: Round) => number): number => median(rounds.map(pick));
          for (const [index, { name }] of measured.entries()) {
            const ratio = of((round) => round[index]!.ratePerSecond / round.at(-1)!.ratePerSecond);
            const extraP50Ms = of((round) => round[index]!.p50Ms - round.at(-1)!.p50Ms);
            rows.push([
              variant.name,
              callers,
              name,
              of((round) => round[index]!.ratePerSecond),
              of((round) => round.at(-1)!.ratePerSecond),
              ratio,
              of((round) => round[index]!.p50Ms),
              of((round) => round.at(-1)!.p50Ms),
              extraP50Ms,
              of((round) => round[index]!.p99Ms),
              rounds.reduce((sum, round) => sum + round[index]!.failed, 0),
            ]);
            if (name === pythonName) continue;
            const engine = name as EngineLabel;
            if (callers === 32) {
              const what = `rate, ${variant.name}, 32 callers, ${name}`;
              checks.push(atLeast(what, variant.leastRatios[engine], ratio, 'of do-nothing'));
            } else if (variant.promisesLatency) {
              const what = `extra p50, ${variant.name}, one caller, ${name}`;
              checks.push(atMost(what, mostExtraP50Ms[engine], extraP50Ms, 'ms'));
            }
          }
          const xla = measured.findIndex(({ name }) => name === 'XLA');
          const other = measured.findIndex(({ name }) => name === pythonName);
          if (callers === 32 && xla >= 0 && other >= 0) {
            const ratio = of((round) => round[xla]!.ratePerSecond / round[other]!.ratePerSecond);
            checks.push(
              atLeast(`rate, ${variant.name}, 32 callers, XLA`, leastOfPython, ratio, "of the Python server's"),
            );
          }
        }
      } finally {
        await nothing.stop();
      }
    }
  } finally {
    await Promise.all([...competitors, ...(python === null ? [] : [python])].map(({ server }) => server.stop()));
  }
  checks.push(atMost('failed calls under load', 0, failed, ''));
  return {
    name: 'throughput',
    title: 'Against a do-nothing gRPC server',
    method:
      `\`reference\` policy, N=M=100, d=64, all operators. ${context.rounds} rounds of ${context.seconds} s, the servers in turn within each ` +
      'round; medians over the rounds, ratios taken within each. The do-nothing server (grpc-js, ' +
      'the same messages) decodes the same request and sends the answer that the service gave. Rates in calls a second, times in ms. ' +
      (context.pluginPath === null ? `${withoutPlugin}. ` : '') +
      (python === null
        ? `The Python server is left out: ${pythonMissing ?? 'it did not start'}.`
        : "The Python server is test/bench/python_server.py: grpc.aio, JAX jit, dynamic batching in buckets of 1 to 32, the paper's plain forms, " +
          'no checks, an argmax in place of an assignment.'),
    tables: [
      {
        columns: [
          'answer',
          'callers',
          'server',
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
  competitors: readonly Competitor[],
): Promise<Round[]> {
  const load = (server: ServerProcess, seconds: number): Promise<LoadResult> =>
    context.generator.generate({ address: server.grpcAddress, requestFile, callers, seconds });
  // All run twice unmeasured: programs of larger batches are loaded, in the background, too; then the code that serves them is compiled.
  for (const { server } of competitors) {
    await load(server, context.seconds);
    await settled(server);
    await load(server, warmUpSeconds);
  }
  const rounds: LoadResult[][] = [];
  for (let round = 0; round < context.rounds; round++) {
    const results: LoadResult[] = [];
    for (const { server } of competitors) results.push(await load(server, context.seconds));
    rounds.push(results);
    const rates = competitors.map((each, index) => `${each.name} ${results[index]!.ratePerSecond.toFixed(0)}/s`);
    context.progress(`${name}, ${callers} callers: ${rates.join(', ')}`);
  }
  return rounds;
}
