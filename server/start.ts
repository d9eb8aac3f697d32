/**
 * Puts a server together and runs it through its life: bound at once and NOT_SERVING, serving when warm, drained and
 * closed. The command line, the tests and the demo all start servers here.
 */
import { Registry } from 'prom-client';
import { systemClock, type Clock } from '../src/clock.js';
import { ConfigError, type Config } from '../src/config.js';
import { createMetrics, type Metrics } from '../src/metrics.js';
import type { BatchTracer } from '../src/tracing.js';
import { coordinatorHandlers, type Core } from './coordinator-service.js';
import { streamHandlers } from './coordinator-stream.js';
import { coordinateMethod, rawCoordinatorService } from './definitions.js';
import { GrpcServer, type TlsMaterial } from './grpc-server.js';
import { Health } from './health.js';
import { startAdminServer } from './http.js';
import { createLog, lostLogLines, type Logger } from './log.js';
import { LogLevel } from './log-level.js';
import { OpenStreams } from './open-streams.js';
import { collectProcessMetrics } from './process-metrics.js';
import { addReflection } from './reflection.js';
import { ServingState, type ServingPhase } from './serving-state.js';
import { drain, type DrainResult } from './shutdown.js';
import { openTls } from './tls.js';
import { openTracing } from './tracing.js';
import { UnreadAnswers } from './unread-answers.js';
import { openCredentials } from './watched-credentials.js';

// What `startServer` takes, for those who use it as a library (`tensor-consensus/server`).
export { loadConfig, type Config } from '../src/config.js';

/** What a core is made of and with. */
export interface CoreContext {
  readonly config: Config;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** To be told of each run with traced calls in it; undefined: nobody is. */
  readonly traceBatch?: BatchTracer | undefined;
}

/** A core with a life: it is made, warmed up once, used, and closed once. */
export interface RunnableCore extends Core {
  /** Resolves when calls of the warm set are answered at full speed. Rejects where the server cannot serve. */
  warmUp(): Promise<void>;
  close(): Promise<void>;
}

/** How long closing waits for the engines after the last call was answered. */
const longestCloseMs = 5_000;

export interface StartOptions {
  /** Default: as the configuration says. */
  readonly log?: Logger;
  readonly clock?: Clock;
  /** Default: policies, batcher, engine and solvers. Tests pass their own. */
  readonly createCore?: (context: CoreContext) => Promise<RunnableCore>;
}

export interface RunningServer {
  /** In numbers: `127.0.0.1:50051`. */
  readonly grpcAddress: string;
  readonly adminAddress: string;
  /** Resolves when the server is SERVING; rejects where the warm-up failed or the server was closed before. */
  readonly ready: Promise<void>;
  readonly phase: ServingPhase;
  readonly registry: Registry;
  /** Drains and closes. Later calls give the first one's result. */
  close(): Promise<DrainResult>;
}

/** Rejects where an address cannot be listened on; everything later is told by `ready`. */
export async function startServer(config: Config, options: StartOptions = {}): Promise<RunningServer> {
  const log = options.log ?? createLog(config);
  const clock = options.clock ?? systemClock;
  const registry = new Registry();
  const metrics = createMetrics(registry);
  collectProcessMetrics(registry);
  const state = new ServingState();
  const health = new Health();
  const streams = new OpenStreams();
  let core: RunnableCore | null = null;
  const tracing = await openTracing({ config, clock, metrics, log });

  const credentials = await openCredentials({ config, clock, metrics, log });
  const { gate } = credentials;
  const deadlines = new Map([[coordinateMethod.path, config.maxDeadlineMs]]);
  const grpc = new GrpcServer({ config, deadlines, gate, clock, metrics });
  const unread = new UnreadAnswers({
    clock,
    connections: grpc,
    limitBytes: config.maxUnreadMb * 1024 * 1024,
    timeoutMs: config.slowReaderTimeoutMs,
    onClosed: () => metrics.slowReaderClosed.inc(),
  });
  metrics.watchServing(() => (state.phase === 'serving' ? 1 : 0));
  metrics.watchOpenCalls(() => state.openCalls);
  metrics.watchUnreadBytes(() => unread.bytes);
  metrics.watchLostLogLines(lostLogLines);
  const service = {
    core: () => core,
    state,
    clock,
    metrics,
    log,
    maxMessageBytes: config.maxMessageMb * 1024 * 1024,
    unread,
    gate,
    recorder: tracing.recorder,
  };
  grpc.server.addService(rawCoordinatorService, {
    ...coordinatorHandlers(service),
    ...streamHandlers({ ...service, ...config }),
  });
  const registrar = streams.registrar(grpc.server);
  health.addTo(registrar);
  addReflection(registrar);
  const onChange = (material: TlsMaterial): void => grpc.replaceTls(material);
  const tls = await openTls({ config, clock, metrics, log, onChange }).catch((error: unknown) => {
    credentials.close();
    throw error;
  });
  const stopWatching = (): void => {
    tls?.close();
    credentials.close();
  };
  const grpcAddress = await grpc.bind(config.grpcAddress, tls?.current).catch((error: unknown) => {
    stopWatching();
    throw error;
  });
  const isReady = (): boolean => state.phase === 'serving';
  const logLevel = new LogLevel(log, clock);
  const admin = await startAdminServer({ address: config.adminAddress, registry, isReady, log, logLevel }).catch(
    (error: unknown) => {
      stopWatching();
      grpc.cutOff();
      throw error;
    },
  );

  const create = options.createCore ?? createDefaultCore;
  const startedMs = clock.nowMs();
  const made = create({ config, clock, metrics, log, traceBatch: tracing.traceBatch }).then((value) => (core = value));
  const ready = made.then(async (value) => {
    await value.warmUp();
    if (state.phase !== 'warming') throw new Error('the server was closed before it was ready');
    state.advanceTo('serving');
    health.setServing(true);
    const { engine, device } = value;
    log.info(
      { grpcAddress, adminAddress: admin.address, engine, device, startMs: Math.round(clock.nowMs() - startedMs) },
      'ready',
    );
  });
  // Whoever waits for it hears of a failure; that nobody waits is no reason to end the process. A setting at fault is
  // told in one line by whoever gave it.
  ready.catch((error: unknown) => {
    if (state.phase === 'warming' && !(error instanceof ConfigError))
      log.error({ err: error }, 'the server cannot serve');
  });

  let closing: Promise<DrainResult> | null = null;
  const close = async (): Promise<DrainResult> => {
    const result = await drain({ config, clock, grpc, health, state, streams, log });
    stopWatching();
    const closed = made.then(
      (value) => value.close(),
      () => undefined,
    );
    // A compiler in the middle of a large program cannot be stopped; ending the process does.
    let cancel: () => void = () => undefined;
    const longEnough = new Promise<void>((resolve) => (cancel = clock.after(longestCloseMs, resolve)));
    await Promise.all([Promise.race([closed, longEnough]), tracing.close()]);
    cancel();
    await admin.close();
    logLevel.close();
    log.info(result, 'closed');
    return result;
  };
  return {
    grpcAddress,
    adminAddress: admin.address,
    ready,
    get phase() {
      return state.phase;
    },
    registry,
    close: () => (closing ??= close()),
  };
}

/** Loaded late: the address is bound and health answers while the engine's libraries load. */
async function createDefaultCore(context: CoreContext): Promise<RunnableCore> {
  const { createCore } = await import('./core.js');
  return createCore(context);
}
