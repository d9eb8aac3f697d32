/** What the solver pool and its threads tell each other. Structured-cloned; every typed array owns its whole buffer. */
import type { ErrorCode, FieldViolation } from '../errors.js';
import type { HardProblem, HardResult } from './hard.js';

/** A thread's `workerData`. */
export interface SolverThreadData {
  /** [slotCount] shared: the pool sets the slot of a problem in work to 1 when its caller has gone. */
  readonly cancelFlags: Int32Array;
}

/** Problems in work on a thread at most. */
export const slotCount = 32;

export interface SolveItem {
  readonly slot: number;
  /** `budgetMs` counts from the sending of the message. */
  readonly problem: HardProblem;
}

/** Pool to thread. */
export type SolveMessage = readonly SolveItem[];

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
}

/** Thread to pool: that it can take problems, or the outcomes of one SolveMessage in its order. */
export type SolverReply = 'ready' | readonly SolveOutcome[];
