/**
 * What one answer leaves for the next: dual prices, Sinkhorn potentials, the centroid and the tasks, keyed by the ids of
 * agents and tasks (by index where there are none), so that members may join, leave and change places between ticks.
 */
import type { ConsensusAnswer, HardAnswer, Problem } from './problem.js';
import { type Avoidance, avoidanceAfter, type LastTick, noAvoidance } from './warm-iterations.js';

export { decodeTickState, encodeTickState } from './warm-start-bytes.js';

/** A tick's legacy, on its own: kept by a stream, or sent to the caller and back as `warm_start`. Plain data, never changed. */
export interface TickState {
  /** What the numbers mean: policy, and where the utility came from. A state of another kind is foreign. */
  readonly kind: string;
  readonly agentCount: number;
  readonly taskCount: number;
  /** [N], [M] in the order of the answer; null: by index. */
  readonly agentIds: readonly string[] | null;
  readonly taskIds: readonly string[] | null;
  /** [N] -1 idle; null where nothing was made hard. */
  readonly taskOfAgent: Int32Array | null;
  /** [M] of the hard assignment, in units of utility, at least 0; NaN where the task was masked. */
  readonly taskPrices: Float64Array | null;
  /** [M] Sinkhorn's g in units of utility (temperature times spread times the logarithm); NaN where the task was masked. */
  readonly columnPotential: Float32Array | null;
  readonly temperature: number;
  /** Iterations that the plan took, and its largest marginal error. 0 without a plan. */
  readonly iterations: number;
  readonly marginalError: number;
  /** Iteration counts that were too small lately. */
  readonly avoidance: Avoidance;
  /** [r], ungrouped consensus only. */
  readonly centroid: Float32Array | null;
}

/** A tick state lined up with the agents and tasks of one request. */
export interface WarmStart extends LastTick {
  /** [N] task of this request that the agent had; -1: none, or not known. */
  readonly taskOfAgent: Int32Array | null;
  /** [M] NaN where the task is new. */
  readonly taskPrices: Float64Array | null;
  /** [M] NaN where the task is new. */
  readonly columnPotential: Float32Array | null;
  /** [r] */
  readonly centroid: Float32Array | null;
}

/** The parts of an answer that a state is made from; arrays are kept, not copied. */
export interface TickParts {
  readonly hard: Pick<HardAnswer, 'taskOfAgent' | 'taskPrices'> | null;
  /** Of the plan, or of a Sinkhorn that ran for its duals. */
  readonly sinkhorn: {
    /** [M] */
    readonly columnPotential: Float32Array;
    readonly iterations: number;
    readonly marginalError: number;
  } | null;
  readonly consensus: Pick<ConsensusAnswer, 'centroid' | 'groupCount'> | null;
}

/** Null where there is nothing to carry over. */
export function tickStateOf({ hard, sinkhorn, consensus }: TickParts, problem: Problem): TickState | null {
  const centroid = consensus !== null && consensus.groupCount === null ? consensus.centroid : null;
  if (hard === null && sinkhorn === null && centroid === null) return null;
  const { agentCount, taskCount, agentIds, taskIds, assignment, taskActive, warmStart } = problem;
  return {
    kind: kindOf(problem),
    agentCount,
    taskCount,
    agentIds,
    taskIds,
    taskOfAgent: hard?.taskOfAgent ?? null,
    taskPrices: hard === null || hard.taskPrices === null ? null : ofActive(hard.taskPrices, taskActive),
    columnPotential: sinkhorn === null ? null : ofActive(sinkhorn.columnPotential, taskActive),
    temperature: assignment?.temperature ?? 0,
    iterations: sinkhorn?.iterations ?? 0,
    marginalError: sinkhorn?.marginalError ?? 0,
    avoidance:
      sinkhorn === null || assignment === null || warmStart === null
        ? noAvoidance
        : avoidanceAfter(warmStart.avoidance, sinkhorn.iterations, assignment.iterations, sinkhorn.marginalError),
    centroid,
  };
}

/**
 * The state for this problem's agents and tasks, in O(N + M): by ids where both have them, by index where neither has and
 * N and M are the same. Null where it is of another kind, does not line up, or holds nothing for this problem.
 */
export function warmStartFor(state: TickState, problem: Problem): WarmStart | null {
  if (state.kind !== kindOf(problem)) return null;
  const tasks = placesOf(problem.taskIds, problem.taskCount, state.taskIds, state.taskCount);
  const agents = placesOf(problem.agentIds, problem.agentCount, state.agentIds, state.agentCount);
  // Without ids a changed count says that rows and columns may have moved.
  if (tasks === null || (agents === null && problem.taskIds === null)) return null;
  const allTasks = agents === null ? null : movedTasks(state, agents, tasks, problem.taskCount);
  const taskOfAgent = allTasks?.some(isTask) === true ? allTasks : null;
  const taskPrices = state.taskPrices === null ? null : moved(state.taskPrices, tasks, Float64Array);
  const columnPotential = state.columnPotential === null ? null : moved(state.columnPotential, tasks, Float32Array);
  const { consensus, responses } = problem;
  const isCentroid = consensus?.groups === null && responses !== null && state.centroid?.length === responses.columns;
  const centroid = isCentroid ? state.centroid : null;
  if (taskOfAgent === null && taskPrices === null && columnPotential === null && centroid === null) return null;
  // What another temperature took says nothing about this one.
  const isComparable =
    columnPotential !== null && Math.fround(problem.assignment?.temperature ?? 0) === Math.fround(state.temperature);
  return {
    taskOfAgent,
    taskPrices,
    columnPotential,
    iterations: isComparable ? state.iterations : 0,
    marginalError: isComparable ? state.marginalError : 0,
    avoidance: isComparable ? state.avoidance : noAvoidance,
    centroid,
  };
}

/** What lining tasks up needs of a state. */
export type TaskState = Pick<TickState, 'agentCount' | 'taskCount' | 'agentIds' | 'taskIds' | 'taskOfAgent'>;

/**
 * [N] task of this problem that each agent had in a state of whatever kind; -1: none, one that is gone, or a new agent. Null
 * where nothing was made hard or the two do not line up. May be the state's own array.
 */
export function tasksBefore(state: TaskState, problem: Problem): Int32Array | null {
  const tasks = placesOf(problem.taskIds, problem.taskCount, state.taskIds, state.taskCount);
  const agents = placesOf(problem.agentIds, problem.agentCount, state.agentIds, state.agentCount);
  return tasks === null || agents === null ? null : movedTasks(state, agents, tasks, problem.taskCount);
}

/** Equal texts: prices, potentials and centroids of one mean something to the other. */
function kindOf({ policy, assignment, utility }: Problem): string {
  const source = assignment === null ? 'none' : utility !== null ? 'given' : (policy.utility?.kind ?? 'none');
  return `${source} ${policy.name} ${policy.fingerprint.slice(0, 16)}`;
}

/** Index in the state of each member of the problem, -1: new; `same` where nothing moved. */
type Places = Int32Array | 'same';

/** Null: the two cannot be lined up. */
function placesOf(
  ids: readonly string[] | null,
  count: number,
  oldIds: readonly string[] | null,
  oldCount: number,
): Places | null {
  if (ids === null || oldIds === null) return ids === oldIds && count === oldCount ? 'same' : null;
  let common = 0;
  while (common < count && ids[common] === oldIds[common]) common++;
  if (common === count && count === oldCount) return 'same';
  const places = new Int32Array(count);
  const indexOf = new Map<string, number>();
  for (let i = common; i < oldCount; i++) indexOf.set(oldIds[i]!, i);
  for (let i = 0; i < count; i++) places[i] = i < common ? i : (indexOf.get(ids[i]!) ?? -1);
  return places;
}

/** Null where every number is unknown. */
function moved<T extends Float32Array | Float64Array>(
  old: T,
  places: Places,
  make: new (length: number) => T,
): T | null {
  if (places === 'same') return old.some(isKnown) ? old : null;
  const values = new make(places.length);
  let known = 0;
  for (let i = 0; i < places.length; i++) {
    const value = places[i]! < 0 ? NaN : old[places[i]!]!;
    values[i] = value;
    if (isKnown(value)) known++;
  }
  return known === 0 ? null : values;
}

function isKnown(value: number): boolean {
  return value === value;
}

function movedTasks(
  { taskOfAgent, taskCount }: TaskState,
  agents: Places,
  tasks: Places,
  count: number,
): Int32Array | null {
  if (taskOfAgent === null || (agents === 'same' && tasks === 'same')) return taskOfAgent;
  let newPlace: Int32Array | null = null;
  if (tasks !== 'same') {
    newPlace = new Int32Array(taskCount).fill(-1);
    for (let j = 0; j < count; j++) if (tasks[j]! >= 0) newPlace[tasks[j]!] = j;
  }
  const length = agents === 'same' ? taskOfAgent.length : agents.length;
  const result = new Int32Array(length);
  for (let i = 0; i < length; i++) {
    const before = agents === 'same' ? i : agents[i]!;
    const task = before < 0 ? -1 : taskOfAgent[before]!;
    result[i] = task < 0 || newPlace === null ? task : newPlace[task]!;
  }
  return result;
}

function isTask(task: number): boolean {
  return task >= 0;
}

/** `values` [M] with NaN at masked tasks; the same array where there are none. */
function ofActive<T extends Float32Array | Float64Array>(values: T, active: Uint8Array): T {
  if (!active.includes(0)) return values;
  const known = values.slice() as T;
  for (let j = 0; j < active.length; j++) if (active[j] === 0) known[j] = NaN;
  return known;
}
