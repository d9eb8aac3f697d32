/**
 * A closed loop over replicas through our own client's balancer, in a process of its own:
 * `node replicas-caller.js '{"addresses":[…],"callers":…,"seconds":…}'` prints a ReplicasLoad.
 */
import { CoordinatorClient, matrix } from '../client.js';
import type { LoadResult } from './load-generator.js';
import { normalArray } from './random-states.js';
import { percentile } from './statistics.js';

export interface ReplicasJob {
  readonly addresses: readonly string[];
  /** Each sends its next call when it has the answer to the last. */
  readonly callers: number;
  readonly seconds: number;
}

export interface ReplicasLoad extends LoadResult {
  readonly elapsedMs: number;
  /** Of this process. */
  readonly cpuMs: number;
}

const size = 100;
const width = 64;

const job = JSON.parse(process.argv[2]!) as ReplicasJob;
const client = new CoordinatorClient(job.addresses);
const request = {
  policy: 'reference',
  agents: matrix(size, width, normalArray(size * width, 2)),
  tasks: matrix(size, width, normalArray(size * width, 3)),
  assignment: { forms: ['TOP_K'] },
} as const;
const latenciesMs: number[] = [];
const errors: Record<string, number> = {};
// Connects to every replica before the clock starts; programs may have to be compiled.
const first = { deadlineMs: 120_000 };
await Promise.all(Array.from({ length: 2 * job.addresses.length }, () => client.coordinate(request, first)));

const before = process.cpuUsage();
const startMs = performance.now();
const endMs = startMs + job.seconds * 1000;
async function callUntilTheEnd(): Promise<void> {
  while (performance.now() < endMs) {
    const sentMs = performance.now();
    try {
      await client.coordinate(request, { deadlineMs: 30_000 });
      latenciesMs.push(performance.now() - sentMs);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      errors[message] = (errors[message] ?? 0) + 1;
    }
  }
}
await Promise.all(Array.from({ length: job.callers }, callUntilTheEnd));
const elapsedMs = performance.now() - startMs;
const { user, system } = process.cpuUsage(before);
client.close();
const failed = Object.values(errors).reduce((sum, count) => sum + count, 0);
const result: ReplicasLoad = {
  calls: latenciesMs.length + failed,
  errors,
  failed,
  ratePerSecond: (latenciesMs.length * 1000) / elapsedMs,
  p50Ms: percentile(latenciesMs, 0.5),
  p95Ms: percentile(latenciesMs, 0.95),
  p99Ms: percentile(latenciesMs, 0.99),
  elapsedMs,
  cpuMs: (user + system) / 1000,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
