/** How a call or a tick of a stream ends: what its caller is told, what is counted, what is logged. */
import type { Clock } from '../src/clock.js';
import { CoordinatorError, type ErrorCode } from '../src/errors.js';
import type { Metrics } from '../src/metrics.js';
import { type CallIds, type IdentifiedCall, idsOf } from './call-ids.js';
import type { CallRecorder } from './call-recorder.js';
import type { Logger } from './log.js';

export interface OutcomeSinks {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Null: nothing is traced, and no good call is told in the log. */
  readonly recorder: CallRecorder | null;
}

export interface RunningCall extends IdentifiedCall {
  readonly arrivedMs: number;
  /** On the clock's scale; Infinity where there is none. */
  readonly deadlineMs: number;
}

/** A caller's deadline passes there by the time that its call travels, and by the clocks' rounding, earlier than here. */
const deadlineToleranceMs = 20;

/** A caller whose deadline passed cancels its call, or grpc-js does, as if it had gone away: that is told apart here. */
export function failureOf(
  thrown: unknown,
  { deadlineMs, requestId }: Pick<RunningCall, 'deadlineMs' | 'requestId'>,
  clock: Clock,
): CoordinatorError {
  const error = CoordinatorError.from(thrown);
  if (error.code === 'CANCELLED' && clock.nowMs() >= deadlineMs - deadlineToleranceMs) {
    return new CoordinatorError('DEADLINE_EXPIRED', 'the deadline passed before the answer was ready', {
      cause: error,
    });
  }
  if (error.code === 'INTERNAL') {
    // What went wrong inside is for the log; the caller gets what finds it there.
    const text = requestId === '' ? 'internal error' : `internal error; the log has it under this request id`;
    return new CoordinatorError('INTERNAL', text, { cause: error.cause ?? error });
  }
  return error;
}

/** Counts a call that has ended, logs it where it failed and keeps what its record says. `error` null: it was answered. */
export function recordOutcome(
  { clock, metrics, log, recorder }: OutcomeSinks,
  method: string,
  running: RunningCall,
  error: CoordinatorError | null,
): void {
  const endMs = clock.nowMs();
  const durationMs = endMs - running.arrivedMs;
  const { record } = running;
  const code = error?.status ?? 'OK';
  if (method !== 'ListPolicies') metrics.requestDuration.observe({ code }, durationMs / 1000);
  if (record !== null) {
    record.requestId = running.requestId;
    recorder?.end(record, error, endMs);
  }
  const isLogged = record?.isLogged === true;
  if (error === null && !isLogged && !log.isLevelEnabled('debug')) return;
  const fields = { method, ...idFields(idsOf(running)), durationMs: Math.round(durationMs * 1000) / 1000 };
  if (error === null) {
    if (isLogged) log.info({ ...fields, ...record.facts() }, 'call answered');
    else log.debug(fields, 'call answered');
    return;
  }
  if (error.code === 'WARMING' || error.code === 'DRAINING') {
    metrics.shed.inc({ reason: error.code === 'WARMING' ? 'warming' : 'draining' });
  }
  const failed = { ...fields, code: error.code, status: error.status };
  if (error.status === 'INTERNAL') log.error({ ...failed, err: error.cause ?? error }, error.message);
  else if (error.code === 'SUPERSEDED') log.debug(failed, error.message);
  else if (refusals.has(error.code)) logRefusal(log, clock, failed, error);
  else log.warn(failed, error.message.slice(0, 500));
}

/** As log lines have them. */
export function idFields({ requestId, traceId }: CallIds): { requestId: string; traceId?: string } {
  return traceId === '' ? { requestId } : { requestId, traceId };
}

const refusals: ReadonlySet<ErrorCode> = new Set(['QUEUE_FULL', 'PREDICTED_LATE', 'QUOTA_EXCEEDED', 'QUOTA_TOO_SMALL']);

/** In an overload a line for each refusal would cost more than the refusal. */
const refusalLogPauseMs = 1000;
const refusalLogs = new WeakMap<Logger, { nextMs: number; unlogged: number }>();

function logRefusal(log: Logger, clock: Clock, fields: object, error: CoordinatorError): void {
  const nowMs = clock.nowMs();
  const state = refusalLogs.get(log) ?? { nextMs: -Infinity, unlogged: 0 };
  refusalLogs.set(log, state);
  if (nowMs < state.nextMs) {
    state.unlogged++;
    return;
  }
  log.warn({ ...fields, refusedSinceLast: state.unlogged }, error.message.slice(0, 500));
  state.nextMs = nowMs + refusalLogPauseMs;
  state.unlogged = 0;
}

/** @throws CoordinatorError REQUEST_INVALID where `read` throws. */
export function deserialize<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new CoordinatorError('REQUEST_INVALID', 'the request is not a valid protobuf message', { cause });
  }
}

export function answerTooLarge(bytes: number, maxBytes: number): CoordinatorError {
  return new CoordinatorError(
    'ANSWER_TOO_LARGE',
    `the answer of ${bytes} bytes exceeds the message limit of ${maxBytes} bytes`,
  );
}
