/**
 * An open loop from a process of its own: calls are sent when the schedule says so, whatever is still unanswered.
 * `node open-caller.js '{"address":…,"requestFiles":[…],"ratePerSecond":…,…}'` prints an OpenResult.
 */
import { readFileSync } from 'node:fs';
import { BareConnection, framed } from './bare-connection.js';
import { coordinatePath } from './messages.js';
import { percentile } from './statistics.js';

export interface OpenLoop {
  readonly address: string;
  /** Each holds one serialized CoordinateRequest; sent in turn. */
  readonly requestFiles: readonly string[];
  /** Calls are sent at equal distances, over the connections in turn. */
  readonly ratePerSecond: number;
  readonly seconds: number;
  /** Before them, with calls that are not counted: the first ones of a process run code that is not compiled yet. */
  readonly leadInSeconds: number;
  /** Of each call, from the moment it is sent. */
  readonly deadlineMs: number;
  readonly connections: number;
  /** That the calls are for; none where left out. */
  readonly tenant?: string;
}

/** Every call is in exactly one of `good`, `refused`, `late` and `failed`. */
export interface OpenResult {
  readonly sent: number;
  /** Answered within the deadline. */
  readonly good: number;
  /** Told that they would be late, that the queue is full, or that a quota is used up. */
  readonly refused: number;
  /** The deadline passed, here or at the server. */
  readonly late: number;
  readonly failed: number;
  readonly goodPerSecond: number;
  /** From sending to having the answer, or the refusal. */
  readonly goodP50Ms: number;
  readonly goodP99Ms: number;
  readonly refusedP50Ms: number;
  readonly refusedP99Ms: number;
  /** By which calls were sent later than scheduled: this process's own, never counted as the server's. */
  readonly lagP99Ms: number;
  /** CPU time of this process, of one core. */
  readonly cpuShare: number;
}

const refusals = ['PREDICTED_LATE', 'QUEUE_FULL', 'QUOTA_EXCEEDED'] as const;

const job = JSON.parse(process.argv[2]!) as OpenLoop;
const requests = job.requestFiles.map((file) => framed(readFileSync(file)));
const metadata: Readonly<Record<string, string>> = job.tenant === undefined ? {} : { 'tc-tenant': job.tenant };
const leadInCalls = Math.floor(job.ratePerSecond * job.leadInSeconds);
const countedCalls = Math.floor(job.ratePerSecond * job.seconds);
const goodMs: number[] = [];
const refusedMs: number[] = [];
const lagsMs: number[] = [];
let late = 0;
let failed = 0;

function count(tookMs: number, code: string, details: Buffer): void {
  if (code === 'OK' && tookMs <= job.deadlineMs) goodMs.push(tookMs);
  else if (refusals.some((reason) => details.includes(reason))) refusedMs.push(tookMs);
  else if (code === 'OK' || code === 'DEADLINE_EXCEEDED') late++;
  else failed++;
}

function send(index: number, done: () => void): void {
  const connection = connections[index % connections.length]!;
  const request = requests[index % requests.length]!;
  const sentMs = performance.now();
  connection.call(coordinatePath, request, job.deadlineMs, metadata, ({ code, details }) => {
    if (index >= leadInCalls) count(performance.now() - sentMs, code, details);
    done();
  });
}

/** Resolves when every call has ended. */
function sendAll(): Promise<void> {
  return new Promise((resolve) => {
    const calls = leadInCalls + countedCalls;
    let next = 0;
    let ended = 0;
    const done = (): void => {
      if (++ended === calls) resolve();
    };
    const startMs = performance.now();
    const sendDue = (): void => {
      while (next < calls) {
        const waitMs = startMs + (1000 * next) / job.ratePerSecond - performance.now();
        if (waitMs > 0) {
          setTimeout(sendDue, waitMs);
          return;
        }
        if (next >= leadInCalls) lagsMs.push(-waitMs);
        send(next++, done);
      }
    };
    sendDue();
    if (calls === 0) resolve();
  });
}

const connections = await Promise.all(Array.from({ length: job.connections }, () => BareConnection.open(job.address)));
const cpuBefore = process.cpuUsage();
const startedMs = performance.now();
await sendAll();
const { user, system } = process.cpuUsage(cpuBefore);
const elapsedMs = performance.now() - startedMs;
for (const connection of connections) connection.close();
const result: OpenResult = {
  sent: countedCalls,
  good: goodMs.length,
  refused: refusedMs.length,
  late,
  failed,
  goodPerSecond: goodMs.length / job.seconds,
  goodP50Ms: percentile(goodMs, 0.5),
  goodP99Ms: percentile(goodMs, 0.99),
  refusedP50Ms: percentile(refusedMs, 0.5),
  refusedP99Ms: percentile(refusedMs, 0.99),
  lagP99Ms: percentile(lagsMs, 0.99),
  cpuShare: (user + system) / 1000 / elapsedMs,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
