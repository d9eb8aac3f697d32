/**
 * An open loop from a process of its own: calls are sent when the schedule says so, whatever is still unanswered.
 * `node open-caller.js '{"address":…,"requestFiles":[…],"ratePerSecond":…,…}'` prints an OpenResult. Bytes go out and come in as they are.
 */
import { readFileSync } from 'node:fs';
import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { coordinatePath, rawClient } from './messages.js';
import { percentile } from './statistics.js';

export interface OpenLoop {
  readonly address: string;
  /** Each holds one serialized CoordinateRequest; sent in turn. */
  readonly requestFiles: readonly string[];
  /** Calls are sent at equal distances, over the connections in turn. */
  readonly ratePerSecond: number;
  readonly seconds: number;
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
const requests = job.requestFiles.map((file) => readFileSync(file));
const clients = Array.from({ length: job.connections }, () => rawClient(job.address));
const metadata = new Metadata();
if (job.tenant !== undefined) metadata.set('tc-tenant', job.tenant);
const scheduleMs = pacedTimes();
const goodMs: number[] = [];
const refusedMs: number[] = [];
const lagsMs: number[] = [];
let late = 0;
let failed = 0;
const unchanged = (bytes: Buffer): Buffer => bytes;

function pacedTimes(): number[] {
  const count = Math.floor(job.ratePerSecond * job.seconds);
  return Array.from({ length: count }, (_, index) => (1000 * index) / job.ratePerSecond);
}

function isRefusal(error: ServiceError): boolean {
  const details = error.metadata.get('grpc-status-details-bin')[0];
  return details instanceof Buffer && refusals.some((reason) => details.includes(reason));
}

function send(index: number, done: () => void): void {
  const sentMs = performance.now();
  clients[index % clients.length]!.makeUnaryRequest(
    coordinatePath,
    unchanged,
    unchanged,
    requests[index % requests.length]!,
    metadata,
    { deadline: Date.now() + job.deadlineMs },
    (error) => {
      const tookMs = performance.now() - sentMs;
      if (error === null && tookMs <= job.deadlineMs) goodMs.push(tookMs);
      else if (error !== null && isRefusal(error)) refusedMs.push(tookMs);
      else if (error === null || error.code === status.DEADLINE_EXCEEDED) late++;
      else failed++;
      done();
    },
  );
}

/** Resolves when every call has ended. */
function sendAll(): Promise<void> {
  return new Promise((resolve) => {
    let next = 0;
    let ended = 0;
    const done = (): void => {
      if (++ended === scheduleMs.length) resolve();
    };
    const startMs = performance.now();
    const sendDue = (): void => {
      while (next < scheduleMs.length) {
        const waitMs = startMs + scheduleMs[next]! - performance.now();
        if (waitMs > 0) {
          setTimeout(sendDue, waitMs);
          return;
        }
        lagsMs.push(-waitMs);
        send(next++, done);
      }
    };
    sendDue();
    if (scheduleMs.length === 0) resolve();
  });
}

await Promise.all(
  clients.map(
    (client) =>
      new Promise<void>((resolve, reject) => {
        client.waitForReady(Date.now() + 10_000, (error) => (error === undefined ? resolve() : reject(error)));
      }),
  ),
);
const cpuBefore = process.cpuUsage();
const startedMs = performance.now();
await sendAll();
const { user, system } = process.cpuUsage(cpuBefore);
const elapsedMs = performance.now() - startedMs;
for (const client of clients) client.close();
const result: OpenResult = {
  sent: scheduleMs.length,
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
