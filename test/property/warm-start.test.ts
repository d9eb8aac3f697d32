import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Problem } from '../../src/problem.js';
import { decodeTickState, encodeTickState, type TickState, tickStateOf, warmStartFor } from '../../src/warm-start.js';
import { decode, floats } from '../request-fixtures.js';

// fast-check prints the seed and the shrunk example of a failure.
const real = fc.float({ noNaN: true, noDefaultInfinity: true });
const price = fc.float({ noNaN: true, noDefaultInfinity: true, min: 0 });
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null });
const reals = (length: number, of = real) => fc.array(of, { minLength: length, maxLength: length });
const id = fc.oneof(fc.string({ maxLength: 6 }), fc.string({ unit: 'grapheme', maxLength: 4 }));
const ids = (length: number) => fc.uniqueArray(id, { minLength: length, maxLength: length });
const unknown = fc.oneof({ weight: 4, arbitrary: price }, { weight: 1, arbitrary: fc.constant(NaN) });

const state: fc.Arbitrary<TickState> = fc
  .record({ agentCount: fc.integer({ min: 1, max: 7 }), taskCount: fc.integer({ min: 0, max: 7 }) })
  .chain(({ agentCount, taskCount }) =>
    fc.record({
      kind: fc.string({ unit: 'grapheme', maxLength: 20 }),
      agentCount: fc.constant(agentCount),
      taskCount: fc.constant(taskCount),
      agentIds: maybe(ids(agentCount)),
      taskIds: maybe(ids(taskCount)),
      taskOfAgent: maybe(reals(agentCount, fc.integer({ min: -1, max: taskCount - 1 })).map((x) => Int32Array.from(x))),
      taskPrices: maybe(reals(taskCount, unknown).map((x) => Float64Array.from(x))),
      columnPotential: maybe(reals(taskCount, fc.oneof(real, fc.constant(NaN))).map((x) => Float32Array.from(x))),
      temperature: price,
      iterations: fc.integer({ min: 0, max: 1000 }),
      marginalError: price,
      avoidance: fc.record({ iterations: fc.integer({ min: 0, max: 1000 }), ticks: fc.integer({ min: 0, max: 50 }) }),
      centroid: maybe(
        fc
          .array(fc.float({ noNaN: true, min: Math.fround(-9e14), max: Math.fround(9e14) }), { maxLength: 5 })
          .map((x) => Float32Array.from(x)),
      ),
    }),
  );

/** At some place of other memory, as a message's bytes are. */
function placed(bytes: Uint8Array, offset: number): Uint8Array {
  const memory = new Uint8Array(bytes.length + offset + 3).fill(255);
  memory.set(bytes, offset);
  return memory.subarray(offset, offset + bytes.length);
}

describe('the bytes of a tick state', () => {
  it('are read as what was written, wherever they lie', () => {
    fc.assert(
      fc.property(state, fc.integer({ min: 0, max: 7 }), (written, offset) => {
        expect(decodeTickState(placed(encodeTickState(written), offset))).toEqual(written);
      }),
    );
  });

  it('are nothing where any are missing or too many', () => {
    fc.assert(
      fc.property(state, fc.uint8Array({ minLength: 1, maxLength: 9 }), (written, more) => {
        const bytes = encodeTickState(written);
        for (let length = 0; length < bytes.length; length++) {
          expect(decodeTickState(bytes.subarray(0, length))).toBeNull();
        }
        expect(decodeTickState(Buffer.concat([bytes, more]))).toBeNull();
      }),
      { numRuns: 40 },
    );
  });

  it('are nothing where a bit of them is another', () => {
    fc.assert(
      fc.property(state, fc.nat(), fc.integer({ min: 0, max: 7 }), (written, at, bit) => {
        const bytes = encodeTickState(written);
        bytes[at % bytes.length]! ^= 1 << bit;
        expect(decodeTickState(bytes)).toBeNull();
      }),
      { numRuns: 300 },
    );
  });

  it('never throw, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(decodeTickState(bytes)).toBeNull();
      }),
    );
  });
});

const names = (length: number) =>
  fc.shuffledSubarray(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'], { minLength: 1, maxLength: length });

function problemOf(agentIds: readonly string[], taskIds: readonly string[]): Problem {
  const agents = floats([agentIds.length, 3]);
  return decode({ agents, tasks: floats([taskIds.length, 2]), agentIds: [...agentIds], taskIds: [...taskIds] });
}

describe('lining up', () => {
  it('gives every agent and task what its id had, and new ones nothing, through the bytes as well', () => {
    fc.assert(
      fc.property(names(8), names(8), names(8), names(8), fc.nat(), (agents, tasks, agentsNow, tasksNow, salt) => {
        // What a member has is told by its name, so that it can be told again after any change of places.
        const taskIndexOf = (agent: string) => ((agent.charCodeAt(0) + salt) % (tasks.length + 1)) - 1;
        const priceOf = (task: string) => task.charCodeAt(0) + 0.5;
        const hard = {
          taskOfAgent: Int32Array.from(agents, taskIndexOf),
          taskPrices: Float64Array.from(tasks, priceOf),
        };
        const columnPotential = Float32Array.from(tasks, (task) => -priceOf(task));
        const sinkhorn = { columnPotential, iterations: 20, marginalError: 0 };
        const before = tickStateOf({ hard, sinkhorn, consensus: null }, problemOf(agents, tasks))!;
        const problem = problemOf(agentsNow, tasksNow);
        const warm = warmStartFor(before, problem);
        expect(warmStartFor(decodeTickState(encodeTickState(before))!, problem)).toEqual(warm);
        const prices = tasksNow.map((task) => (tasks.includes(task) ? priceOf(task) : NaN));
        if (prices.every(Number.isNaN)) {
          expect(warm).toBeNull();
          return;
        }
        expect([...warm!.taskPrices!]).toEqual(prices);
        expect([...warm!.columnPotential!]).toEqual(prices.map((value) => -value));
        const places = agentsNow.map((agent) => {
          const task = agents.includes(agent) ? tasks[taskIndexOf(agent)] : undefined;
          return task === undefined ? -1 : tasksNow.indexOf(task);
        });
        expect(warm!.taskOfAgent === null ? places.map(() => -1) : [...warm!.taskOfAgent]).toEqual(places);
      }),
      { numRuns: 300 },
    );
  });
});
