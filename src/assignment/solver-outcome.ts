/** What the solvers of a reduced problem start from and leave. Prices v >= 0 are added to costs, as bound.ts has it. */

export interface SolverStart {
  /** [m]; NaN where not known. */
  readonly columnPrice: Float64Array | null;
  /** [n] column or -1; may violate anything. */
  readonly columnOfRow: Int32Array | null;
}

export interface SolverOutcome {
  /** [n] column or -1; allowed, of greatest cardinality where idling is not. */
  readonly columnOfRow: Int32Array;
  /** [m] at least 0. */
  readonly columnPrice: Float64Array;
  /** It was not stopped. */
  readonly complete: boolean;
}
