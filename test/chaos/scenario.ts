/** A fault, what is promised while and after it happens, and how that is seen. */
import type { Tally } from './known-answers.js';

export interface Scenario {
  readonly name: string;
  readonly promise: string;
  /** Rejects where the promise is broken; wrong answers are counted beside. */
  run(context: ScenarioContext): Promise<Observation>;
}

export interface ScenarioContext {
  /** Empty, and removed afterwards. */
  readonly folder: string;
  /** Shared library of the PJRT plugin for the CPU; null where it is not installed. */
  readonly plugin: string | null;
}

export interface Observation {
  /** One sentence. */
  readonly seen: string;
  /** Of the well-behaved callers beside and after the fault. */
  readonly tally: Tally;
}

/** Throws where a promise is broken. */
export function expectThat(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`broken: ${what}`);
}
