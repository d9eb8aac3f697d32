/** Traces and the access log, put together as the settings say. Where both are off there is nothing, and nothing is loaded. */
import type { Clock } from '../src/clock.js';
import type { Config } from '../src/config.js';
import type { Metrics } from '../src/metrics.js';
import type { BatchTracer } from '../src/tracing.js';
import { CallRecorder } from './call-recorder.js';
import type { Logger } from './log.js';

export interface Tracing {
  /** Null: nothing is kept of any call. */
  readonly recorder: CallRecorder | null;
  /** Undefined: nothing is traced. */
  readonly traceBatch: BatchTracer | undefined;
  /** Sends what waits, for two seconds at most. Never rejects. */
  close(): Promise<void>;
}

export interface TracingContext {
  readonly config: Config;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** At a shutdown nobody waits longer for a collector. */
const longestFlushMs = 2_000;

export async function openTracing({ config, clock, metrics, log }: TracingContext): Promise<Tracing> {
  const { otlpEndpoint: endpoint, traceSampleRatio, traceMaxPerSecond, accessLog } = config;
  if (endpoint === null && accessLog === 0) {
    return { recorder: null, traceBatch: undefined, close: () => Promise.resolve() };
  }
  const { TraceExport } = endpoint === null ? { TraceExport: null } : await import('./trace-export.js');
  const tracer = TraceExport === null ? null : new TraceExport({ endpoint: endpoint!, clock, metrics, log });
  const recorder = new CallRecorder({
    clock,
    metrics,
    tracer,
    sampleRatio: traceSampleRatio,
    tracesPerSecond: traceMaxPerSecond,
    accessLog,
  });
  return {
    recorder,
    traceBatch: tracer === null ? undefined : (report) => tracer.batchEnded(report),
    async close() {
      if (tracer === null) return;
      let cancel = (): void => undefined;
      const longEnough = new Promise<void>((resolve) => (cancel = clock.after(longestFlushMs, resolve)));
      await Promise.race([tracer.close(), longEnough]);
      cancel();
    },
  };
}
