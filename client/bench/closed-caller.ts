/**
 * A closed loop from a process of its own, over unary calls or over streams with otherwise the same code:
 * `node closed-caller.js '{"address":…,"requestFiles":[…],"over":"streams",…}'` prints a LoadResult.
 */
import { readFileSync } from 'node:fs';
import type { Client } from '@grpc/grpc-js';
import type { LoadResult } from './load-generator.js';
import { coordinatePath, isStreamError, rawCall, rawClient, rawStream } from './messages.js';
import { percentile } from './statistics.js';

export interface ClosedLoop {
  readonly address: string;
  /** Each holds one serialized CoordinateRequest; every caller sends them in turn. */
  readonly requestFiles: readonly string[];
  readonly over: 'unary calls' | 'streams';
  /** Each has one request under way, and sends the next when that is answered. */
  readonly callers: number;
  readonly connections: number;
  readonly seconds: number;
}

const job = JSON.parse(process.argv[2]!) as ClosedLoop;
const requests = job.requestFiles.map((file) => readFileSync(file));
const clients = Array.from({ length: job.connections }, () => rawClient(job.address));
const latenciesMs: number[] = [];
const errors: Record<string, number> = {};
const startMs = performance.now();
const endMs = startMs + job.seconds * 1000;

function countError(message: string): void {
  errors[message] = (errors[message] ?? 0) + 1;
}

async function callUntilTheEnd(client: Client): Promise<void> {
  for (let sent = 0; performance.now() < endMs; sent++) {
    const sentMs = performance.now();
    try {
      await rawCall(client, coordinatePath, requests[sent % requests.length]!).answer;
      latenciesMs.push(performance.now() - sentMs);
    } catch (error) {
      countError(error instanceof Error ? error.message : String(error));
    }
  }
}

function streamUntilTheEnd(client: Client): Promise<void> {
  return new Promise((resolve) => {
    let sent = 0;
    let sentMs = 0;
    const send = (): void => {
      sentMs = performance.now();
      if (sentMs >= endMs) stream.end();
      else stream.write(requests[sent++ % requests.length]!);
    };
    const stream = rawStream(
      client,
      (answer) => {
        if (isStreamError(answer)) countError('an answer with an error');
        else latenciesMs.push(performance.now() - sentMs);
        send();
      },
      (error) => {
        countError(error.message);
        resolve();
      },
    );
    stream.on('end', resolve);
    send();
  });
}

const run = job.over === 'streams' ? streamUntilTheEnd : callUntilTheEnd;
await Promise.all(Array.from({ length: job.callers }, (_, index) => run(clients[index % clients.length]!)));
const elapsedSeconds = (performance.now() - startMs) / 1000;
for (const client of clients) client.close();
const failed = Object.values(errors).reduce((sum, count) => sum + count, 0);
const result: LoadResult = {
  calls: latenciesMs.length + failed,
  errors,
  failed,
  ratePerSecond: latenciesMs.length / elapsedSeconds,
  p50Ms: percentile(latenciesMs, 0.5),
  p95Ms: percentile(latenciesMs, 0.95),
  p99Ms: percentile(latenciesMs, 0.99),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
