/**
 * Executions through the XLA engine in a process of their own: `node --expose-gc bridge-soak-process.js '{"pluginPath":…,"executions":…,…}'`.
 * Prints a line of JSON after the warm-up, after each block, and at the end, when everything is freed.
 */
import { freedInBackground, livePjrtObjects } from '../../src/pjrt/ownership.js';
import type { LoadedProgram } from '../../src/engine/engine.js';
import { openXla } from './engines.js';
import { cases, sizes, Workload } from './workload.js';

export interface BridgeSoakJob {
  readonly pluginPath: string;
  readonly warmUp: number;
  readonly executions: number;
  readonly blocks: number;
  readonly inFlight: number;
}

export interface BridgeSoakReading {
  readonly after: number;
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  readonly externalBytes: number;
  /** Of PJRT, not freed. */
  readonly liveObjects: number;
}

const job = JSON.parse(process.argv[2]!) as BridgeSoakJob;
const engine = await openXla(job.pluginPath);
const workloads = cases.filter(({ name }) => name.startsWith('all')).map((each) => new Workload(each, sizes[0]!));
const programs: { program: LoadedProgram; workload: Workload }[] = [];
for (const workload of workloads) programs.push({ program: await engine.load(workload.request), workload });

let done = 0;
async function execute(count: number): Promise<void> {
  let left = count;
  const worker = async (index: number): Promise<void> => {
    while (left > 0) {
      const { program, workload } = programs[(left-- + index) % programs.length]!;
      await program.run(workload.inputs(program));
      done++;
    }
  };
  await Promise.all(Array.from({ length: job.inFlight }, (_, index) => worker(index)));
}

async function report(): Promise<void> {
  // What the first collection finds is freed on another thread; the second waits for that.
  globalThis.gc?.();
  await new Promise((resolve) => setTimeout(resolve, 50));
  globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  const reading: BridgeSoakReading = {
    after: done,
    rssBytes: rss,
    heapUsedBytes: heapUsed,
    externalBytes: external,
    liveObjects: livePjrtObjects(),
  };
  process.stdout.write(`${JSON.stringify(reading)}\n`);
}

await execute(job.warmUp);
done = 0;
await report();
for (let block = 0; block < job.blocks; block++) {
  await execute(job.executions / job.blocks);
  await report();
}
for (const { program } of programs) engine.unload(program);
await engine.close();
await freedInBackground();
await report();
