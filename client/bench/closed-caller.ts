/**
 * A closed loop from a process of its own, over unary calls or over streams with otherwise the same code, or over bare ones (bare-connection.ts):
 * `node closed-caller.js '{"address":…,"requestFiles":[…],"over":"streams",…}'` prints a LoadResult.
 */
import { readFileSync } from 'node:fs';
import type { Client } from '@grpc/grpc-js';
import { BareConnection, type BareEnd, framed } from './bare-connection.js';
import type { LoadResult } from './load-generator.js';
import { coordinatePath, isStreamError, rawCall, rawClient, rawStream } from './messages.js';
import { percentile } from './statistics.js';

export interface ClosedLoop {
  readonly address: string;
  /** Each holds one serialized CoordinateRequest; every caller sends them in turn. */
  readonly requestFiles: readonly string[];
  readonly over: 'unary calls' | 'streams' | 'bare unary calls';
  /** Each has one request under way, and sends the next when that is answered. */
  readonly callers: number;
  readonly connections: number;
  readonly seconds: number;
}

const job = JSON.parse(process.argv[2]!) as ClosedLoop;
const requests = job.requestFiles.map((file) => readFileSync(file));
const latenciesMs: number[] = [];
const bareDeadlineMs = 60_000;
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

async function callBareUntilTheEnd(connection: BareConnection): Promise<void> {
  const bodies = requests.map(framed);
  for (let sent = 0; performance.now() < endMs; sent++) {
    const sentMs = performance.now();
    const { code } = await new Promise<BareEnd>((resolve) => {
      connection.call(coordinatePath, bodies[sent % bodies.length]!, bareDeadlineMs, {}, resolve);
    });
    if (code === 'OK') latenciesMs.push(performance.now() - sentMs);
    else countError(code);
  }
}

async function runOn<Connection extends { close(): void }>(
  connections: readonly Connection[],
  untilTheEnd: (connection: Connection) => Promise<void>,
): Promise<void> {
  const callers = Array.from({ length: job.callers }, (_, index) => connections[index % connections.length]!);
  await Promise.all(callers.map(untilTheEnd));
  for (const connection of connections) connection.close();
}

const each = { length: job.connections };
if (job.over === 'bare unary calls') {
  await runOn(await Promise.all(Array.from(each, () => BareConnection.open(job.address))), callBareUntilTheEnd);
} else {
  const untilTheEnd = job.over === 'streams' ? streamUntilTheEnd : callUntilTheEnd;
  await runOn(
    Array.from(each, () => rawClient(job.address)),
    untilTheEnd,
  );
}
const elapsedSeconds = (performance.now() - startMs) / 1000;
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
