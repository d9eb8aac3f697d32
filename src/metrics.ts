/** Every metric of the service, defined once. Seconds and base units; labels are bounded. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { CallHistogram } from './call-histogram.js';

export type { Exemplar } from './call-histogram.js';
import { errorRegistry } from './errors.js';

/** 50 us to 10 s, about 2.2 apart: fine enough for a tick's budget, coarse enough to aggregate. */
export const latencyBucketsSeconds = [
  0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/**
 * `displaced`: by a more urgent request while the queue was full; `unread`: the connection holds too many answers that were not
 * taken from it.
 */
export const shedReasons = [
  'queue_full',
  'displaced',
  'predicted_late',
  'deadline',
  'unread',
  'cancelled',
  'draining',
  'warming',
  'superseded',
  'quota',
] as const;
export type ShedReason = (typeof shedReasons)[number];
export const dispatchReasons = ['full', 'delay', 'idle', 'drain'] as const;
export type DispatchReason = (typeof dispatchReasons)[number];
export type FailoverReason =
  'open_failed' | 'compile_failed' | 'execution_failed' | 'not_finite' | 'crash' | 'hang' | 'device_lost' | 'recovered';

/** Says who knows the value, which is asked for at each scrape; until then it is 0. */
export type WatchNumber = (read: () => number) => void;

export interface Metrics {
  readonly watchServing: WatchNumber;
  readonly watchOpenCalls: WatchNumber;
  readonly requestDuration: CallHistogram<'code'>;
  readonly stageDuration: CallHistogram<'stage'>;
  readonly batchSize: Histogram;
  readonly paddingRatio: Histogram;
  readonly queueDepth: Gauge;
  readonly queueBytes: Gauge;
  readonly watchOldestWaitingSeconds: WatchNumber;
  readonly tenantEngine: Counter<'tenant'>;
  readonly streamsOpen: Gauge;
  readonly shed: Counter<'reason'>;
  readonly batchDispatch: Counter<'reason'>;
  readonly costModelError: Histogram;
  readonly engineActive: Gauge<'engine' | 'device'>;
  readonly engineRestart: Counter<'engine' | 'reason'>;
  readonly engineFailover: Counter<'from' | 'to' | 'reason'>;
  readonly watchEngineFallback: WatchNumber;
  /** Whether work may be given to each engine of the ladder, by its name there. */
  readonly watchUsableEngines: (read: () => Iterable<readonly [rung: string, usable: boolean]>) => void;
  readonly watchPjrtObjects: WatchNumber;
  readonly compileDuration: Histogram;
  readonly executableCache: Counter<'result'>;
  readonly executableResidentBytes: Gauge<'engine' | 'device'>;
  readonly executablesResident: Gauge<'engine' | 'device'>;
  readonly marginalError: CallHistogram;
  readonly outlierRatio: CallHistogram;
  readonly churnRatio: CallHistogram;
  readonly assignmentGap: CallHistogram;
  readonly certificateExpiry: Gauge<'certificate'>;
  readonly fileReload: Counter<'file' | 'result'>;
  readonly accessRefused: Counter<'reason'>;
  readonly quotaRefused: Counter<'tenant' | 'limit'>;
  readonly connectionsOpen: Gauge;
  readonly connectionsRefused: Counter<'reason'>;
  readonly assignmentSolver: Counter<'solver'>;
  readonly traceSpans: Counter<'result'>;
  readonly solverThreads: Gauge;
  readonly watchSolverWaiting: WatchNumber;
  readonly watchSolverRunning: WatchNumber;
  readonly watchUnreadBytes: WatchNumber;
  readonly slowReaderClosed: Counter;
  readonly watchLostLogLines: WatchNumber;
}

/** What `coordinate_request_duration_seconds` may have as `code`. */
const statusCodes = [...new Set(['OK', ...Object.values(errorRegistry).map(({ status }) => status)])];
const stages = ['decode', 'queue', 'pack', 'transfer_in', 'execute', 'transfer_out', 'assign', 'encode'];
const solvers = ['exact', 'auction', 'greedy', 'sparse-exact', 'sparse-auction'];
const lossReasons = ['crash', 'hang', 'device_lost'];
const cacheResults = ['hit', 'larger', 'miss', 'evicted', 'disk_hit', 'disk_miss', 'disk_refused'];

const ratioBuckets = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1];

export function createMetrics(registry: Registry): Metrics {
  const registers = [registry];
  const latency = { buckets: latencyBucketsSeconds, registers };
  const watched = (name: string, help: string): WatchNumber => {
    let read = (): number => 0;
    const gauge: Gauge = new Gauge({ name, help, registers, collect: () => gauge.set(read()) });
    return (from) => void (read = from);
  };
  let usableEngines = (): Iterable<readonly [string, boolean]> => [];
  const engineUsable: Gauge<'rung'> = new Gauge({
    name: 'coordinate_engine_usable',
    help: '1 for the engines that work may be given to, 0 for those that failed or did not open.',
    labelNames: ['rung'],
    registers,
    collect() {
      for (const [rung, usable] of usableEngines()) engineUsable.set({ rung }, usable ? 1 : 0);
    },
  });
  let lostLogLines = (): number => 0;
  const logLinesLost: Counter = new Counter({
    name: 'coordinate_log_lines_lost_total',
    help: 'Lines of the log that were not written, as standard output took nothing.',
    registers,
    collect() {
      logLinesLost.reset();
      logLinesLost.inc(lostLogLines());
    },
  });
  const metrics: Metrics = {
    watchServing: watched('coordinate_serving', '1 while the server is ready for calls: warm and not shutting down.'),
    watchOpenCalls: watched('coordinate_open_calls', 'Calls and ticks accepted and not answered.'),
    requestDuration: new CallHistogram({
      name: 'coordinate_request_duration_seconds',
      help: 'Coordinate calls, from arrival to answer, by gRPC status.',
      labelName: 'code',
      labelValues: statusCodes,
      buckets: latencyBucketsSeconds,
      registry,
    }),
    stageDuration: new CallHistogram({
      name: 'coordinate_stage_duration_seconds',
      help: 'Stages of Coordinate calls.',
      labelName: 'stage',
      labelValues: stages,
      buckets: latencyBucketsSeconds,
      registry,
    }),
    batchSize: new Histogram({
      name: 'coordinate_batch_size',
      help: 'Problems in an executed batch.',
      buckets: [1, 2, 4, 8, 16, 32],
      registers,
    }),
    paddingRatio: new Histogram({
      name: 'coordinate_padding_ratio',
      help: 'Share of an executed batch that was padding.',
      buckets: ratioBuckets,
      registers,
    }),
    queueDepth: new Gauge({ name: 'coordinate_queue_depth', help: 'Requests waiting for a batch.', registers }),
    streamsOpen: new Gauge({
      name: 'coordinate_streams_open',
      help: 'CoordinateStream calls that are open.',
      registers,
    }),
    queueBytes: new Gauge({
      name: 'coordinate_queue_bytes',
      help: 'Bytes of the requests that wait for a batch.',
      registers,
    }),
    watchOldestWaitingSeconds: watched(
      'coordinate_queue_oldest_seconds',
      'How long the request that waits longest has waited for a batch; 0 where none waits.',
    ),
    tenantEngine: new Counter({
      name: 'coordinate_tenant_engine_seconds_total',
      help: 'Engine time charged to tenants; those without a configured weight are other.',
      labelNames: ['tenant'],
      registers,
    }),
    shed: new Counter({
      name: 'coordinate_shed_total',
      help: 'Requests that ended before they were executed.',
      labelNames: ['reason'],
      registers,
    }),
    batchDispatch: new Counter({
      name: 'coordinate_batch_dispatch_total',
      help: 'Batches by why they were dispatched.',
      labelNames: ['reason'],
      registers,
    }),
    costModelError: new Histogram({
      name: 'coordinate_cost_model_error_ratio',
      help: 'Engine time that a batch took over what had been expected of it: 1 where the cost model was right.',
      buckets: [0.25, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 2, 4, 10],
      registers,
    }),
    engineActive: new Gauge({
      name: 'coordinate_engine_active',
      help: '1 for the engine and device in use, 0 for others and while it is being restarted.',
      labelNames: ['engine', 'device'],
      registers,
    }),
    engineRestart: new Counter({
      name: 'coordinate_engine_restart_total',
      help: 'Engine workers replaced and devices lost, by reason.',
      labelNames: ['engine', 'reason'],
      registers,
    }),
    engineFailover: new Counter({
      name: 'coordinate_engine_failover_total',
      help: 'Steps from one engine to another, of all work or (compile_failed) of one program.',
      labelNames: ['from', 'to', 'reason'],
      registers,
    }),
    watchEngineFallback: watched(
      'coordinate_engine_fallback',
      '1 while work runs on a lower engine than the best one that has been warm in this process.',
    ),
    watchUsableEngines: (read) => void (usableEngines = read),
    watchPjrtObjects: watched('coordinate_pjrt_live_objects', 'Objects of PJRT plugins that are not freed.'),
    compileDuration: new Histogram({
      name: 'coordinate_compile_duration_seconds',
      help: 'Tracing, lowering and loading of programs.',
      ...latency,
    }),
    executableCache: new Counter({
      name: 'coordinate_executable_cache_total',
      help: 'Look-ups of loaded programs: hit, larger (a larger ready bucket served), miss, evicted; and of the executables on disk: disk_hit, disk_miss, disk_refused.',
      labelNames: ['result'],
      registers,
    }),
    executableResidentBytes: new Gauge({
      name: 'coordinate_executable_resident_bytes',
      help: 'Memory of loaded programs, as the engine estimates it.',
      labelNames: ['engine', 'device'],
      registers,
    }),
    executablesResident: new Gauge({
      name: 'coordinate_executables_resident',
      help: 'Programs that are loaded.',
      labelNames: ['engine', 'device'],
      registers,
    }),
    marginalError: new CallHistogram({
      name: 'coordinate_marginal_error',
      help: 'Greater of row and column error of soft plans.',
      buckets: [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1],
      registry,
    }),
    outlierRatio: new CallHistogram({
      name: 'coordinate_outlier_ratio',
      help: 'Share of unmasked agents flagged as outliers.',
      buckets: ratioBuckets,
      registry,
    }),
    churnRatio: new CallHistogram({
      name: 'coordinate_churn_ratio',
      help: 'Share of agents whose task differs from the previous one.',
      buckets: ratioBuckets,
      registry,
    }),
    assignmentGap: new CallHistogram({
      name: 'coordinate_assignment_gap',
      help: 'Certified optimality gap of hard assignments.',
      buckets: [0, 1e-6, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.5, 1],
      registry,
    }),
    certificateExpiry: new Gauge({
      name: 'coordinate_tls_certificate_expiry_timestamp_seconds',
      help: 'When the first certificate to expire of a file does so, in seconds since 1970: server or client_ca. Absent without TLS.',
      labelNames: ['certificate'],
      registers,
    }),
    fileReload: new Counter({
      name: 'coordinate_file_reload_total',
      help: 'Times that a watched file was loaded, at start and when it changed (loaded), or its change refused (refused): tls, access, jwks, quota.',
      labelNames: ['file', 'result'],
      registers,
    }),
    accessRefused: new Counter({
      name: 'coordinate_access_refused_total',
      help: 'Calls refused for want of credentials (credentials_missing), for bad ones (credentials_refused) or of permission (method_forbidden, tenant_forbidden).',
      labelNames: ['reason'],
      registers,
    }),
    quotaRefused: new Counter({
      name: 'coordinate_quota_refused_total',
      help: 'Requests and streams refused by a quota, by tenant and limit; tenants that the quota file does not name are other.',
      labelNames: ['tenant', 'limit'],
      registers,
    }),
    connectionsOpen: new Gauge({
      name: 'coordinate_connections_open',
      help: 'Connections to the gRPC address that are open.',
      registers,
    }),
    connectionsRefused: new Counter({
      name: 'coordinate_connections_refused_total',
      help: 'Connections closed for what they did: limit (more than the server takes), handshake (TLS failed), pings (too many).',
      labelNames: ['reason'],
      registers,
    }),
    assignmentSolver: new Counter({
      name: 'coordinate_assignment_solver_total',
      help: 'Hard assignments by solver.',
      labelNames: ['solver'],
      registers,
    }),
    traceSpans: new Counter({
      name: 'coordinate_trace_spans_total',
      help: 'Spans of traces: exported, failed (the collector refused them or was not there), dropped (too many waited).',
      labelNames: ['result'],
      registers,
    }),
    solverThreads: new Gauge({
      name: 'coordinate_solver_threads',
      help: 'Threads for hard assignments, as configured.',
      registers,
    }),
    watchSolverWaiting: watched('coordinate_solver_waiting', 'Hard assignments that wait for a solver thread.'),
    watchSolverRunning: watched('coordinate_solver_running', 'Hard assignments that solver threads have.'),
    watchUnreadBytes: watched(
      'coordinate_unread_answer_bytes',
      'Bytes of answers that were written and not taken by their clients.',
    ),
    slowReaderClosed: new Counter({
      name: 'coordinate_slow_reader_closed_total',
      help: 'Connections closed because their clients did not take the answers.',
      registers,
    }),
    watchLostLogLines: (from) => void (lostLogLines = from),
  };
  startAtZero(metrics);
  return metrics;
}

/** A counter that is not there before its first event hides that event from every rate and alert. */
function startAtZero(metrics: Metrics): void {
  for (const reason of shedReasons) metrics.shed.inc({ reason }, 0);
  for (const reason of dispatchReasons) metrics.batchDispatch.inc({ reason }, 0);
  for (const solver of solvers) metrics.assignmentSolver.inc({ solver }, 0);
  for (const result of cacheResults) metrics.executableCache.inc({ result }, 0);
  for (const engine of ['xla', 'onnx'])
    for (const reason of lossReasons) metrics.engineRestart.inc({ engine, reason }, 0);
  for (const file of ['tls', 'access', 'jwks', 'quota'])
    for (const result of ['loaded', 'refused']) metrics.fileReload.inc({ file, result }, 0);
  for (const reason of ['credentials_missing', 'credentials_refused', 'method_forbidden', 'tenant_forbidden'])
    metrics.accessRefused.inc({ reason }, 0);
  for (const reason of ['limit', 'handshake', 'pings']) metrics.connectionsRefused.inc({ reason }, 0);
  metrics.tenantEngine.inc({ tenant: 'other' }, 0);
}
