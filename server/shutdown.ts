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

/** What the last answers get to travel in where the drain timeout is used up. */
const lastGraceMs = 500;

export interface DrainResult {
  /** Accepted calls that ended with UNAVAILABLE because they were not answered in time. */
  readonly lostCalls: number;
  /** Whether connections had to be cut off because they did not end in time. */
  readonly forced: boolean;
}

/**
 * Says NOT_SERVING at once, takes calls for the drain delay, then refuses new ones (UNAVAILABLE, DRAINING) while the
 * accepted ones are answered, and closes the connections. Calls that are open after the drain timeout fail as
 * UNAVAILABLE, DRAINING.
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
  const startedMs = clock.nowMs();
  const timeout = timer(clock, config.drainTimeoutMs);
  const answered = await Promise.race([state.whenIdle().then(() => true), timeout.over]);
  const lostCalls = answered ? 0 : state.cutOffCalls();
  timeout.cancel();
  streams.endAll();
  const last = timer(clock, Math.max(lastGraceMs, config.drainTimeoutMs - (clock.nowMs() - startedMs)));
  const closed = await Promise.race([grpc.end().then(() => true), last.over]);
  last.cancel();
  grpc.cutOff();
  if (lostCalls > 0) log.error({ lostCalls }, 'the drain timeout passed: calls were cut off');
  if (!closed) log.error('connections did not end in time and were cut off');
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
