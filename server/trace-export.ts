/**
 * Traces on their way to a collector, by OTLP over HTTP. The only file that loads OpenTelemetry, and itself loaded only where there
 * is an endpoint. What waits is bounded: a collector that is slow or gone costs its spans, a counter, and a line in the log a minute.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { createTraceState, SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api';
import type { HrTime, Link, SpanContext } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import type { Resource } from '@opentelemetry/resources';
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace';
import type { Clock } from '../src/clock.js';
import type { CoordinatorError } from '../src/errors.js';
import type { Metrics } from '../src/metrics.js';
import { packageRoot } from '../src/package-root.js';
import type { BatchReport } from '../src/tracing.js';
import { type CallRecord, CallSpan } from './call-record.js';
import type { CallTracer } from './call-recorder.js';
import type { Logger } from './log.js';
import { batchSpans, callSpans, type SpanLink, type SpanRecord } from './span-tree.js';

export interface TraceExportOptions {
  /** Base address of the collector; spans go to `v1/traces` under it. */
  readonly endpoint: string;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'traceSpans'>;
  readonly log: Logger;
}

/** Spans that wait or are on their way, at most: a few megabytes. */
const mostPending = 4096;
/** Small, as one message is made on the event loop at a time. */
const spansPerMessage = 128;
const exportIntervalMs = 1_000;
const complaintPauseMs = 60_000;
/** How far the wall clock may be off the monotonic one's before spans follow it, milliseconds. */
const clockToleranceMs = 5;

/** As exporters number their results. */
const succeeded = 0;

const scope = { name: 'tensor-consensus' };

export class TraceExport implements CallTracer {
  readonly #options: TraceExportOptions;
  readonly #resource: Resource;
  readonly #processor: BatchSpanProcessor;
  #pending = 0;
  /** Milliseconds since 1970 at 0 of the clock. */
  #originMs: number;
  #lostSinceComplaint = 0;
  #complainAtMs = -Infinity;

  /** Further settings of the exporter, as its headers, are read from the standard variables OTEL_EXPORTER_OTLP_*. */
  constructor(options: TraceExportOptions) {
    this.#options = options;
    this.#originMs = Date.now() - options.clock.nowMs();
    this.#resource = defaultResource()
      .merge(
        resourceFromAttributes({
          'service.name': 'tensor-consensus',
          'service.version': packageVersion(),
          'service.instance.id': randomUUID(),
          'host.name': hostname(),
        }),
      )
      .merge(detectResources({ detectors: [envDetector] }));
    const exporter = new OTLPTraceExporter({ url: `${options.endpoint.replace(/\/+$/, '')}/v1/traces` });
    this.#processor = new BatchSpanProcessor({
      exporter: this.#counted(exporter),
      maxQueueSize: mostPending,
      maxExportBatchSize: spansPerMessage,
      scheduledDelayMillis: exportIntervalMs,
    });
  }

  callEnded(record: CallRecord, span: CallSpan, error: CoordinatorError | null, endMs: number): boolean {
    return this.#take(callSpans(record, span, error, endMs));
  }

  /** Its calls are told where to find it. */
  batchEnded(report: BatchReport): void {
    const spans = batchSpans(report);
    if (!this.#take(spans)) return;
    const { traceId, spanId } = spans[0]!;
    for (const call of new Set(report.calls)) if (call instanceof CallSpan) call.batches.push({ traceId, spanId });
  }

  /** Sends what waits; then nothing more is taken. Never rejects; may take as long as the collector does, ten seconds at most. */
  async close(): Promise<void> {
    // What could not be sent was counted.
    await this.#processor.shutdown().catch(() => undefined);
  }

  /** All of a tree or nothing. */
  #take(spans: readonly SpanRecord[]): boolean {
    if (this.#pending + spans.length > mostPending) {
      this.#options.metrics.traceSpans.inc({ result: 'dropped' }, spans.length);
      this.#complain(spans.length, 'more than the collector takes');
      return false;
    }
    this.#pending += spans.length;
    this.#followWallClock();
    for (const span of spans) this.#processor.onEnd(this.#readable(span));
    return true;
  }

  #counted(exporter: OTLPTraceExporter): SpanExporter {
    const { traceSpans } = this.#options.metrics;
    return {
      export: (spans, done) =>
        exporter.export(spans, (result) => {
          this.#pending -= spans.length;
          const isExported = (result.code as number) === succeeded;
          traceSpans.inc({ result: isExported ? 'exported' : 'failed' }, spans.length);
          if (!isExported) this.#complain(spans.length, result.error?.message ?? 'the export failed');
          done(result);
        }),
      shutdown: () => exporter.shutdown(),
    };
  }

  #complain(spans: number, reason: string): void {
    const { clock, log, endpoint } = this.#options;
    this.#lostSinceComplaint += spans;
    const nowMs = clock.nowMs();
    if (nowMs < this.#complainAtMs) return;
    this.#complainAtMs = nowMs + complaintPauseMs;
    log.warn({ endpoint, lostSpans: this.#lostSinceComplaint, reason: reason.slice(0, 300) }, 'traces are lost');
    this.#lostSinceComplaint = 0;
  }

  /** Times of one call lie on one scale; only where the wall clock was set does the next one see it. */
  #followWallClock(): void {
    const originMs = Date.now() - this.#options.clock.nowMs();
    if (Math.abs(originMs - this.#originMs) > clockToleranceMs) this.#originMs = originMs;
  }

  #readable(span: SpanRecord): ReadableSpan {
    const { traceId, spanId, parentSpanId, parentIsRemote, traceState, startMs, endMs, error } = span;
    const context = contextOf({ traceId, spanId, sampled: true, traceState }, false);
    const endTime = this.#timeOf(endMs);
    return {
      name: span.name,
      kind: span.kind === 'server' ? SpanKind.SERVER : SpanKind.INTERNAL,
      spanContext: () => context,
      ...(parentSpanId === null
        ? {}
        : { parentSpanContext: { ...context, spanId: parentSpanId, isRemote: parentIsRemote } }),
      startTime: this.#timeOf(startMs),
      endTime,
      duration: hrTime(endMs - startMs),
      status: span.isFailed
        ? { code: SpanStatusCode.ERROR, message: error?.message ?? '' }
        : { code: SpanStatusCode.UNSET },
      attributes: span.attributes,
      links: span.links.map((link): Link => ({ context: contextOf(link, true) })),
      events: error === null ? [] : [exceptionEvent(error, endTime)],
      ended: true,
      resource: this.#resource,
      instrumentationScope: scope,
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
    };
  }

  #timeOf(clockMs: number): HrTime {
    return hrTime(this.#originMs + clockMs);
  }
}

function contextOf({ traceId, spanId, sampled, traceState }: SpanLink, isRemote: boolean): SpanContext {
  return {
    traceId,
    spanId,
    traceFlags: sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote,
    ...(traceState === '' ? {} : { traceState: createTraceState(traceState) }),
  };
}

/** What the caller was told. */
function exceptionEvent(error: CoordinatorError, time: HrTime): ReadableSpan['events'][number] {
  return {
    name: 'exception',
    time,
    attributes: { 'exception.type': error.code, 'exception.message': error.message.slice(0, 1000) },
  };
}

/** Seconds and nanoseconds of milliseconds. */
function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.floor((ms - seconds * 1000) * 1e6)];
}

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string };
  return version;
}
