/** What is fuzzed: one way into the server for hostile bytes, with the promises that it keeps whatever they are. */
import { CoordinatorError } from '../../src/errors.js';

export interface Target {
  readonly name: string;
  /** Inputs that reach what matters, to start from. */
  readonly seeds: readonly Buffer[];
  /** Longer inputs are cut. */
  readonly mostBytes: number;
  /** Whether what runs depends on time as well as on the input; then only new places count, not how often. */
  readonly isTimed?: boolean;
  /**
   * Whatever the bytes are, what they lead to keeps the promises: throws, or rejects, where one is broken. The answer: whether they
   * were accepted.
   */
  check(bytes: Buffer): boolean | Promise<boolean>;
  /** One line of what was counted beside. */
  summary?(): string;
  close?(): Promise<void>;
}

/** A promise of a target that did not hold. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

export function promise(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Broken(what);
}

/** What `read` gives; null where it refuses as it is allowed to. Everything else that it throws goes on. */
export function unlessRefused<T>(read: () => T, refusals: readonly string[]): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof CoordinatorError && refusals.includes(error.status)) return null;
    throw error;
  }
}

export const inputRefusals = ['INVALID_ARGUMENT', 'OUT_OF_RANGE', 'NOT_FOUND', 'FAILED_PRECONDITION'] as const;
