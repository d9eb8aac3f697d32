import { describe, expect, it } from 'vitest';
import { headStartMs } from '../../src/batching/policy.js';
import { WaitingRoom, type Party, type QueuedJob } from '../../src/batching/queue.js';
import type { Priority } from '../../src/problem.js';

function queued(
  enqueuedMs: number,
  priority: Priority,
  party: Party = { waiting: 0 },
  deadlineMs = Infinity,
): QueuedJob {
  return { key: 'k', agents: 16, tasks: 16, priority, enqueuedMs, deadlineMs, compiling: null, party };
}

describe('the waiting room', () => {
  it('gives jobs in order of arrival less the head start of their priority', () => {
    const room = new WaitingRoom(10);
    const low = queued(0, 'LOW');
    const normal = queued(1, 'NORMAL');
    const high = queued(2, 'HIGH');
    const lateHigh = queued(1 + headStartMs, 'HIGH');
    const laterHigh = queued(2 + 2 * headStartMs, 'HIGH');
    for (const job of [low, normal, high, lateHigh, laterHigh]) room.add(job);
    expect(room.inOrder()).toEqual([high, lateHigh, normal, low, laterHigh]);
    room.remove(high);
    expect(room.inOrder()).toEqual([lateHigh, normal, low, laterHigh]);
  });

  it('keeps jobs of equal rank in order of arrival', () => {
    const room = new WaitingRoom(10);
    const jobs = [queued(5, 'NORMAL'), queued(5, 'NORMAL'), queued(5, 'NORMAL'), queued(5, 'LOW')];
    for (const job of jobs) room.add(job);
    const ordered = room.inOrder();
    expect(ordered.every((job, i) => job === jobs[i])).toBe(true);
  });

  it('counts submissions, not jobs, and is full at its limit', () => {
    const room = new WaitingRoom(2);
    const party = { waiting: 0 };
    const jobs = [queued(0, 'LOW', party), queued(0, 'LOW', party)];
    for (const job of jobs) room.add(job);
    expect([room.depth, room.jobCount, room.isFull]).toEqual([1, 2, false]);
    const other = queued(1, 'HIGH');
    room.add(other);
    expect([room.depth, room.jobCount, room.isFull]).toEqual([2, 3, true]);
    room.remove(jobs[0]!);
    room.remove(jobs[0]!);
    expect([room.depth, room.jobCount, room.isFull]).toEqual([2, 2, true]);
    room.remove(jobs[1]!);
    expect([room.depth, room.jobCount, room.isFull]).toEqual([1, 1, false]);
  });

  it('knows the earliest deadline as jobs come and go', () => {
    const room = new WaitingRoom(10);
    expect(room.earliestDeadlineMs).toBe(Infinity);
    const [a, b, c] = [30, 10, 20].map((deadlineMs) => queued(0, 'NORMAL', { waiting: 0 }, deadlineMs));
    room.add(a!);
    room.add(b!);
    expect(room.earliestDeadlineMs).toBe(10);
    room.remove(b!);
    room.add(c!);
    expect(room.earliestDeadlineMs).toBe(20);
    room.remove(c!);
    expect(room.earliestDeadlineMs).toBe(30);
    room.remove(a!);
    expect(room.earliestDeadlineMs).toBe(Infinity);
  });
});
