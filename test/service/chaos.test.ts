/** A short part of `npm run chaos`: real servers, killed and abused under load, and every answer checked. */
import { afterAll, expect, test } from 'vitest';
import { badPolicyFiles } from '../chaos/disk.js';
import { clockJump } from '../chaos/ending.js';
import { workerFault } from '../chaos/engine-faults.js';
import { runScenario } from '../chaos/main.js';
import { knownCalls } from '../chaos/known-answers.js';
import { growthIn } from '../chaos/soak.js';
import { killAll } from '../chaos/server.js';

afterAll(killAll);

/** Far above what they take: start-ups of processes on a busy machine. */
const limitMs = 180_000;

test.each([clockJump, workerFault('exit', false), badPolicyFiles])(
  '$name: $promise',
  async (scenario) => {
    const { failed, seen, wrong, checked } = await runScenario(scenario, null);
    expect(failed, seen).toBe(false);
    expect(wrong).toBe(0);
    expect(checked).toBeGreaterThan(0);
  },
  limitMs,
);

test('the known answers tell a wrong one', () => {
  expect(knownCalls.length).toBeGreaterThan(12);
  const answer = { requestId: 'small-0', assignment: { taskOfAgent: [0, 1], objective: 0 } };
  expect(knownCalls[0]!.mistake(answer)).not.toBeNull();
  expect(knownCalls[0]!.mistake({ ...answer, requestId: 'small-1' })).toBe('the answer to small-1');
});

test('a soak sees what grows, and no growth where there is none', () => {
  const sample = { rssMb: 200, heapMb: 30, externalMb: 10, files: 40, resources: 20, deviceObjects: 9, lagMs: 1 };
  const samples = Array.from({ length: 24 }, (_, i) => ({ ...sample, atSeconds: i, rssMb: 200 + (i % 2) }));
  expect(growthIn(samples)).toEqual([]);
  expect(growthIn(samples.map((each, i) => ({ ...each, rssMb: 200 + 5 * i })))).toEqual([
    'rssMb grew from 245.0 to 305.0',
  ]);
  expect(growthIn(samples.map((each, i) => ({ ...each, files: 40 + i, deviceObjects: 9 + i })))).toHaveLength(2);
});
