/** The built-in load generator's process: `node caller.js '{"address":…,"requestFile":…,"callers":…,"connections":…,"seconds":…}'`. */
import { readFileSync } from 'node:fs';
import { credentials as channelCredentials, Metadata } from '@grpc/grpc-js';
import type { Load, LoadResult } from './load-generator.js';
import { coordinatePath, rawCall, rawClient } from './messages.js';
import { percentile } from './statistics.js';

const job = JSON.parse(process.argv[2]!) as Load & { readonly connections: number };
const request = readFileSync(job.requestFile);
const credentials =
  job.access === undefined ? undefined : channelCredentials.createSsl(readFileSync(job.access.caFile));
const clients = Array.from({ length: job.connections }, () => rawClient(job.address, 64, credentials));
const metadata = new Metadata();
if (job.access !== undefined) metadata.set('authorization', `Bearer ${job.access.token}`);
const latenciesMs: number[] = [];
const errors: Record<string, number> = {};
const startMs = performance.now();
const endMs = startMs + job.seconds * 1000;

async function callUntilTheEnd(index: number): Promise<void> {
  const client = clients[index % clients.length]!;
  while (performance.now() < endMs) {
    const sentMs = performance.now();
    try {
      await rawCall(client, coordinatePath, request, 60_000, metadata).answer;
      latenciesMs.push(performance.now() - sentMs);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      errors[message] = (errors[message] ?? 0) + 1;
    }
  }
}

await Promise.all(Array.from({ length: job.callers }, (_, index) => callUntilTheEnd(index)));
const elapsedSeconds = (performance.now() - startMs) / 1000;
for (const client of clients) client.close();
const failed = Object.values(errors).reduce((sum, count) => sum + count, 0);
const calls = latenciesMs.length + failed;
const result: LoadResult = {
  calls,
  errors,
  failed,
  ratePerSecond: calls / elapsedSeconds,
  p50Ms: percentile(latenciesMs, 0.5),
  p95Ms: percentile(latenciesMs, 0.95),
  p99Ms: percentile(latenciesMs, 0.99),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
