/** What traces cost the main thread: CPU time per call, not traced and traced, the least of several rounds. `npm run bench:traces`, and `-- throughput` (see there). */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Metadata } from '@grpc/grpc-js';
import { Registry } from 'prom-client';
import { CallRecorder } from '../../server/call-recorder.js';
import { createLog } from '../../server/log.js';
import { traceContextOf } from '../../server/trace-context.js';
import { TraceExport } from '../../server/trace-export.js';
import { systemClock } from '../../src/clock.js';
import { createMetrics, type Metrics } from '../../src/metrics.js';
import type { Answer, Problem, StageName } from '../../src/problem.js';
import { measureThroughput } from './trace-throughput.js';

const clock = systemClock;
const rounds = 40;
const tracedInRound = 100;
const untracedInRound = 50_000;

const plain = new Metadata();
plain.set('user-agent', 'grpc-node-js');
const parent = (flags: string): Metadata => {
  const metadata = new Metadata();
  metadata.set('traceparent', `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${flags}`);
  return metadata;
};
const [unmarked, marked] = [parent('00'), parent('01')];

const problem = { policy: { name: 'distance' }, agentCount: 100, taskCount: 100 } as Problem;
const names: readonly StageName[] = ['decode', 'queue', 'pack', 'transfer_in', 'execute', 'transfer_out', 'assign'];
const stages = names.map((stage) => ({ stage, microseconds: 100 }));
const execution = { engine: 'xla', device: 'cpu:0', bucket: 'b8 n128 m128', batchSize: 8, stages };
const answer = { execution, assignment: { hard: { solver: 'exact', gap: 0 } } } as unknown as Answer;

export async function main([what, count]: readonly string[]): Promise<number> {
  if (what === 'throughput') return measureThroughput(count === undefined ? undefined : Number(count));
  const collector = createServer((request, response) => {
    request.resume().on('end', () => response.end());
  });
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
  const { port } = collector.address() as AddressInfo;
  const metrics = createMetrics(new Registry());
  const log = createLog({ logLevel: 'warn', logFormat: 'json' });
  const tracer = new TraceExport({ endpoint: `http://127.0.0.1:${port}`, clock, metrics, log });
  const recorder = new CallRecorder({
    clock,
    metrics,
    tracer,
    sampleRatio: 0,
    tracesPerSecond: 1e9,
    accessLog: 0,
  });
  print('not traced, no traceparent', leastPerCall(recorder, plain, untracedInRound));
  print('not traced, as its traceparent says', leastPerCall(recorder, unmarked, untracedInRound));
  let inCall = Infinity;
  let inAll = Infinity;
  for (let round = 0; round < rounds; round++) {
    const before = cpuMicroseconds();
    for (let at = 0; at < tracedInRound; at++) call(recorder, marked);
    inCall = Math.min(inCall, (cpuMicroseconds() - before) / tracedInRound);
    // Until the collector has what waits, so that each round pays for its own.
    while ((await exported(metrics)) < (round + 1) * tracedInRound * (names.length + 2)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    inAll = Math.min(inAll, (cpuMicroseconds() - before) / tracedInRound);
  }
  print('traced, 9 spans: within the call', inCall);
  print('traced, with sending, and with this collector taking it', inAll);
  await tracer.close();
  collector.close();
  return 0;
}

function call(recorder: CallRecorder, metadata: Metadata): void {
  const nowMs = clock.nowMs();
  const record = recorder.begin('Coordinate', nowMs - 2, traceContextOf(metadata), false);
  if (record === null) return;
  record.requestId = 'frame-7';
  record.decoded(problem, 0.1);
  record.answered(answer, 0.1);
  recorder.end(record, null, nowMs);
}

function cpuMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function leastPerCall(recorder: CallRecorder, metadata: Metadata, calls: number): number {
  let least = Infinity;
  for (let round = 0; round < rounds; round++) {
    const before = cpuMicroseconds();
    for (let at = 0; at < calls; at++) call(recorder, metadata);
    least = Math.min(least, (cpuMicroseconds() - before) / calls);
  }
  return least;
}

function print(what: string, microseconds: number): void {
  console.log(`${what.padEnd(60)} ${microseconds.toFixed(2).padStart(8)} us`);
}

async function exported(metrics: Metrics): Promise<number> {
  const { values } = await metrics.traceSpans.get();
  return values.find(({ labels }) => labels.result === 'exported')?.value ?? 0;
}
