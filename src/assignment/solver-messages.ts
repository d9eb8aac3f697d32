/**
 * What the solver pool and its threads tell each other. Small problems and their results lie in memory that both share
 * (solver-slots.ts) and travel as the number of their slot; the rest is structured-cloned, every typed array owning its whole buffer.
 */
import type { ErrorCode, FieldViolation } from '../errors.js';
import type { HardResult } from './hard.js';
import type { PosedProblem } from './positions.js';

/** A thread's `workerData`. */
export interface SolverThreadData {
  /** [slotCount] shared: the pool sets the slot of a problem in work to 1 when its caller has gone. */
  readonly cancelFlags: Int32Array;
  /** [slotCount slots] shared. */
  readonly slots: SharedArrayBuffer;
}

/** Problems in work on a thread at most. */
export const slotCount = 32;

export interface SolveItem {
  readonly slot: number;
  /** `budgetMs` counts from the sending of the message. */
  readonly problem: PosedProblem;
}

/** Pool to thread. */
export interface SolveMessage {
  /** `processMs` of the sending: a thread that has to wait for a core takes milliseconds to see it. */
  readonly sentMs: number;
  readonly items: readonly (SolveItem | number)[];
}

export interface SolveFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly violations: readonly FieldViolation[];
}

export interface SolveOutcome {
  readonly slot: number;
  /** Null where it failed or was cancelled. */
  readonly result: HardResult | null;
  readonly failure: SolveFailure | null;
  /** Milliseconds that the thread was busy with it. */
  readonly tookMs: number;
}

/** Thread to pool: that it can take problems, or the outcomes of one SolveMessage in its order; a number: the result is in that slot. */
export type SolverReply = 'ready' | readonly (SolveOutcome | number)[];
