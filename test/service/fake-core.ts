/** A core without an engine: calls wait until the test answers them. The server around it is the real one. */
import type { CallContext } from '../../src/coordinator.js';
import { CoordinatorError } from '../../src/errors.js';
import type { Answer, Problem } from '../../src/problem.js';
import type { RequestInquiry } from '../../server/coordinator-service.js';
import type { RunnableCore } from '../../server/start.js';
import type { CoordinateRequestMessage, ListPoliciesResponseMessage } from '../../src/wire/messages.js';

export interface PendingCall {
  readonly requestId: string;
  readonly context: CallContext;
  answer(): void;
  fail(error: unknown): void;
}

export class FakeCore implements RunnableCore {
  readonly engine = 'onnx';
  readonly device = 'fake';
  /** In order of arrival; answered ones stay. */
  readonly calls: PendingCall[] = [];
  closed = false;
  /** Whether calls are answered at once instead of waiting. */
  answersAtOnce = true;
  /** Thrown by `decode` where set. */
  decodeError: unknown = null;
  /** Thrown by `decode` for requests of these ids. */
  readonly refuses = new Map<string, unknown>();
  /** Requests that `decode` has seen. */
  decoded = 0;
  /** What `refusal` gives: calls are refused with it before they are decoded. */
  refused: CoordinatorError | null = null;
  /** What `refusal` was asked, in order. */
  readonly inquiries: RequestInquiry[] = [];
  /** Elements of the `resources` that an answer holds. */
  answerElements = 4;
  #warm: () => void = () => undefined;
  #failWarmUp: (error: Error) => void = () => undefined;
  readonly #warmth: Promise<void>;
  #callListeners: (() => void)[] = [];

  constructor(warm: boolean) {
    this.#warmth = new Promise((resolve, reject) => {
      this.#warm = resolve;
      this.#failWarmUp = reject;
    });
    if (warm) this.#warm();
  }

  finishWarmUp(): void {
    this.#warm();
  }

  failWarmUp(error: Error): void {
    this.#failWarmUp(error);
  }

  /** Resolves when at least `count` calls have arrived. */
  async arrived(count: number): Promise<void> {
    while (this.calls.length < count) await new Promise<void>((resolve) => this.#callListeners.push(resolve));
  }

  refusal(inquiry: RequestInquiry): CoordinatorError | null {
    this.inquiries.push(inquiry);
    return this.refused;
  }

  decode(message: CoordinateRequestMessage): Problem {
    this.decoded++;
    if (this.refuses.has(message.requestId)) throw this.refuses.get(message.requestId) as Error;
    if (this.decodeError !== null) throw this.decodeError as Error;
    const { requestId } = message;
    const policy = { name: 'distance' };
    const problem = { requestId, policy, agentCount: 1, taskCount: 0, outputValues: false, assignment: null };
    return problem as unknown as Problem;
  }

  coordinate(problem: Problem, context: CallContext): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const { requestId } = problem;
      const answer = (): void => resolve(answerTo(requestId, this.answerElements));
      this.calls.push({ requestId, context, answer, fail: reject });
      context.signal.addEventListener('abort', () =>
        reject(new CoordinatorError('CANCELLED', 'the call was cancelled')),
      );
      if (this.answersAtOnce) answer();
      for (const listener of this.#callListeners.splice(0)) listener();
    });
  }

  listPolicies(): ListPoliciesResponseMessage {
    return { policies: [] };
  }

  warmUp(): Promise<void> {
    return this.#warmth;
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}

function answerTo(requestId: string, elements: number): Answer {
  return {
    requestId,
    resources: { rows: 1, columns: elements, data: new Float32Array(elements) },
    assignment: null,
    consensus: null,
    rejectedAgents: [],
    tick: null,
    execution: {
      engine: 'onnx',
      device: 'fake',
      bucket: '',
      batchSize: 1,
      policyVersion: '1',
      executableFingerprint: '',
      stages: [],
    },
  };
}
