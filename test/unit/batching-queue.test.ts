import { describe, expect, it } from 'vitest';
import { burstMs } from '../../src/batching/fairness.js';
import {
  patienceMs,
  urgencyOf,
  WaitingRoom,
  type Party,
  type QueuedJob,
  type RoomLimits,
} from '../../src/batching/queue.js';
import type { Priority } from '../../src/problem.js';

interface NamedJob extends QueuedJob {
  readonly name: string;
}

interface Options {
  readonly priority?: Priority;
  readonly enqueuedMs?: number;
  readonly dueMs?: number;
  readonly startByMs?: number;
  readonly costMs?: number;
  readonly party?: Party;
}

function partyOf(tenant = '', bytes = 0): Party {
  return { tenant, bytes, waiting: 0, started: false, account: null };
}

function queued(name: string, options: Options = {}): NamedJob {
  const { priority = 'NORMAL', enqueuedMs = 0, dueMs = Infinity, costMs = 1, party = partyOf() } = options;
  return {
    name,
    key: 'k',
    agents: 16,
    tasks: 16,
    priority,
    enqueuedMs,
    deadlineMs: dueMs,
    dueMs,
    startByMs: options.startByMs ?? dueMs,
    urgencyMs: urgencyOf(enqueuedMs, dueMs),
    costMs,
    compiling: null,
    seat: -1,
    party,
  };
}

function roomOf(jobs: readonly NamedJob[], limits: Partial<RoomLimits> = {}): WaitingRoom<NamedJob> {
  const room = new WaitingRoom<NamedJob>({ maxQueue: 1000, ...limits });
  for (const job of jobs) room.add(job);
  return room;
}

const namesOf = (jobs: readonly NamedJob[]) => jobs.map(({ name }) => name).join(' ');
const orderOf = (room: WaitingRoom<NamedJob>) => namesOf(room.inOrder());

/** Takes jobs one by one, as an engine would that runs batches of one. */
function served(room: WaitingRoom<NamedJob>, count: number): NamedJob[] {
  return Array.from({ length: count }, () => {
    const job = room.inOrder()[0]!;
    room.take([job], job.costMs);
    return job;
  });
}

describe('order within a tenant', () => {
  it('the most urgent first, by arrival where equal', () => {
    const room = roomOf([
      queued('c', { dueMs: 30 }),
      queued('a', { dueMs: 10 }),
      queued('d', { dueMs: 30 }),
      queued('b', { dueMs: 20 }),
    ]);
    expect(orderOf(room)).toBe('a b c d');
  });

  it('without a deadline, or with a far one, as if it were one patience after arrival', () => {
    const room = roomOf([
      queued('never', { enqueuedMs: 5 }),
      queued('far', { enqueuedMs: 3, dueMs: 10 * patienceMs }),
      queued('near', { enqueuedMs: 9, dueMs: 3 + patienceMs - 1 }),
      queued('later', { enqueuedMs: 9, dueMs: 6 + patienceMs }),
    ]);
    expect(orderOf(room)).toBe('near far never later');
  });

  it('what went back stands where it stood', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name) => queued(name, { dueMs: 10 }));
    const room = roomOf([a!, b!, c!]);
    room.remove(a!);
    room.remove(b!);
    room.restore([a!, b!]);
    expect(orderOf(room)).toBe('a b c');
    expect(room.jobCount).toBe(3);
  });

  it('a higher priority first, and an eighth of the engine time for the next one while it waits', () => {
    const high = Array.from({ length: 20 }, (_, i) => queued(`h${i}`, { priority: 'HIGH', enqueuedMs: i }));
    const room = roomOf([...high, queued('n0'), queued('n1'), queued('l', { priority: 'LOW' })]);
    expect(orderOf(room).split(' ').indexOf('n0')).toBe(8);
    const names = served(room, 23).map(({ name }) => name);
    expect(names.indexOf('n0')).toBe(8);
    expect(names.indexOf('l')).toBeLessThan(20);
    expect(names.slice(0, 8)).toEqual(['h0', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'h7']);
  });
});

describe('order between tenants', () => {
  const many = (tenant: string, count: number, options: Options = {}) =>
    Array.from({ length: count }, (_, i) => queued(`${tenant}${i}`, { ...options, party: partyOf(tenant) }));
  const shareOf = (jobs: readonly NamedJob[], tenant: string) =>
    jobs.reduce((sum, { party, costMs }) => sum + (party.tenant === tenant ? costMs : 0), 0);

  it('a flood of urgent jobs gets a burst ahead of the others and then its share', () => {
    const room = roomOf([...many('a', 400, { dueMs: 1 }), ...many('b', 400, { dueMs: 2 })]);
    const first = served(room, burstMs);
    expect(shareOf(first, 'b')).toBe(0);
    const rest = served(room, 200);
    expect(Math.abs(shareOf(rest, 'a') - shareOf(rest, 'b'))).toBeLessThanOrEqual(2);
  });

  it('in proportion to weights and cost', () => {
    const weights = new Map([['a', 3]]);
    const jobs = [...many('a', 300, { costMs: 2 }), ...many('b', 300, { costMs: 5 })];
    const run = served(roomOf(jobs, { tenantWeights: weights }), 200);
    expect(Math.abs(shareOf(run, 'a') / 3 - shareOf(run, 'b'))).toBeLessThanOrEqual(burstMs + 5);
  });

  it('a tenant that was away does not save up what it did not use', () => {
    const room = roomOf(many('a', 1000));
    served(room, 500);
    for (const job of many('b', 400)) room.add(job);
    const rest = served(room, 300);
    expect(shareOf(rest, 'a')).toBeGreaterThan(100);
    expect(shareOf(rest, 'b')).toBeGreaterThan(100);
  });

  it('a high priority is worth nothing beyond the share of its tenant', () => {
    const room = roomOf([...many('a', 400, { priority: 'HIGH' }), ...many('b', 400, { priority: 'LOW' })]);
    served(room, burstMs);
    const rest = served(room, 200);
    expect(Math.abs(shareOf(rest, 'a') - shareOf(rest, 'b'))).toBeLessThanOrEqual(2);
  });
});

describe('what is ahead of a newcomer', () => {
  const newcomer = { tenant: '', priority: 'NORMAL', urgencyMs: 20 } as const;

  it('is the cost of what goes before it', () => {
    const room = roomOf([
      queued('a', { dueMs: 10, costMs: 3 }),
      queued('b', { dueMs: 30, costMs: 5 }),
      queued('h', { priority: 'HIGH', dueMs: 900, costMs: 7 }),
    ]);
    expect(room.aheadMs(newcomer)).toBe(10);
    expect(room.aheadMs({ ...newcomer, urgencyMs: 40 })).toBe(15);
    expect(room.aheadMs({ ...newcomer, priority: 'HIGH' })).toBe(0);
    room.remove(room.inOrder()[0]!);
    expect(room.aheadMs({ ...newcomer, urgencyMs: 40 })).toBe(8);
  });

  it('is no more than another tenant may go ahead', () => {
    const flood = Array.from({ length: 500 }, (_, i) => queued(`a${i}`, { dueMs: 10, party: partyOf('a') }));
    const room = roomOf(flood);
    expect(room.aheadMs({ ...newcomer, tenant: 'a' })).toBe(500);
    expect(room.aheadMs({ ...newcomer, tenant: 'b' })).toBe(burstMs);
  });
});

describe('the bounds', () => {
  const newcomer = { tenant: '', priority: 'NORMAL', urgencyMs: 50, bytes: 0 } as const;

  it('count submissions, not jobs', () => {
    const party = partyOf();
    const jobs = [queued('a', { party }), queued('b', { party })];
    const room = roomOf(jobs, { maxQueue: 1 });
    expect([room.depth, room.jobCount]).toEqual([1, 2]);
    room.remove(jobs[0]!);
    room.remove(jobs[0]!);
    expect([room.depth, room.jobCount]).toEqual([1, 1]);
    expect(room.wouldDisplace({ ...newcomer, urgencyMs: Infinity })).toBeNull();
    room.remove(jobs[1]!);
    expect([room.depth, room.jobCount]).toEqual([0, 0]);
    expect(room.wouldDisplace(newcomer)).toEqual([]);
  });

  it('count bytes, and let one that is too large wait alone', () => {
    const large = queued('large', { dueMs: 10, party: partyOf('', 200) });
    const room = new WaitingRoom<NamedJob>({ maxQueue: 10, maxQueueBytes: 100 });
    expect(room.wouldDisplace({ ...newcomer, bytes: 200 })).toEqual([]);
    room.add(large);
    expect(room.bytes).toBe(200);
    expect(room.wouldDisplace({ ...newcomer, bytes: 1 })).toBeNull();
    room.remove(large);
    expect(room.bytes).toBe(0);
    room.add(queued('small', { dueMs: 10, party: partyOf('', 60) }));
    expect(room.wouldDisplace({ ...newcomer, bytes: 40 })).toEqual([]);
    expect(room.wouldDisplace({ ...newcomer, bytes: 41 })).toBeNull();
  });

  it('let a more urgent or higher newcomer take the place of the last one', () => {
    const jobs = [queued('a', { dueMs: 10 }), queued('b', { dueMs: 60 }), queued('c', { dueMs: 70 })];
    const room = roomOf(jobs, { maxQueue: 3 });
    expect(room.wouldDisplace(newcomer)).toEqual([jobs[2]!.party]);
    expect(room.wouldDisplace({ ...newcomer, urgencyMs: 70 })).toBeNull();
    expect(room.wouldDisplace({ ...newcomer, urgencyMs: 900, priority: 'HIGH' })).toEqual([jobs[2]!.party]);
    expect(room.wouldDisplace({ ...newcomer, urgencyMs: 1, priority: 'LOW' })).toBeNull();
  });

  it('take the place from the tenant that holds most for its weight', () => {
    const jobs = ['a', 'a', 'a', 'b'].map((tenant, i) => queued(`${i}`, { dueMs: i, party: partyOf(tenant) }));
    const room = roomOf(jobs, { maxQueue: 4 });
    const late = { ...newcomer, urgencyMs: 900 };
    expect(room.wouldDisplace({ ...late, tenant: 'c' })).toEqual([jobs[2]!.party]);
    expect(room.wouldDisplace({ ...late, tenant: 'b' })).toEqual([jobs[2]!.party]);
    expect(room.wouldDisplace({ ...late, tenant: 'a' })).toBeNull();
    const weighted = roomOf(
      jobs.map((job) => ({ ...job, party: partyOf(job.party.tenant) })),
      {
        maxQueue: 4,
        tenantWeights: new Map([['a', 9]]),
      },
    );
    expect(weighted.wouldDisplace({ ...late, tenant: 'b' })).toBeNull();
  });

  it('never take the place from a submission that has begun', () => {
    const jobs = [queued('a', { dueMs: 60 }), queued('b', { dueMs: 70, party: { ...partyOf(), started: true } })];
    expect(roomOf(jobs, { maxQueue: 2 }).wouldDisplace(newcomer)).toEqual([jobs[0]!.party]);
  });
});

describe('the latest begin', () => {
  it('is known as jobs come and go', () => {
    const room = roomOf([]);
    expect(room.earliestStartByMs).toBe(Infinity);
    const [a, b, c] = [30, 10, 20].map((startByMs) => queued('j', { dueMs: 50, startByMs }));
    room.add(a!);
    room.add(b!);
    expect(room.earliestStartByMs).toBe(10);
    room.remove(b!);
    room.add(c!);
    expect(room.earliestStartByMs).toBe(20);
    room.remove(c!);
    expect(room.earliestStartByMs).toBe(30);
    room.remove(a!);
    expect(room.earliestStartByMs).toBe(Infinity);
  });
});
