/** The end of a server's life: leave, drain, close; and the signals that start it. */
import type { Clock } from '../src/clock.js';
import type { Config } from '../src/config.js';
import type { GrpcServer } from './grpc-server.js';
import type { Health } from './health.js';
import type { Logger } from './log.js';
import type { OpenStreams } from './open-streams.js';
import type { ServingState } from './serving-state.js';

export interface DrainOptions {
  readonly config: Pick<Config, 'drainDelayMs' | 'drainTimeoutMs'>;
  readonly clock: Clock;
  readonly grpc: GrpcServer;
  readonly health: Health;
  readonly state: ServingState;
  readonly streams: OpenStreams;
  readonly log: Logger;
}

export interface DrainResult {
  /** Accepted calls that were cut off without an answer. */
  readonly lostCalls: number;
  /** Whether connections had to be cut off because they did not end in time. */
  readonly forced: boolean;
}

/**
 * Says NOT_SERVING at once, takes calls for the drain delay, then refuses new ones (UNAVAILABLE, DRAINING) while the
 * accepted ones are answered, and closes the connections. What is not over after the drain timeout is cut off.
 */
export async function drain(options: DrainOptions): Promise<DrainResult> {
  const { config, clock, grpc, health, state, streams, log } = options;
  const wasServing = state.phase === 'serving';
  state.advanceTo('leaving');
  health.setServing(false);
  log.info({ openCalls: state.openCalls, drainDelayMs: config.drainDelayMs }, 'draining');
  // A server that never served has no callers to wait for.
  if (wasServing && config.drainDelayMs > 0) await delay(clock, config.drainDelayMs);
  state.advanceTo('draining');
  const timeout = timer(clock, config.drainTimeoutMs);
  const answered = await Promise.race([state.whenIdle().then(() => true), timeout.over]);
  streams.endAll();
  const closed = answered && (await Promise.race([grpc.end().then(() => true), timeout.over]));
  timeout.cancel();
  const lostCalls = state.openCalls;
  grpc.cutOff();
  if (!closed) log.error({ lostCalls }, 'the drain timeout passed: connections were cut off');
  return { lostCalls, forced: !closed };
}

function delay(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => void clock.after(delayMs, resolve));
}

/** `over` becomes false after `delayMs`. */
function timer(clock: Clock, delayMs: number): { readonly over: Promise<false>; cancel(): void } {
  let cancel = (): void => undefined;
  const over = new Promise<false>((resolve) => {
    cancel = clock.after(delayMs, () => resolve(false));
  });
  return { over, cancel: () => cancel() };
}
