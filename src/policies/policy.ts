/** A policy: a named, versioned set of weights and defaults of a swarm. Immutable; a reload makes a new object. */
import type { AssignmentForm, ConsensusStart, Matrix } from '../problem.js';

export interface PolicyDefaults {
  readonly forms: readonly AssignmentForm[];
  readonly temperature: number;
  readonly iterations: number;
  /** Null: adaptive. */
  readonly sigma: number | null;
  readonly start: ConsensusStart;
}

export interface ProjectionWeights {
  /** [d,k] */
  readonly weight: Matrix;
  /** [k] */
  readonly bias: Float32Array;
  /** [k], each >= 0 */
  readonly resourceMax: Float32Array;
}

export interface Policy {
  readonly name: string;
  readonly version: string;
  /** Hex digest of weights and defaults; two policies with equal fingerprints answer alike. */
  readonly fingerprint: string;
  readonly defaults: PolicyDefaults;
  readonly projection: ProjectionWeights | null;
  /** How U is computed from agents and tasks; null: only a given `utility` can be assigned. */
  readonly utility:
    | { readonly kind: 'distance' }
    /** U = agents @ weight @ tasks' / sqrt(d); weight [d,e]. */
    | { readonly kind: 'bilinear'; readonly weight: Matrix }
    | null;
}

/** Gives the current policies; `get` of an unknown name throws POLICY_UNKNOWN. */
export interface PolicySource {
  readonly defaultName: string;
  get(name: string): Policy;
  list(): readonly Policy[];
}
