/** `docs/tpu.md`: what XLA says of every default program on a TPU v5e, and what that predicts for one chip. */
import { agentBucket } from '../../src/batching/buckets.js';
import { builtInPolicies } from '../../src/policies/built-in.js';
import { parseBuckets, planPrograms } from './plan.js';
import { bucketName } from '../../src/operators/signature.js';
import {
  figure,
  markdownTable,
  reportHeading,
  reportRow,
  runSeconds,
  type CompileReport,
  type ReportedProgram,
} from './report.js';

/** Google's figures for one chip of TPU v5e. */
const chip = { bf16Flops: 197e12, memoryBytes: 16e9, memoryBytesPerSecond: 819e9 } as const;

/** Assumptions about the host, which no source gives for v5e: see the page. */
const host = { linkBytesPerSecond: 8e9, secondsPerBatch: 100e-6 } as const;

/** Agents and tasks of the calls that are predicted. */
const predictedSizes = [100, 1000, 5000] as const;

export interface Prediction {
  readonly program: ReportedProgram;
  /** Agents and tasks of each problem. */
  readonly size: number;
  /** Of one batch. */
  readonly executeSeconds: number;
  readonly transferSeconds: number;
  /** Calls a second of one chip, one batch after another. */
  readonly serialRate: number;
  /** Calls a second where transfers and everything else hide behind executions, or executions behind them. */
  readonly overlappedRate: number;
}

/** Null where XLA estimates no time. */
export function predict(program: ReportedProgram, size: number): Prediction | null {
  const executeSeconds = runSeconds(program);
  if (executeSeconds === null) return null;
  const sent = Math.max(0, program.argumentBytes - program.weightBytes) + program.outputBytes;
  const transferSeconds = host.secondsPerBatch + sent / host.linkBytesPerSecond;
  const { batch } = program.bucket;
  return {
    program,
    size,
    executeSeconds,
    transferSeconds,
    serialRate: batch / (executeSeconds + transferSeconds),
    overlappedRate: batch / Math.max(executeSeconds, transferSeconds),
  };
}

/** From reports that together hold every default program for one chip, and those over several chips. */
export function tpuPage(reports: readonly CompileReport[]): string {
  const programs = singlePrograms(reports);
  const platformVersion = reports[0]?.plugin.platformVersion ?? null;
  const traffic = Math.max(
    ...programs.map(({ cost }) => (cost.seconds === null ? 0 : cost.bytesAccessed / cost.seconds)),
  );
  const names = new Set(programs.map(({ name }) => name));
  const missing = planPrograms(builtInPolicies(), parseBuckets('default')).filter(({ name }) => !names.has(name));
  const untimed = programs.filter(({ cost }) => cost.untimed > 0);
  return [
    '# On a TPU v5e',
    '',
    '<!-- Written by client/compile/write-page.ts; do not edit. -->',
    '',
    '**Nothing on this page was measured on a TPU.** Every default program was compiled for a TPU v5e, on a machine without one, and the',
    'times are predictions from what XLA says of the compiled programs. No machine with a TPU has run this project yet.',
    '',
    `Compiler: ${buildName(platformVersion)}. To write this page again (some minutes on two cores):`,
    '',
    '```sh',
    'tensor-consensus plugin install tpu',
    'tensor-consensus compile --out out/1x1',
    'tensor-consensus compile --out out/2x2 --topology v5e:2x2 --shard --policy reference --buckets b1,n1024',
    'tensor-consensus compile --out out/2x4 --topology v5e:2x4 --shard --policy reference --buckets b1,n1024',
    'node dist/client/compile/write-page.js docs/tpu.md out/1x1 out/2x2 out/2x4',
    '```',
    '',
    '## What it predicts for one chip',
    '',
    "Calls of N agents and N tasks run in the bucket above N, in batches of that bucket's largest size under load, alone in batch 1. Times of one batch.",
    '',
    ...predictionTable(programs),
    '',
    'How each column is derived:',
    '',
    "- **execute**: XLA's `optimal_seconds` of the program with every loop counted as often as it turns (below).",
    `- **transfer**: arguments (without weights, which stay on the chip) and outputs, as laid out on the chip, at an assumed ${host.linkBytesPerSecond / 1e9} GB/s each way`,
    `  after another, plus an assumed ${host.secondsPerBatch * 1e6} us a batch for starting transfers and the program. Google publishes no host link figure for v5e;`,
    '  8 GB/s is half of what PCIe 3.0 x16 carries.',
    '- **calls/s, one after another**: batch / (execute + transfer). **overlapped**: batch / the greater of the two.',
    '- Several chips of a host are replicas and multiply these rates, as long as the host keeps up.',
    '',
    'What is not in these rates, and comes before them in practice: the host. One Node process decodes, packs, encodes and, for `HARD`, solves;',
    'the do-nothing gRPC server of [benchmarks.md](benchmarks.md) answers some thousand calls a second at N=100 whatever the engine, and exact hard',
    'assignments take the solver times listed there. At N=100 one chip is predicted to be faster than one process can feed it.',
    '',
    "## How far to trust XLA's seconds",
    '',
    '- **Loops.** XLA counts the body of a `while` once: consensus at N=1024 costs the same 1.77 us with 10, 20 and 40 iterations. So the body of each',
    '  loop is compiled as a program of its own, and its cost added once for every further turn. "Loops once" below is XLA\'s own sum.',
    `- **Memory.** The estimates treat all traffic alike, at up to ${figure(traffic / 1e9)} GB/s here (the chip has ${chip.memoryBytesPerSecond / 1e9} GB/s of HBM), although small arrays stay`,
    '  on the chip between operations. This makes them too slow for small programs.',
    '- **Arithmetic.** Matrix products run at the highest precision, several bf16 passes each; exponentials and reductions run on the vector unit, far below the',
    `  ${chip.bf16Flops / 1e12} TFLOPS of the matrix units. XLA also computes distances anew in each product that reads them where it finds that cheaper than memory.`,
    '- **Latency.** What each operation costs to start is not in the sum. Programs of a few microseconds will take longer than estimated.',
    ...(untimed.length === 0
      ? []
      : [
          `- **Unknown operations.** XLA gives no time to some operations of ${untimed.length} of the ${programs.length} programs (it takes one second off the sum for each, which is`,
          '  added back); their time is missing.',
        ]),
    '',
    `Every program below fits: the largest peak is ${figure(Math.max(...programs.map(({ peakBytes }) => peakBytes)) / 1e6)} MB of the chip's ${chip.memoryBytes / 1e9} GB.`,
    '',
    ...shardedSection(programs, reports),
    '## Every default bucket, one chip',
    '',
    'All square sizes at batch 1 and at the largest batch, the default forms of the built-in policies, and `TOP_K`. Memory and code per chip.',
    '',
    ...markdownTable(reportHeading, programs.map(reportRow)),
    '',
    ...(missing.length === 0
      ? []
      : [`Not in these reports: ${missing.map(({ name }) => `\`${name}\``).join(', ')}.`, '']),
  ].join('\n');
}

/** Each once, smaller sizes first within a policy's forms. */
function singlePrograms(reports: readonly CompileReport[]): ReportedProgram[] {
  const byName = new Map<string, ReportedProgram>();
  for (const { programs } of reports) {
    for (const program of programs) if (program.partitions === 1) byName.set(program.name, program);
  }
  const labels = [...new Set([...byName.values()].map(label))].sort();
  return [...byName.values()].sort(
    (a, b) =>
      labels.indexOf(label(a)) - labels.indexOf(label(b)) ||
      a.bucket.agents - b.bucket.agents ||
      a.bucket.batch - b.bucket.batch,
  );
}

function predictionTable(programs: readonly ReportedProgram[]): string[] {
  const predictions = predictedSizes.flatMap((size) =>
    programs
      .filter(({ bucket }) => bucket.agents === agentBucket(size))
      .map((program) => predict(program, size))
      .filter((prediction) => prediction !== null),
  );
  const heading = [
    'N',
    'program',
    'bucket',
    'execute us',
    'transfer us',
    'calls/s, one after another',
    'calls/s, overlapped',
  ];
  return markdownTable(
    heading,
    predictions.map(({ size, program, executeSeconds, transferSeconds, serialRate, overlappedRate }) => [
      String(size),
      label(program),
      bucketName(program.bucket),
      figure(executeSeconds * 1e6),
      figure(transferSeconds * 1e6),
      figure(serialRate),
      figure(overlappedRate),
    ]),
  );
}

function shardedSection(single: readonly ReportedProgram[], reports: readonly CompileReport[]): string[] {
  const shards = reports.flatMap(({ topology, programs }) =>
    programs.filter(({ partitions }) => partitions > 1).map((program) => ({ topology, program })),
  );
  if (shards.length === 0) return [];
  const rows = shards.map(({ topology, program }) => {
    const whole = single.find(
      (one) =>
        one.forms.join() === program.forms.join() &&
        one.policy === program.policy &&
        bucketName(one.bucket) === bucketName(program.bucket),
    );
    const microseconds = (of: ReportedProgram | undefined): string =>
      of === undefined || of.cost.seconds === null ? '-' : figure(of.cost.seconds * 1e6);
    return [
      topology,
      label(program),
      bucketName(program.bucket),
      microseconds(program),
      microseconds(whole),
      figure(program.peakBytes / 1e6),
      whole === undefined ? '-' : figure(whole.peakBytes / 1e6),
      program.compileSeconds.toFixed(1),
    ];
  });
  return [
    '## One problem over several chips',
    '',
    "One problem, its agents spread over all chips by XLA's partitioner. Times count loops once, on one chip and on several, and XLA does not count all of what",
    'the chips wait for each other, so they only say that the programs compile and which way the cost goes.',
    '',
    ...markdownTable(
      [
        'topology',
        'program',
        'bucket',
        'loops once us',
        'on one chip us',
        'peak MB a chip',
        'on one chip MB',
        'compile s',
      ],
      rows,
    ),
    '',
  ];
}

function label({ policy, forms }: ReportedProgram): string {
  return `${policy} ${forms.join(' ')}`;
}

function buildName(platformVersion: string | null): string {
  return (platformVersion ?? 'unknown').replace(/\s+/g, ' ');
}
