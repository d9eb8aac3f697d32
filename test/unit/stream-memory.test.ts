/** What a stream carries from tick to tick, by ids and by index. */
import { describe, expect, it } from 'vitest';
import type { Answer, Problem } from '../../src/problem.js';
import { StreamMemory } from '../../src/stream/stream-memory.js';
import type { CoordinateRequestInput } from '../../src/wire/messages.js';
import { decode, floats } from '../request-fixtures.js';

/** A tick of `agents` x `tasks` given utilities; names are ids. */
function tick(
  agents: readonly string[] | number,
  tasks: readonly string[] | number,
  assignment: CoordinateRequestInput['assignment'] = {},
): Problem {
  const rows = typeof agents === 'number' ? agents : agents.length;
  const columns = typeof tasks === 'number' ? tasks : tasks.length;
  return decode({
    utility: floats([rows, columns]),
    operators: ['ASSIGNMENT'],
    ...(typeof agents === 'number' ? {} : { agentIds: agents }),
    ...(typeof tasks === 'number' ? {} : { taskIds: tasks }),
    assignment: { forms: ['HARD'], ...assignment },
  });
}

function answered(taskOfAgent: readonly number[] | null): Answer {
  const hard = taskOfAgent === null ? null : { taskOfAgent: Int32Array.from(taskOfAgent) };
  return { assignment: { hard, soft: null, churn: 0, warmStartUsed: false }, tick: null } as unknown as Answer;
}

/** `previous` of the next tick after one that was answered so. */
function previousAfter(before: Problem, taskOfAgent: readonly number[], next: Problem): number[] | null {
  const memory = new StreamMemory();
  memory.remember(before, answered(taskOfAgent));
  const previous = memory.carryInto(next).assignment?.previous ?? null;
  return previous === null ? null : [...previous];
}

describe('with ids', () => {
  const before = tick(['a', 'b', 'c'], ['x', 'y']);

  it('tasks follow agents and tasks that change places', () => {
    expect(previousAfter(before, [0, -1, 1], tick(['c', 'a', 'b'], ['y', 'x']))).toEqual([0, 1, -1]);
  });

  it('those who join had no task, and those who leave take nothing with them', () => {
    expect(previousAfter(before, [0, 1, -1], tick(['new', 'b'], ['x', 'y', 'z']))).toEqual([-1, 1]);
  });

  it("an agent whose task is gone had none, also where another task has the old one's place", () => {
    expect(previousAfter(before, [0, 1, -1], tick(['a', 'b', 'c'], ['y', 'new']))).toEqual([-1, 0, -1]);
  });

  it('nothing is carried over to a request without ids, whose rows may be anyone', () => {
    expect(previousAfter(before, [0, 1, -1], tick(3, 2))).toBeNull();
  });
});

describe('without ids', () => {
  it('rows and columns are who they were while there are as many', () => {
    expect(previousAfter(tick(3, 2), [1, -1, 0], tick(3, 2))).toEqual([1, -1, 0]);
  });

  it.each([
    [4, 2],
    [3, 3],
    [2, 3],
  ])('nothing is carried over to %i x %i', (agents, tasks) => {
    expect(previousAfter(tick(3, 2), [1, -1, 0], tick(agents, tasks))).toBeNull();
  });
});

it('a previous that the request brings wins', () => {
  const next = tick(2, 2, { previous: [-1, 0] });
  expect(previousAfter(tick(2, 2), [0, 1], next)).toEqual([-1, 0]);
});

it('the first tick has no previous, and is handed on as it is', () => {
  const first = tick(2, 2);
  expect(new StreamMemory().carryInto(first)).toBe(first);
});

it('a tick that makes nothing hard leaves the tasks of the one before', () => {
  const memory = new StreamMemory();
  memory.remember(tick(2, 2), answered([1, 0]));
  memory.remember(tick(2, 2), answered(null));
  expect([...memory.carryInto(tick(2, 2)).assignment!.previous!]).toEqual([1, 0]);
});

it('only the last tick is remembered: who was away for one comes back without a task', () => {
  const memory = new StreamMemory();
  memory.remember(tick(['a', 'b'], ['x', 'y']), answered([0, 1]));
  memory.remember(tick(['a'], ['x', 'y']), answered([0]));
  expect([...memory.carryInto(tick(['a', 'b'], ['x', 'y'])).assignment!.previous!]).toEqual([0, -1]);
});

it('the tasks in the warm start that the first request brings become its previous', () => {
  const warmed: Problem = {
    ...tick(2, 2),
    warmStart: { taskOfAgent: Int32Array.of(1, 0) } as unknown as NonNullable<Problem['warmStart']>,
  };
  const carried = new StreamMemory().carryInto(warmed);
  expect([...carried.assignment!.previous!]).toEqual([1, 0]);
  expect(carried.warmStart).toBe(warmed.warmStart);
});
