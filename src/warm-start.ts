/**
 * What one answer leaves for the next: dual prices, Sinkhorn potentials, the centroid and the tasks, keyed by the ids of
 * agents and tasks (by index where there are none), so that members may join, leave and change places between ticks.
 */

/** A tick's legacy, on its own: kept by a stream, or sent to the caller and back as `warm_start`. Plain data. */
export interface TickState {
  /** What the numbers mean: policy and version, where the utility came from. A state of another kind is foreign. */
  readonly kind: string;
  readonly agentCount: number;
  readonly taskCount: number;
  /** [N], [M] in the order of the answer; null: by index. */
  readonly agentIds: readonly string[] | null;
  readonly taskIds: readonly string[] | null;
  /** [N] -1 idle; null where nothing was made hard. */
  readonly taskOfAgent: Int32Array | null;
  /** [M] of the hard assignment, in units of utility, at least 0. */
  readonly taskPrices: Float64Array | null;
  /** [M] Sinkhorn's g in units of utility (temperature times spread times the logarithm). */
  readonly columnPotential: Float32Array | null;
  /** Iterations that the plan took, and its largest marginal error. */
  readonly iterations: number;
  readonly marginalError: number;
  /** [r], ungrouped consensus only. */
  readonly centroid: Float32Array | null;
}

/** A tick state lined up with the agents and tasks of one request. */
export interface WarmStart {
  /** [N] task of this request that the agent had; -1: none, or not known. */
  readonly taskOfAgent: Int32Array | null;
  /** [M] NaN where the task is new. */
  readonly taskPrices: Float64Array | null;
  /** [M] NaN where the task is new. */
  readonly columnPotential: Float32Array | null;
  readonly iterations: number;
  readonly marginalError: number;
  /** [r] */
  readonly centroid: Float32Array | null;
}
