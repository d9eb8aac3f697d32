/**
 * What the order of service promises, whatever arrives: shares of tenants, urgency, no starvation. Jobs are served one by one from the waiting room, in virtual
 * time, as by an engine that takes as long as they cost. A failing case prints its seed and the shrunk scenario.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { burstMs } from '../../src/batching/fairness.js';
import { patienceMs, urgencyOf, WaitingRoom, type QueuedJob } from '../../src/batching/queue.js';
import type { Priority } from '../../src/problem.js';

const dearestMs = 20;

const arrivals = fc.record({
  tenant: fc.constantFrom<string>('a', 'b', 'c'),
  priority: fc.constantFrom<Priority>('LOW', 'NORMAL', 'HIGH'),
  dueInMs: fc.constantFrom(1, 20, 50, 200, 5000, Infinity),
  costMs: fc.double({ min: 0.1, max: dearestMs, noNaN: true }),
  gapMs: fc.constantFrom(0, 0, 0, 1, 5, 40),
});
type Arrival = typeof arrivals extends fc.Arbitrary<infer A> ? A : never;

const weights = fc.record({ a: fc.integer({ min: 1, max: 5 }), b: fc.integer({ min: 1, max: 5 }) });

function jobOf({ tenant, priority, dueInMs, costMs }: Arrival, nowMs: number): QueuedJob {
  const dueMs = nowMs + dueInMs;
  return {
    key: 'k',
    agents: 16,
    tasks: 16,
    priority,
    enqueuedMs: nowMs,
    deadlineMs: dueMs,
    dueMs,
    startByMs: dueMs,
    urgencyMs: urgencyOf(nowMs, dueMs),
    compiling: null,
    seat: -1,
    costMs,
    party: { tenant, bytes: 1, waiting: 0, started: false, account: null },
  };
}

describe('the order of service', () => {
  it('gives tenants that always wait engine time by their weights, whatever priorities and deadlines they claim', () => {
    fc.assert(
      fc.property(fc.array(arrivals, { minLength: 3, maxLength: 30 }), weights, (kinds, { a, b }) => {
        const weightOf: Record<string, number> = { a, b, c: 1 };
        const room = new WaitingRoom<QueuedJob>({ maxQueue: 1e6, tenantWeights: new Map(Object.entries({ a, b })) });
        const waiting: Record<string, number> = { a: 0, b: 0, c: 0 };
        const gotMs: Record<string, number> = { a: 0, b: 0, c: 0 };
        let next = 0;
        let nowMs = 0;
        const refill = (tenant: string): void => {
          room.add(jobOf({ ...kinds[next++ % kinds.length]!, tenant }, nowMs));
          waiting[tenant]!++;
        };
        for (const tenant of ['a', 'b', 'c']) for (let i = 0; i < 4; i++) refill(tenant);
        for (let served = 0; served < 300; served++) {
          const job = room.inOrder()[0]!;
          const { tenant } = job.party;
          room.take([job], job.costMs);
          nowMs += job.costMs;
          gotMs[tenant]! += job.costMs;
          refill(tenant);
          const virtualMs = ['a', 'b', 'c'].map((each) => gotMs[each]! / weightOf[each]!);
          expect(Math.max(...virtualMs) - Math.min(...virtualMs)).toBeLessThanOrEqual(burstMs + dearestMs + 1e-6);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('is by urgency within a tenant and priority, and holds every job that waits exactly once', () => {
    fc.assert(
      fc.property(fc.array(arrivals, { maxLength: 60 }), fc.infiniteStream(fc.boolean()), (all, leaves) => {
        const room = new WaitingRoom<QueuedJob>({ maxQueue: 1e6 });
        const waiting = new Set<QueuedJob>();
        let nowMs = 0;
        for (const arrival of all) {
          nowMs += arrival.gapMs;
          const job = jobOf(arrival, nowMs);
          room.add(job);
          waiting.add(job);
          if (leaves.next().value === true) {
            const [first] = room.inOrder();
            room.take([first!], first!.costMs);
            waiting.delete(first!);
          }
          const order = room.inOrder();
          expect(order).toHaveLength(waiting.size);
          expect(new Set(order)).toEqual(waiting);
          expect(room.bytes).toBe(waiting.size);
          const last = new Map<string, number>();
          for (const { party, priority, urgencyMs } of order) {
            const line = `${party.tenant} ${priority}`;
            expect(urgencyMs).toBeGreaterThanOrEqual(last.get(line) ?? -Infinity);
            last.set(line, urgencyMs);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('lets a job without a deadline wait no longer than its patience and what came before, in any flood', () => {
    const flood = fc.array(arrivals, { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(flood, fc.constantFrom<Priority>('LOW', 'NORMAL', 'HIGH'), (kinds, priority) => {
        const room = new WaitingRoom<QueuedJob>({ maxQueue: 1e6 });
        const patient = jobOf({ tenant: 'a', priority, dueInMs: Infinity, costMs: dearestMs, gapMs: 0 }, 0);
        room.add(patient);
        let next = 0;
        let nowMs = 0;
        // At most three tenants and three priorities, each lower one with an eighth: a 24th of the time at the least, and a 192nd for the lowest.
        const boundMs = (patienceMs + 60 * dearestMs) * 3 * 8 * 8;
        for (;;) {
          // More than can be served: two come for each that goes.
          for (let i = 0; i < 2 && room.jobCount < 40; i++) room.add(jobOf(kinds[next++ % kinds.length]!, nowMs));
          const job = room.inOrder()[0]!;
          if (job === patient) break;
          room.take([job], job.costMs);
          nowMs += job.costMs;
          expect(nowMs).toBeLessThan(boundMs);
        }
      }),
      { numRuns: 20 },
    );
  });
});
