import { describe, expect, it } from 'vitest';
import type { JobTensor } from '../../src/batching/job.js';
import { medoidCandidates } from '../../src/operators/signature.js';
import { jobOf } from '../../src/planning/job-inputs.js';
import { specOf, withAllIterations } from '../../src/planning/spec.js';
import type { Problem } from '../../src/problem.js';
import type { CoordinateRequestInput } from '../../src/wire/messages.js';
import { noAvoidance } from '../../src/warm-iterations.js';
import { encodeTickState, type TickParts, type TickState, tickStateOf, warmStartFor } from '../../src/warm-start.js';
import { base, booleans, decode, floats } from '../request-fixtures.js';

const named: CoordinateRequestInput = { ...base, agentIds: ['a', 'b', 'c'], taskIds: ['x', 'y'] };
const parts: TickParts = {
  hard: { taskOfAgent: Int32Array.of(1, -1, 0), taskPrices: Float64Array.of(0.5, 2) },
  sinkhorn: { columnPotential: Float32Array.of(-1, 3), iterations: 50, marginalError: 2 ** -20 },
  consensus: { centroid: Float32Array.of(1, 2, 3), groupCount: null },
};

function stateOf(request: CoordinateRequestInput, given: TickParts = parts): TickState {
  const state = tickStateOf(given, decode(request));
  if (state === null) throw new Error('nothing to carry over');
  return state;
}

const bytesOf = (request: CoordinateRequestInput, given: TickParts = parts) => encodeTickState(stateOf(request, given));

/** With `warm_start` in it, as a caller sends it back. */
function returned(request: CoordinateRequestInput, warmStart: Uint8Array): Problem {
  return decode({ ...request, assignment: { ...request.assignment, warmStart } });
}

describe('a tick state', () => {
  it('is nothing where nothing was found', () => {
    expect(tickStateOf({ hard: null, sinkhorn: null, consensus: null }, decode(base))).toBeNull();
  });

  it('forgets the numbers of masked tasks, which mean nothing once they are back', () => {
    const state = stateOf({ ...named, taskMask: booleans([2], [0, 1]) });
    expect([...state.taskPrices!]).toEqual([NaN, 2]);
    expect([...state.columnPotential!]).toEqual([NaN, 3]);
    expect([...parts.hard!.taskPrices!]).toEqual([0.5, 2]);
  });

  it('has no centroid where the consensus was in groups', () => {
    const grouped = { ...parts, consensus: { centroid: Float32Array.of(1, 2, 3), groupCount: 1 } };
    expect(stateOf(named, grouped).centroid).toBeNull();
  });
});

describe('a warm start', () => {
  it('follows the ids of agents and tasks that come, go and change places', () => {
    const now = {
      ...named,
      agents: floats([4, 3]),
      tasks: floats([3, 2]),
      agentIds: ['c', 'new', 'a', 'b'],
      taskIds: ['y', 'new', 'x'],
    };
    const warm = warmStartFor(stateOf(named), decode(now))!;
    expect([...warm.taskOfAgent!]).toEqual([2, -1, 0, -1]);
    expect([...warm.taskPrices!]).toEqual([2, NaN, 0.5]);
    expect([...warm.columnPotential!]).toEqual([3, NaN, -1]);
    expect([...warm.centroid!]).toEqual([1, 2, 3]);
    expect(warm.iterations).toBe(50);
  });

  it('goes by index without ids, while there are as many', () => {
    const state = stateOf(base);
    expect([...warmStartFor(state, decode(base))!.taskPrices!]).toEqual([0.5, 2]);
    expect(warmStartFor(state, decode({ ...base, agents: floats([4, 3]) }))).toBeNull();
    expect(warmStartFor(state, decode({ ...base, tasks: floats([3, 2]) }))).toBeNull();
    expect(warmStartFor(state, decode(named))).toBeNull();
    expect(warmStartFor(stateOf(named), decode(base))).toBeNull();
  });

  it('of another policy, or of a utility from elsewhere, is foreign', () => {
    const state = stateOf(named);
    expect(warmStartFor(state, decode({ ...named, policy: 'bilinear' }))).toBeNull();
    const { tasks, ...rest } = named;
    expect(tasks).toBeDefined();
    expect(warmStartFor(state, decode({ ...rest, utility: floats([3, 2]) }))).toBeNull();
  });

  it('says nothing of how many iterations another temperature needs', () => {
    const warm = warmStartFor(stateOf(named), decode({ ...named, assignment: { temperature: 2 } }))!;
    expect(warm.iterations).toBe(0);
    expect([...warm.columnPotential!]).toEqual([-1, 3]);
  });

  it('comes with a request as it left with an answer', () => {
    const { warmStart } = returned(named, bytesOf(named));
    expect(warmStart).toEqual(warmStartFor(stateOf(named), decode(named)));
    expect(returned(named, bytesOf(named)).assignment!.previous).toBeNull();
  });

  it('that was cut, changed or is foreign leaves the problem as if there were none', () => {
    const cold = decode(named);
    const sent = bytesOf(named);
    const changed = sent.slice();
    changed[60]! ^= 1;
    const foreign = bytesOf({ ...named, policy: 'bilinear' });
    for (const bytes of [sent.subarray(0, -1), changed, foreign, Uint8Array.of(1, 2, 3), new Uint8Array(5000)]) {
      expect(returned(named, bytes)).toEqual(cold);
    }
  });
});

describe('a warm problem', () => {
  const soft = { ...named, assignment: { forms: ['TOP_K'], temperature: 0.5 } } satisfies CoordinateRequestInput;
  const inputsOf = (problem: Problem): ReadonlyMap<string, JobTensor> =>
    jobOf(problem, specOf(problem, { exactBudgetMs: null })!).inputs;
  const startOf = (problem: Problem) => [...inputsOf(problem).get('initial_column_potential')!.data];
  const warmed = (columnPotential: Float32Array, request: CoordinateRequestInput = soft) => {
    const sinkhorn = { columnPotential, iterations: 50, marginalError: 1e-6 };
    return returned(request, bytesOf(request, { ...parts, sinkhorn }));
  };

  it('starts at 0 where it is cold, runs all iterations and claims nothing', () => {
    const problem = decode(soft);
    const spec = specOf(problem, { exactBudgetMs: null })!;
    expect(startOf(problem)).toEqual([0, 0]);
    expect(spec.soft!.iterations).toBe(problem.assignment!.iterations);
    expect(jobOf(problem, spec).warmStartUsed).toBe(false);
  });

  it('starts with its largest potential at 0, new tasks at the mean of the known ones', () => {
    expect(startOf(warmed(Float32Array.of(-1, 3)))).toEqual([-4, 0]);
    const three = { ...soft, tasks: floats([3, 2]), taskIds: ['y', 'new', 'x'] };
    const sent = bytesOf(soft, parts);
    expect(startOf(returned(three, sent))).toEqual([0, -2, -4]);
  });

  it('runs fewer iterations where the last tick needed fewer, all where it is said that they must be', () => {
    const problem = warmed(Float32Array.of(-1, 3));
    const spec = specOf(problem, { exactBudgetMs: null })!;
    expect(spec.soft!.iterations).toBe(20);
    expect(withAllIterations(spec, problem).soft!.iterations).toBe(50);
    expect(withAllIterations(specOf(decode(soft), { exactBudgetMs: null })!, decode(soft)).soft!.iterations).toBe(50);
  });

  it('is cold where the scaling form would not bear its start', () => {
    const { tasks, ...rest } = soft;
    expect(tasks).toBeDefined();
    const request = { ...rest, utility: floats([3, 2]) };
    const near = warmed(Float32Array.of(0, -19), request);
    expect(specOf(near, { exactBudgetMs: null })!.soft!.form).toBe('scaling');
    expect(startOf(near)).toEqual([0, -19]);
    for (const far of [-21, -1e30]) {
      const problem = warmed(Float32Array.of(0, far), request);
      const spec = specOf(problem, { exactBudgetMs: null })!;
      expect(startOf(problem)).toEqual([0, 0]);
      expect(spec.soft!.iterations).toBe(problem.assignment!.iterations);
      const withoutCentroid = { ...problem, warmStart: { ...problem.warmStart!, centroid: null } };
      expect(jobOf(withoutCentroid, spec).warmStartUsed).toBe(false);
    }
  });

  it('offers the last centroid as the last candidate, and leaves the others as they are', () => {
    const cold = inputsOf(decode(soft)).get('candidates')!.data;
    const warm = inputsOf(warmed(Float32Array.of(0, 0))).get('candidates')!.data;
    const others = 3 * (medoidCandidates - 1);
    expect([...warm.subarray(0, others)]).toEqual([...cold.subarray(0, others)]);
    expect([...warm.subarray(others)]).toEqual([1, 2, 3]);
    const mean = { ...soft, consensus: { start: 'MEAN' } } satisfies CoordinateRequestInput;
    expect(inputsOf(warmed(Float32Array.of(0, 0), mean)).has('candidates')).toBe(false);
  });

  it('remembers a count that missed', () => {
    const problem = warmed(Float32Array.of(-1, 3));
    const missed = { columnPotential: Float32Array.of(0, 1), iterations: 20, marginalError: 0.5 };
    expect(tickStateOf({ ...parts, sinkhorn: missed }, problem)!.avoidance.iterations).toBe(20);
    expect(tickStateOf({ ...parts, sinkhorn: missed }, decode(soft))!.avoidance).toEqual(noAvoidance);
  });
});
