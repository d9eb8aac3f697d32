/** The RPC handlers: decode, coordinate, encode. Every call is answered exactly once, counted, and logged where it failed. */
import type { sendUnaryData, ServerUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import { Cancellation, type CancelSignal } from '../src/cancellation.js';
import type { Clock } from '../src/clock.js';
import type { CallContext } from '../src/coordinator.js';
import { CoordinatorError } from '../src/errors.js';
import type { Metrics } from '../src/metrics.js';
import type { Answer, Problem } from '../src/problem.js';
import type { CoordinateRequestMessage, ListPoliciesResponseMessage } from '../src/wire/messages.js';
import { outlineOf, type RequestOutline } from '../src/wire/peek.js';
import { assertChangeIsKnown } from '../src/wire/assignment-options.js';
import { encodeAnswer } from '../src/wire/response.js';
import { answerTooLarge, deserialize, failureOf, recordOutcome, type RunningCall } from './call-outcome.js';
import { dueMsOf } from './call-deadline.js';
import { idsOf } from './call-ids.js';
import type { CallRecorder } from './call-recorder.js';
import type { CallGate } from './call-gate.js';
import { coordinateMethod, listPoliciesMethod } from './definitions.js';
import type { Logger } from './log.js';
import type { OpenCall, ServingState } from './serving-state.js';
import { toStatusReply } from './status.js';
import { tenantOf } from './tenant.js';
import { traceContextOf } from './trace-context.js';
import type { UnreadAnswers } from './unread-answers.js';

/** What stands behind the RPCs. Everything may throw or reject with a CoordinatorError. */
export interface Core {
  /** As `execution.engine` and `execution.device` say them. */
  readonly engine: string;
  readonly device: string;
  /** False: `refusal` would refuse no call of so many bytes and with that deadline. Absent: it might. */
  mayRefuse?(deadlineMs: number, requestBytes: number): boolean;
  /** Why a call would be refused now, before its request is decoded; null where it may be let in. Absent: every call may be. */
  refusal?(inquiry: RequestInquiry): CoordinatorError | null;
  decode(message: CoordinateRequestMessage): Problem;
  coordinate(problem: Problem, context: CallContext): Promise<Answer>;
  listPolicies(): ListPoliciesResponseMessage;
}

/** What is known of a request that is not decoded. */
export interface RequestInquiry extends Omit<RequestOutline, 'requestId'> {
  readonly tenant: string;
  readonly deadlineMs: number;
  readonly requestBytes: number;
}

export interface ServiceOptions {
  /** Null until there is one; `state` refuses calls as long. */
  readonly core: () => Core | null;
  readonly state: ServingState;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly maxMessageBytes: number;
  readonly unread: UnreadAnswers;
  /** What calls passed; null: nothing, as they need no credentials and have no quotas. */
  readonly gate: CallGate | null;
  /** Null: nothing is traced, and no good call is told in the log. */
  readonly recorder: CallRecorder | null;
}

type Call = ServerUnaryCall<Buffer, Buffer>;
type Reply = sendUnaryData<Buffer>;

export function coordinatorHandlers(options: ServiceOptions): UntypedServiceImplementation {
  const { clock, gate } = options;
  const core = (): Core => {
    const current = options.core();
    if (current === null) throw new CoordinatorError('WARMING', 'the server is still warming up');
    return current;
  };
  return {
    Coordinate: (call: Call, reply: Reply) =>
      void answer(options, 'Coordinate', call, reply, async (running) => {
        const { deadlineMs, signal, record } = running;
        const tenant = gate === null ? tenantOf(call.metadata) : gate.tenantOf(call.metadata);
        gate?.charge(tenant, call.request);
        if (record !== null) record.tenant = tenant;
        const requestBytes = call.request.length;
        const current = core();
        if (current.mayRefuse?.(deadlineMs, requestBytes) !== false) {
          const { requestId, policy, priority, isHard } = outlineOf(call.request);
          running.requestId = requestId;
          const refused = current.refusal?.({ policy, priority, isHard, tenant, deadlineMs, requestBytes });
          if (refused != null) throw refused;
        }
        const message = requestOf(call, running);
        running.requestId = message.requestId;
        const problem = current.decode(message);
        assertChangeIsKnown(problem.assignment);
        const decodeMs = clock.nowMs() - running.arrivedMs;
        options.metrics.stageDuration.observe({ stage: 'decode' }, decodeMs / 1000);
        record?.decoded(problem, decodeMs);
        const trace = record?.span ?? null;
        const context = { deadlineMs, signal, decodeMs, tenant, requestBytes, trace };
        const result = await current.coordinate(problem, context);
        const encodeStartMs = clock.nowMs();
        const bytes = coordinateMethod.responseSerialize(encodeAnswer(result, problem));
        const encodeMs = clock.nowMs() - encodeStartMs;
        options.metrics.stageDuration.observe({ stage: 'encode' }, encodeMs / 1000);
        record?.answered(result, encodeMs);
        return bytes;
      }),
    ListPolicies: (call: Call, reply: Reply) =>
      void answer(options, 'ListPolicies', call, reply, () => {
        deserialize(() => listPoliciesMethod.requestDeserialize(call.request));
        return Promise.resolve(listPoliciesMethod.responseSerialize(core().listPolicies()));
      }),
  };
}

interface UnaryCall extends RunningCall {
  /** Aborted when the caller goes away or its deadline passes, never after the answer. */
  readonly signal: CancelSignal;
  /** Written once the request is read. */
  requestId: string;
}

/** The call is found in the log by its id even where its request cannot be read. */
function requestOf(call: Call, running: UnaryCall): CoordinateRequestMessage {
  try {
    return deserialize(() => coordinateMethod.requestDeserialize(call.request));
  } catch (thrown) {
    running.requestId = outlineOf(call.request).requestId;
    throw thrown;
  }
}

/** Runs a call and replies once, whatever happens: never rejects, never throws. */
async function answer(
  options: ServiceOptions,
  method: string,
  call: Call,
  reply: Reply,
  run: (running: UnaryCall) => Promise<Buffer>,
): Promise<void> {
  const { clock, state, recorder } = options;
  const { metadata } = call;
  const arrivedMs = clock.nowMs();
  const cancellation = new Cancellation();
  let answered = false;
  // grpc-js emits `cancelled` at the end of every call, also of one that went well.
  let taken: (() => void) | null = null;
  call.once('cancelled', () => {
    if (answered) taken?.();
    else cancellation.abort();
  });
  const deadlineMs = dueMsOf(metadata);
  const record = recorder === null ? null : recorder.begin(method, arrivedMs, traceContextOf(metadata), false);
  const running: UnaryCall = { arrivedMs, deadlineMs, signal: cancellation, requestId: '', metadata, record };
  const fail = (error: CoordinatorError): void => {
    if (answered) return;
    answered = true;
    reply(toStatusReply(error, idsOf(running)));
    recordOutcome(options, method, running, error);
  };
  const cutOff = (): void => {
    fail(new CoordinatorError('DRAINING', 'the server shut down before the answer was ready'));
    cancellation.abort();
  };
  const open: OpenCall = { cutOff, seat: -1 };
  try {
    state.openCall(open);
    assertRead(options, call);
    if (deadlineMs <= arrivedMs) {
      options.metrics.shed.inc({ reason: 'deadline' });
      throw new CoordinatorError('DEADLINE_EXPIRED', 'the deadline had passed on arrival');
    }
    const bytes = await run(running);
    if (bytes.length > options.maxMessageBytes) throw answerTooLarge(bytes.length, options.maxMessageBytes);
    if (cancellation.aborted) throw new CoordinatorError('CANCELLED', 'the call was cancelled');
    answered = true;
    taken = options.unread.wrote(call, bytes.length);
    reply(null, bytes);
    recordOutcome(options, method, running, null);
  } catch (thrown) {
    fail(failureOf(thrown, running, clock));
  } finally {
    state.closeCall(open);
  }
}

/** No more work for a connection that does not read what it got. */
function assertRead({ unread, metrics }: ServiceOptions, call: Call): void {
  try {
    unread.assertRoom(call);
  } catch (thrown) {
    metrics.shed.inc({ reason: 'unread' });
    throw thrown;
  }
}
