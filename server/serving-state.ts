/** Where the server is in its life, and how many calls it owes an answer. */
import { CoordinatorError } from '../src/errors.js';
import { Roster, type Seated } from '../src/roster.js';

/**
 * `warming`: calls are refused until the programs are ready. `leaving`: health says NOT_SERVING but calls are still
 * taken, as balancers need time to notice. `draining`: new calls are refused, accepted ones answered.
 */
export type ServingPhase = 'warming' | 'serving' | 'leaving' | 'draining';

/** A call that is owed an answer. */
export interface OpenCall extends Seated {
  /** Answers it with a failure. */
  readonly cutOff: () => void;
}

export class ServingState {
  #phase: ServingPhase = 'warming';
  /** Accepted and not answered. */
  readonly #openCalls = new Roster<OpenCall>();
  readonly #idleListeners = new Set<() => void>();
  /** How to end each open stream of ticks. */
  readonly #openStreams = new Set<() => void>();

  get phase(): ServingPhase {
    return this.#phase;
  }

  /** Calls accepted and not answered. */
  get openCalls(): number {
    return this.#openCalls.size;
  }

  /** Phases only move forward; going back is ignored, so a warm-up that ends during shutdown changes nothing. */
  advanceTo(phase: ServingPhase): void {
    const order: readonly ServingPhase[] = ['warming', 'serving', 'leaving', 'draining'];
    if (order.indexOf(phase) <= order.indexOf(this.#phase)) return;
    this.#phase = phase;
    if (phase === 'draining') for (const endStream of [...this.#openStreams]) endStream();
  }

  /**
   * Counts a call as accepted until `closeCall` is called with the same object. Throws WARMING or DRAINING where no calls are taken.
   */
  openCall(call: OpenCall): void {
    this.#assertOpen();
    this.#openCalls.add(call);
  }

  closeCall(call: OpenCall): void {
    if (!this.#openCalls.delete(call) || this.#openCalls.size > 0) return;
    for (const listener of this.#idleListeners) listener();
    this.#idleListeners.clear();
  }

  /**
   * Counts a stream of calls as open until `closeStream` is called with the same function, which is called when no more
   * calls are taken: the stream then answers what it has accepted, each of which counts as a call, and ends. Throws as
   * `openCall` does.
   */
  openStream(end: () => void): void {
    this.#assertOpen();
    this.#openStreams.add(end);
  }

  closeStream(end: () => void): void {
    this.#openStreams.delete(end);
  }

  get openStreams(): number {
    return this.#openStreams.size;
  }

  #assertOpen(): void {
    if (this.#phase === 'warming') throw new CoordinatorError('WARMING', 'the server is still warming up');
    if (this.#phase === 'draining') throw new CoordinatorError('DRAINING', 'the server is shutting down');
  }

  /** Answers all open calls with a failure; returns how many there were. */
  cutOffCalls(): number {
    const calls = this.#openCalls.members.slice();
    for (const { cutOff } of calls) cutOff();
    return calls.length;
  }

  /** Resolves when no call is open. */
  async whenIdle(): Promise<void> {
    if (this.#openCalls.size === 0) return;
    await new Promise<void>((resolve) => this.#idleListeners.add(resolve));
  }
}
