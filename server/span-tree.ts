/** The spans of a call and of a batch, made when they have ended from the times that were measured anyway. Pure. */
import { status as grpcStatus } from '@grpc/grpc-js';
import type { CoordinatorError, GrpcStatusName } from '../src/errors.js';
import type { BatchReport } from '../src/tracing.js';
import { type CallRecord, type CallSpan, newSpanId, newTraceId, type SpanIdentity } from './call-record.js';

export type AttributeValue = string | number | boolean;

export interface SpanRecord extends SpanIdentity {
  readonly name: string;
  readonly kind: 'server' | 'internal';
  /** Null: it begins a trace. */
  readonly parentSpanId: string | null;
  /** Whether the parent is in another process. */
  readonly parentIsRemote: boolean;
  readonly traceState: string;
  /** On the clock's scale, milliseconds. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  readonly links: readonly SpanLink[];
  /** What went wrong, told as an event; null where nothing did. */
  readonly error: CoordinatorError | null;
  /** Whether the span counts as failed: not where its caller is at fault. */
  readonly isFailed: boolean;
}

export interface SpanLink extends SpanIdentity {
  readonly sampled: boolean;
  readonly traceState: string;
}

export const rpcService = 'tensorconsensus.v1.Coordinator';

/** Of failures, those that are the server's, as the conventions for server spans have it. */
const failures: ReadonlySet<GrpcStatusName> = new Set(['DEADLINE_EXCEEDED', 'INTERNAL', 'UNAVAILABLE']);

/** The span of the call first, then one for each stage that was measured. `error` null: it was answered. */
export function callSpans(
  record: CallRecord,
  span: CallSpan,
  error: CoordinatorError | null,
  endMs: number,
): SpanRecord[] {
  const { parent, streamCaller, batches } = span;
  const links: SpanLink[] = batches.map((batch) => ({ ...batch, sampled: true, traceState: '' }));
  if (streamCaller !== null) {
    const { traceId, spanId, sampled, state } = streamCaller;
    links.unshift({ traceId, spanId, sampled, traceState: state });
  }
  const call: SpanRecord = {
    name: `${rpcService}/${record.method}`,
    kind: 'server',
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: parent?.spanId ?? null,
    parentIsRemote: parent !== null,
    traceState: parent?.state ?? '',
    startMs: record.arrivedMs,
    endMs,
    attributes: callAttributes(record, error),
    links,
    error,
    isFailed: error !== null && failures.has(error.status),
  };
  return [call, ...stageTimes(record, endMs).map((stage) => childOf(call, stage))];
}

/** The span of the batch first, in a trace of its own with links to its calls, then its stages. */
export function batchSpans(report: BatchReport): SpanRecord[] {
  const { calls, size, bucket, engine, fingerprint, reason, dispatchedMs, sentMs, endedMs, run, error } = report;
  const unique = [...new Set(calls)];
  const batch: SpanRecord = {
    name: 'batch',
    kind: 'internal',
    traceId: newTraceId(),
    spanId: newSpanId(),
    parentSpanId: null,
    parentIsRemote: false,
    traceState: '',
    startMs: dispatchedMs,
    endMs: endedMs,
    attributes: {
      'coordinate.batch_size': size,
      'coordinate.bucket': bucket,
      'coordinate.engine': engine,
      'coordinate.program': fingerprint,
      'coordinate.dispatch_reason': reason,
      'coordinate.traced_calls': unique.length,
      ...(run === null ? {} : { 'coordinate.device': run.device }),
      ...(error === null ? {} : { 'error.type': error.code }),
    },
    links: unique.map(({ traceId, spanId }) => ({ traceId, spanId, sampled: true, traceState: '' })),
    error,
    isFailed: error !== null,
  };
  const stages: StageTime[] = [{ name: 'pack', startMs: dispatchedMs, endMs: sentMs }];
  if (run !== null) {
    // What remains, between pack and transfer_in, the batch was staged behind another one.
    const transferOutAtMs = endedMs - run.transferOutMs;
    const executeAtMs = transferOutAtMs - run.executeMs;
    stages.push(
      { name: 'transfer_in', startMs: executeAtMs - run.transferInMs, endMs: executeAtMs },
      { name: 'execute', startMs: executeAtMs, endMs: transferOutAtMs },
      { name: 'transfer_out', startMs: transferOutAtMs, endMs: endedMs },
    );
  }
  return [batch, ...stages.map((stage) => childOf(batch, stage))];
}

interface StageTime {
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * When each stage of a call was. Their lengths are measured, and they follow each other: decode begins the call, all others end
 * it, back to back. What is between is planning, and in a stream the ticks before this one.
 */
function stageTimes({ arrivedMs, decodeMs, encodeMs, policy, execution }: CallRecord, endMs: number): StageTime[] {
  if (policy === null) return [];
  const first = { name: 'decode', startMs: arrivedMs, endMs: Math.min(arrivedMs + decodeMs, endMs) };
  if (execution === null) return [first];
  const others: StageTime[] = [{ name: 'encode', startMs: Math.max(endMs - encodeMs, first.endMs), endMs }];
  for (const { stage, microseconds } of [...execution.stages].reverse()) {
    if (stage === 'decode') continue;
    const until = others.at(-1)!.startMs;
    others.push({ name: stage, startMs: Math.max(until - microseconds / 1000, first.endMs), endMs: until });
  }
  return [first, ...others.reverse()];
}

function childOf(parent: SpanRecord, { name, startMs, endMs }: StageTime): SpanRecord {
  return {
    name,
    kind: 'internal',
    traceId: parent.traceId,
    spanId: newSpanId(),
    parentSpanId: parent.spanId,
    parentIsRemote: false,
    traceState: parent.traceState,
    startMs,
    endMs,
    attributes: {},
    links: [],
    error: null,
    isFailed: false,
  };
}

function callAttributes(record: CallRecord, error: CoordinatorError | null): Record<string, AttributeValue> {
  const { method, requestId, tenant, policy, agents, tasks, execution, solver, gap } = record;
  const attributes: Record<string, AttributeValue> = {
    'rpc.system': 'grpc',
    'rpc.service': rpcService,
    'rpc.method': method,
    'rpc.grpc.status_code': grpcStatus[error?.status ?? 'OK'],
    'coordinate.code': error?.code ?? 'OK',
  };
  if (error !== null) attributes['error.type'] = error.code;
  if (requestId !== '') attributes['coordinate.request_id'] = requestId;
  if (tenant !== '') attributes['coordinate.tenant'] = tenant;
  if (policy !== null) {
    attributes['coordinate.policy'] = policy;
    attributes['coordinate.agents'] = agents;
    attributes['coordinate.tasks'] = tasks;
  }
  if (execution !== null) {
    attributes['coordinate.engine'] = execution.engine;
    attributes['coordinate.device'] = execution.device;
    attributes['coordinate.bucket'] = execution.bucket;
    attributes['coordinate.batch_size'] = execution.batchSize;
  }
  if (solver !== null) {
    attributes['coordinate.solver'] = solver;
    attributes['coordinate.gap'] = gap;
  }
  return attributes;
}
