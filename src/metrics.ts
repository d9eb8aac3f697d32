/** Every metric of the service, defined once. Seconds and base units; labels are bounded. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { CallHistogram } from './call-histogram.js';

export type { Exemplar } from './call-histogram.js';

/** 50 us to 10 s, about 2.2 apart: fine enough for a tick's budget, coarse enough to aggregate. */
export const latencyBucketsSeconds = [
  0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/**
 * `displaced`: by a more urgent request while the queue was full; `unread`: the connection holds too many answers that were not
 * taken from it.
 */
export type ShedReason =
  | 'queue_full'
  | 'displaced'
  | 'predicted_late'
  | 'deadline'
  | 'unread'
  | 'cancelled'
  | 'draining'
  | 'warming'
  | 'superseded';
export type DispatchReason = 'full' | 'delay' | 'idle' | 'drain';
export type FailoverReason =
  'open_failed' | 'compile_failed' | 'execution_failed' | 'not_finite' | 'crash' | 'hang' | 'device_lost' | 'recovered';

export interface Metrics {
  readonly requestDuration: CallHistogram<'code'>;
  readonly stageDuration: CallHistogram<'stage'>;
  readonly batchSize: Histogram;
  readonly paddingRatio: Histogram;
  readonly queueDepth: Gauge;
  readonly queueBytes: Gauge;
  readonly tenantEngine: Counter<'tenant'>;
  readonly streamsOpen: Gauge;
  readonly shed: Counter<'reason'>;
  readonly batchDispatch: Counter<'reason'>;
  readonly costModelError: Histogram;
  readonly engineActive: Gauge<'engine' | 'device'>;
  readonly engineRestart: Counter<'engine' | 'reason'>;
  readonly engineFailover: Counter<'from' | 'to' | 'reason'>;
  /** Says who counts the objects of PJRT plugins; until then there are none. */
  readonly watchPjrtObjects: (count: () => number) => void;
  readonly compileDuration: Histogram;
  readonly executableCache: Counter<'result'>;
  readonly executableResidentBytes: Gauge<'engine' | 'device'>;
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
}

const ratioBuckets = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1];

export function createMetrics(registry: Registry): Metrics {
  const registers = [registry];
  const latency = { buckets: latencyBucketsSeconds, registers };
  let livePjrtObjects = (): number => 0;
  const pjrtLiveObjects: Gauge = new Gauge({
    name: 'coordinate_pjrt_live_objects',
    help: 'Objects of PJRT plugins that are not freed.',
    registers,
    collect() {
      pjrtLiveObjects.set(livePjrtObjects());
    },
  });
  return {
    requestDuration: new CallHistogram({
      name: 'coordinate_request_duration_seconds',
      help: 'Coordinate calls, from arrival to answer, by gRPC status.',
      labelName: 'code',
      buckets: latencyBucketsSeconds,
      registry,
    }),
    stageDuration: new CallHistogram({
      name: 'coordinate_stage_duration_seconds',
      help: 'Stages of Coordinate calls.',
      labelName: 'stage',
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
    watchPjrtObjects(count) {
      livePjrtObjects = count;
    },
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
  };
}
