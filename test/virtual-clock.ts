/** A clock that moves only when a test says so. Timers fire in order of time, then of creation. */
import type { Clock } from '../src/clock.js';

interface Timer {
  readonly dueMs: number;
  readonly fire: () => void;
}

export class VirtualClock implements Clock {
  #nowMs: number;
  readonly #timers = new Set<Timer>();

  constructor(startMs = 0) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, fire: () => void): () => void {
    const timer = { dueMs: this.#nowMs + Math.max(0, delayMs), fire };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Timers that have neither fired nor been cancelled. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** When the next timer is due, or Infinity. */
  get nextDueMs(): number {
    return this.#next()?.dueMs ?? Infinity;
  }

  /** Moves time on by `deltaMs`, firing what falls due, timers set meanwhile included. Promise reactions run only afterwards. */
  advance(deltaMs: number): void {
    const untilMs = this.#nowMs + deltaMs;
    while (this.#fireOneUntil(untilMs));
    this.#nowMs = untilMs;
  }

  /** Like `advance`, but lets promise reactions run before, between and after timers, as a real event loop does. */
  async advanceAsync(deltaMs: number): Promise<void> {
    const untilMs = this.#nowMs + deltaMs;
    await settle();
    while (this.#fireOneUntil(untilMs)) await settle();
    this.#nowMs = untilMs;
    await settle();
  }

  #fireOneUntil(untilMs: number): boolean {
    const timer = this.#next();
    if (timer === null || timer.dueMs > untilMs) return false;
    this.#timers.delete(timer);
    this.#nowMs = Math.max(this.#nowMs, timer.dueMs);
    timer.fire();
    return true;
  }

  #next(): Timer | null {
    let next: Timer | null = null;
    for (const timer of this.#timers) if (next === null || timer.dueMs < next.dueMs) next = timer;
    return next;
  }
}

/** Resolves once every promise reaction that is ready now, and those that follow from it, has run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
