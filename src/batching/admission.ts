/** Whether a request that comes now would be answered in time, by measured times: what is in front of it, its own run, what comes after. */
import type { CancelSignal } from '../cancellation.js';
import { CoordinatorError } from '../errors.js';
import { maxBatch } from './buckets.js';
import type { CostModel } from './cost-model.js';

/** What a job alone is expected to take the engine. */
export interface JobCost {
  /** In a batch of its own; null where nothing alike was measured. */
  readonly ownMs: number | null;
  /** Its share of a full batch; more than 0. */
  readonly shareMs: number;
  /** When something alike ran last; -Infinity where nothing did. */
  readonly lastRunAtMs: number;
}

/** What is in front of a newcomer. */
export interface Load {
  readonly nowMs: number;
  /** Until the engine has done all that it has. */
  readonly busyMs: number;
  /** Engine time of what waits and goes first. */
  readonly aheadMs: number;
  /** Nothing runs and nothing waits. */
  readonly isIdle: boolean;
  /** What predictions have been short of lately. */
  readonly allowanceMs: number;
}

export interface Prospect {
  readonly deadlineMs: number;
  /** Null: not measured. */
  readonly ownMs: number | null;
  readonly lastRunAtMs: number;
  /** From the engine's answer to the caller's. */
  readonly afterMs: number;
}

/** `trial`: late by times that may be out of date, and nobody else waits: running it tells. */
export type Verdict = 'unknown' | 'in_time' | 'trial' | 'late';

/** A measurement is believed for so long where trying again would cost nobody anything. */
const believedForMs = 1000;

/** Of the time left, at most this share is kept back for what predictions have been short of. */
const mostAllowance = 0.5;

export function jobCost(
  key: string,
  agents: number,
  tasks: number,
  configuredMaxBatch: number,
  costs: Pick<CostModel, 'runMs' | 'lastRunAtMs'>,
): JobCost {
  const one = { batch: 1, agents, tasks };
  const full = maxBatch(agents, tasks, configuredMaxBatch);
  const lastRunAtMs = costs.lastRunAtMs(key, one);
  const aloneMs = costs.runMs(key, one);
  const fullMs = full === 1 ? aloneMs : costs.runMs(key, { ...one, batch: full });
  return { ownMs: lastRunAtMs === -Infinity ? null : aloneMs, shareMs: fullMs / full, lastRunAtMs };
}

/** When the engine will be done with it, where its run is measured. */
export function predictedEndMs({ nowMs, busyMs, aheadMs }: Load, ownMs: number): number {
  return nowMs + busyMs + aheadMs + ownMs;
}

export function verdictOn(load: Load, { deadlineMs, ownMs, lastRunAtMs, afterMs }: Prospect): Verdict {
  if (ownMs === null) return 'unknown';
  const { nowMs, busyMs, aheadMs, isIdle } = load;
  const waits = busyMs + aheadMs > 0;
  const allowanceMs = waits ? Math.min(load.allowanceMs, mostAllowance * Math.max(deadlineMs - nowMs, 0)) : 0;
  if (predictedEndMs(load, ownMs) + afterMs + allowanceMs <= deadlineMs) return 'in_time';
  return isIdle && nowMs - lastRunAtMs >= believedForMs ? 'trial' : 'late';
}

/** PREDICTED_LATE with the figures, and the time until there would be enough, if nothing more came. */
export function lateError(load: Load, { deadlineMs, ownMs, afterMs }: Prospect): CoordinatorError {
  const waitMs = load.busyMs + load.aheadMs;
  const neededMs = waitMs + (ownMs ?? 0) + afterMs;
  const leftMs = deadlineMs - load.nowMs;
  const parts = `${shown(waitMs)} behind other requests, ${shown(ownMs ?? 0)} to run, ${shown(afterMs)} after that`;
  const message = `the answer is expected in ${shown(neededMs)} (${parts}) and ${shown(leftMs)} are left`;
  return new CoordinatorError('PREDICTED_LATE', message, {
    retryAfterMs: Math.max(1, Math.ceil(neededMs + load.allowanceMs - leftMs)),
  });
}

function shown(ms: number): string {
  return `${ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms)} ms`;
}

/** A caller's deadline passes there by the time that its call took to get here, and by the clocks' rounding, earlier than here. */
const deadlineToleranceMs = 20;

/** Whether a caller that went away by `signal` at `nowMs` did so because its deadline had passed, as far as can be told. */
export function endedByDeadline(signal: CancelSignal, nowMs: number, deadlineMs: number): boolean {
  // A tick that its successor replaces says so.
  return nowMs >= deadlineMs - deadlineToleranceMs && !(signal.reason instanceof CoordinatorError);
}

/** Of fifty predictions about one may fail. */
const mostHeld = 0.98;
const stepMs = 0.5;
const longestAllowanceMs = 25;

/** What all but the worst predictions are short of: followed up in large steps and down in small ones. */
export class Allowance {
  readonly #heldShare: number;
  #ms = 0;

  /** `heldShare` of the predictions hold with it. */
  constructor(heldShare = mostHeld) {
    this.#heldShare = heldShare;
  }

  get ms(): number {
    return this.#ms;
  }

  /** `lateByMs`: what it took beyond what had been predicted; negative where it took less. */
  observe(lateByMs: number): void {
    if (lateByMs > this.#ms) this.#ms = Math.min(this.#ms + stepMs * this.#heldShare, lateByMs, longestAllowanceMs);
    else this.#ms = Math.max(this.#ms - stepMs * (1 - this.#heldShare), 0);
  }
}
