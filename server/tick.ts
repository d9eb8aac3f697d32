/** One request of a stream between its arrival and its answer. */
import type { Metadata } from '@grpc/grpc-js';
import type { Problem } from '../src/problem.js';
import type { CoordinateRequestMessage } from '../src/wire/messages.js';
import type { RunningCall } from './call-outcome.js';
import type { CallRecord } from './call-record.js';
import type { OpenCall } from './serving-state.js';

export class Tick implements RunningCall, OpenCall {
  readonly arrivedMs: number;
  readonly deadlineMs: number;
  /** Of its stream. */
  readonly metadata: Metadata;
  readonly record: CallRecord | null;
  requestId = '';
  /** Of the request message; 0 once it has been let go. */
  bytes: number;
  /** Milliseconds of this thread spent on reading the request. */
  decodeMs = 0;
  /** Null before it is read and once it has become a problem. */
  message: CoordinateRequestMessage | null = null;
  problem: Problem | null = null;
  /** Whether a newer request may take its place. */
  supersede = false;
  /** Whether an engine has begun it: it is not taken back any more. */
  begun = false;
  /** The encoded answer, from the moment that there is one. */
  outcome: Buffer | null = null;
  /** How the tick is cut off from outside. */
  readonly cutOff: () => void;
  seat = -1;
  readonly #controller = new AbortController();

  constructor(
    bytes: number,
    { arrivedMs, deadlineMs, metadata, record }: Omit<RunningCall, 'requestId'>,
    cutOff: (tick: Tick) => void,
  ) {
    this.bytes = bytes;
    this.arrivedMs = arrivedMs;
    this.deadlineMs = deadlineMs;
    this.metadata = metadata;
    this.record = record;
    this.cutOff = () => cutOff(this);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Takes it out of whatever queue it is in. */
  abort(): void {
    this.#controller.abort();
  }

  /** Lets go of the request's memory. */
  settle(outcome: Buffer): void {
    this.outcome = outcome;
    this.bytes = 0;
    this.message = null;
    this.problem = null;
  }
}
