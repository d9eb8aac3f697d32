/** Time of each operator's program in typical buckets, on the engines alone: no gRPC, no queue. XLA beside ONNX Runtime, in turn. */
import { availableParallelism } from 'node:os';
import type { Engine, LoadedProgram } from '../../src/engine/engine.js';
import { bucketName } from '../../src/operators/signature.js';
import { openOnnx, openXla, withoutPlugin } from './engines.js';
import { openClient, ResidentProgram } from './own-execution.js';
import { atMost, type Cell, type Check } from './report.js';
import type { Section } from './section.js';
import { median } from './statistics.js';
import { threadTimer } from './thread-time.js';
import { type Case, cases, type Size, sizes, stateWidth, Workload } from './workload.js';

/** Each engine's turn within a round. */
const turnMs = 60;
const leastRuns = 3;
const leastRounds = 5;
/** Most that XLA may take of ONNX Runtime's time, by case and size. */
const promisedRatios: readonly { readonly bucket: number; readonly batch: number; readonly most: number }[] = [
  { bucket: 128, batch: 32, most: 0.6 },
  { bucket: 1024, batch: 1, most: 1 },
];
const promisedCases: readonly string[] = ['all, TOP_K', 'all, HARD'];
/** What the bridge may add to a lone call over XLA's own execution, transfers included. */
const mostBridgeMs = 0.25;

/** Medians over one turn or more, in ms. */
interface Times {
  readonly transferIn: number;
  readonly execute: number;
  readonly transferOut: number;
  /** What the engine itself reports: the three together. */
  readonly engine: number;
  /** From the call of `run` to its answer, on the event loop. */
  readonly run: number;
  /** CPU time of the event loop's thread in it. */
  readonly mainThread: number;
}

interface Loaded {
  readonly program: LoadedProgram;
  readonly loadMs: number;
}

export const engineTime: Section = async (context) => {
  const intraOpThreads = Math.max(1, availableParallelism() - 1);
  const rounds = Math.max(leastRounds, context.rounds);
  const onnx = await openOnnx(intraOpThreads);
  const xla = context.pluginPath === null ? null : await openXla(context.pluginPath);
  const client = context.pluginPath === null ? null : await openClient(context.pluginPath);
  const compared: Cell[][] = [];
  const stages: Cell[][] = [];
  const checks: Check[] = [];
  try {
    for (const size of sizes) {
      for (const each of cases) {
        const workload = new Workload(each, size);
        const bucket = bucketName(workload.request.bucket);
        const onOnnx = await load(onnx, workload);
        const onXla = xla === null ? null : await load(xla, workload);
        const own = client === null ? null : await ResidentProgram.ofWorkload(client, workload);
        const turns = { onnx: [] as Times[], xla: [] as Times[], own: [] as number[] };
        for (let round = 0; round < rounds; round++) {
          turns.onnx.push(await timeTurn(onOnnx.program, workload));
          if (onXla !== null) turns.xla.push(await timeTurn(onXla.program, workload));
          if (own !== null) turns.own.push(ownTurn(own));
        }
        onnx.unload(onOnnx.program);
        own?.[Symbol.dispose]();
        const of = (times: readonly Times[], pick: keyof Times): number => median(times.map((turn) => turn[pick]));
        const onnxMs = of(turns.onnx, 'engine');
        const form = workload.spec.soft?.form ?? '-';
        const row = [each.name, bucket, form, onnxMs, onnxMs / size.batch, of(turns.onnx, 'run'), onOnnx.loadMs];
        if (xla === null || onXla === null) {
          compared.push(row);
          context.progress(`${each.name}, ${bucket}: ONNX Runtime ${onnxMs.toFixed(2)} ms`);
          continue;
        }
        xla.unload(onXla.program);
        const xlaMs = of(turns.xla, 'engine');
        const ratio = median(turns.xla.map((turn, round) => turn.engine / turns.onnx[round]!.engine));
        compared.push([each.name, bucket, form, onnxMs, xlaMs, ratio, onnxMs / size.batch, xlaMs / size.batch]);
        const ownMs = median(turns.own);
        const bridgeMs = median(turns.xla.map((turn, round) => turn.run - turns.own[round]!));
        stages.push([
          each.name,
          bucket,
          onXla.loadMs,
          of(turns.xla, 'transferIn'),
          of(turns.xla, 'execute'),
          of(turns.xla, 'transferOut'),
          of(turns.xla, 'run'),
          ownMs,
          bridgeMs,
          of(turns.xla, 'mainThread'),
          onOnnx.loadMs,
          of(turns.onnx, 'run'),
          of(turns.onnx, 'mainThread'),
        ]);
        checks.push(...checksOf(each, size, ratio, bridgeMs));
        context.progress(
          `${each.name}, ${bucket}: ONNX Runtime ${onnxMs.toFixed(2)} ms, XLA ${xlaMs.toFixed(2)} ms, ratio ${ratio.toFixed(2)}`,
        );
      }
    }
  } finally {
    await Promise.all([onnx.close(), xla?.close()]);
    client?.dispose();
  }
  const shared = `\`reference\` policy, d=${stateWidth}, N=M=100 in buckets of 128 and 1000 in 1024. ${rounds} rounds of ${turnMs} ms for each in turn; medians. Times in ms.`;
  const onnxWords = `ONNX Runtime on the CPU with ${intraOpThreads} thread(s) in its worker`;
  return xla === null
    ? {
        name: 'engine',
        title: 'Engine time per operator and bucket',
        method: `${onnxWords}, ${shared} Load is tracing, lowering and loading. ${withoutPlugin}.`,
        tables: [{ columns: ['program', 'bucket', 'Sinkhorn', 'execute', 'a problem', 'run', 'load'], rows: compared }],
        checks,
      }
    : {
        name: 'engine',
        title: 'Engine time per operator and bucket',
        method:
          `${onnxWords} beside XLA on ${xla.device}, ${shared} The ratio is of what the engines report (transfer in, execution, transfer out), taken within each round. ` +
          'Second table: compile is tracing, lowering, compiling and loading with nothing cached; a run is from the call to its answer on the event loop; own execution is ' +
          'the same program on inputs that lie on the device, waited for without an event loop; the bridge is what a run takes beyond that, transfers included; ' +
          "main is the CPU time of the event loop's thread in a run.",
        tables: [
          {
            columns: ['program', 'bucket', 'Sinkhorn', 'ONNX', 'XLA', 'XLA/ONNX', 'ONNX a problem', 'XLA a problem'],
            rows: compared,
          },
          {
            columns: [
              'program',
              'bucket',
              'XLA compile',
              'in',
              'execute',
              'out',
              'run',
              'own execution',
              'bridge',
              'main',
              'ONNX load',
              'ONNX run',
              'ONNX main',
            ],
            rows: stages,
          },
        ],
        checks,
      };
};

async function load(engine: Engine, { request }: Workload): Promise<Loaded> {
  const startMs = performance.now();
  const program = await engine.load(request);
  return { program, loadMs: performance.now() - startMs };
}

const cpuTime = threadTimer();

async function timeTurn(program: LoadedProgram, workload: Workload): Promise<Times> {
  const samples: Times[] = [];
  const endMs = performance.now() + turnMs;
  while (samples.length < leastRuns || performance.now() < endMs) {
    const inputs = workload.inputs(program);
    const startMs = performance.now();
    const startCpuMs = cpuTime?.() ?? Number.NaN;
    const { transferInMs, executeMs, transferOutMs } = await program.run(inputs);
    samples.push({
      transferIn: transferInMs,
      execute: executeMs,
      transferOut: transferOutMs,
      engine: transferInMs + executeMs + transferOutMs,
      run: performance.now() - startMs,
      mainThread: (cpuTime?.() ?? Number.NaN) - startCpuMs,
    });
  }
  const of = (pick: keyof Times): number => median(samples.map((sample) => sample[pick]));
  return {
    transferIn: of('transferIn'),
    execute: of('execute'),
    transferOut: of('transferOut'),
    engine: of('engine'),
    run: of('run'),
    mainThread: of('mainThread'),
  };
}

function ownTurn(program: ResidentProgram): number {
  const samples: number[] = [];
  const endMs = performance.now() + turnMs;
  while (samples.length < leastRuns || performance.now() < endMs) samples.push(program.execute());
  return median(samples);
}

function checksOf(each: Case, size: Size, ratio: number, bridgeMs: number): Check[] {
  if (!promisedCases.includes(each.name)) return [];
  const promised = promisedRatios.find(({ bucket, batch }) => bucket === size.bucket && batch === size.batch);
  const problems = `${size.batch} x N=${size.count}`;
  const checks: Check[] = [];
  if (promised !== undefined) {
    checks.push(atMost(`engine time, ${each.name}, ${problems}`, promised.most, ratio, "of ONNX Runtime's"));
  }
  if (size.batch === 1 && size.count === 100) {
    checks.push(atMost(`bridge, ${each.name}, ${problems}`, mostBridgeMs, bridgeMs, "ms over XLA's own"));
  }
  return checks;
}
