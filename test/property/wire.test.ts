import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CoordinatorError } from '../../src/errors.js';
import type { CoordinateRequestInput, DTypeName, TensorInput } from '../../src/wire/messages.js';
import { decodeRequest } from '../../src/wire/request.js';
import { decodeTensor, encodeTensor } from '../../src/wire/tensor.js';
import { base, floats, limits, policies } from '../request-fixtures.js';
import { coordinateMethod, requestFromBytes } from '../wire-codec.js';

// fast-check prints the seed and the shrunk example of a failure.
const float = fc.float({ noDefaultInfinity: false });
const byteOffset = fc.integer({ min: 0, max: 7 });

/** The bytes at the given offset of fresh memory. */
function placed(bytes: Uint8Array, offset: number): Buffer {
  const memory = new ArrayBuffer(bytes.length + offset);
  const buffer = Buffer.from(memory, offset, bytes.length);
  buffer.set(bytes);
  return buffer;
}

describe('tensors', () => {
  it('come back as they were sent, at every byte offset', () => {
    const arrays = fc.oneof(
      fc.float32Array({ minLength: 1, maxLength: 40 }),
      fc.int32Array({ minLength: 1, maxLength: 40 }),
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
    );
    fc.assert(
      fc.property(arrays, byteOffset, (array, offset) => {
        const message = encodeTensor(array, [array.length]);
        const decoded = decodeTensor('t', { ...message, data: placed(message.data, offset) });
        expect(decoded.data).toEqual(array);
        expect(decoded.shape).toEqual([array.length]);
      }),
    );
  });

  it('come back as they were sent where they are sent as values', () => {
    fc.assert(
      fc.property(fc.float32Array({ minLength: 1, maxLength: 40 }), (array) => {
        expect(decodeTensor('t', encodeTensor(array, [array.length], true)).data).toEqual(array);
      }),
    );
  });

  it('of FLOAT64 are narrowed as Math.fround does, at every byte offset', () => {
    fc.assert(
      fc.property(fc.float64Array({ minLength: 1, maxLength: 20 }), byteOffset, (array, offset) => {
        const data = placed(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), offset);
        const message = { dtype: 'FLOAT64' as const, shape: [String(array.length)], data, values: [] };
        expect(Array.from(decodeTensor('t', message).data)).toEqual(Array.from(array, Math.fround));
      }),
    );
  });

  it('of FLOAT16 are what their three parts say, at every byte offset', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff }), byteOffset, (half, offset) => {
        const data = placed(Uint8Array.of(half & 255, half >> 8), offset);
        const value = decodeTensor('t', { dtype: 'FLOAT16', shape: ['1'], data, values: [] }).data[0]!;
        const sign = half >> 15 === 1 ? -1 : 1;
        const exponent = (half >> 10) & 31;
        const fraction = (half & 1023) / 1024;
        if (exponent === 31) expect(value).toBe(fraction === 0 ? sign * Infinity : NaN);
        else expect(value).toBe(sign * 2 ** (Math.max(exponent, 1) - 15) * (fraction + Math.sign(exponent)));
      }),
    );
  });
});

/** What a decode makes of bytes: accepted, no message at all, or refused by name. Anything else is thrown on. */
function outcomeOf(bytes: Buffer): 'accepted' | 'unreadable' | CoordinatorError {
  let message;
  try {
    message = requestFromBytes(bytes);
  } catch {
    return 'unreadable';
  }
  try {
    decodeRequest(message, { policies, limits });
    return 'accepted';
  } catch (error) {
    if (error instanceof CoordinatorError) return error;
    throw error;
  }
}

const dtype = fc.constantFrom<DTypeName | number>('FLOAT32', 'FLOAT64', 'FLOAT16', 'INT32', 'UINT8', 17);
const length = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 1, max: 4 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, -1, 2 ** 53, 6000) },
);
const tensor: fc.Arbitrary<TensorInput> = fc.oneof(
  fc
    .tuple(length, length)
    .chain(([rows, columns]) =>
      rows * columns > 0 && rows * columns <= 16
        ? fc
            .array(float, { minLength: rows * columns, maxLength: rows * columns })
            .map((values) => ({ shape: [rows, columns], values }))
        : fc.constant({ shape: [rows, columns] }),
    ),
  fc.record({ dtype, shape: fc.array(length, { maxLength: 3 }), data: fc.uint8Array({ maxLength: 64 }) }),
  fc.record({ dtype, shape: fc.array(length, { maxLength: 3 }), values: fc.array(float, { maxLength: 9 }) }),
) as fc.Arbitrary<TensorInput>;

const small = fc.integer({ min: 0, max: 5 });
const signed = fc.integer({ min: -3, max: 5 });
const some = <T>(item: fc.Arbitrary<T>) => fc.array(item, { maxLength: 4 });
const request: fc.Arbitrary<CoordinateRequestInput> = fc.record(
  {
    requestId: fc.string(),
    policy: fc.constantFrom('', 'reference', 'projecting', 'bilinear', 'nobody', '__proto__'),
    agents: tensor,
    tasks: tensor,
    utility: tensor,
    responses: tensor,
    agentIds: some(fc.string()),
    taskIds: some(fc.string()),
    agentMask: tensor,
    taskMask: tensor,
    operators: some(small),
    projection: fc.record({ resourceMax: some(float), budget: some(float) }),
    assignment: fc.record(
      {
        forms: some(small),
        temperature: float,
        iterations: fc.nat(),
        topK: fc.nat(),
        bias: tensor,
        forbidden: tensor,
        capacities: some(small),
        idleUtility: float,
        previous: some(signed),
        keepBonus: float,
        locks: some(signed),
        solver: small,
        solveBudgetUs: fc.nat(),
        maxChange: float,
        warmStart: fc.uint8Array(),
      },
      { requiredKeys: [] },
    ),
    consensus: fc.record(
      { sigma: float, start: small, iterations: fc.nat(), groups: some(small) },
      { requiredKeys: [] },
    ),
    priority: small,
  },
  { requiredKeys: [] },
);

describe('hostile requests', () => {
  it('of random bytes are unreadable or refused by a CoordinatorError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        outcomeOf(Buffer.from(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  it('made by damaging a good one are unreadable, accepted or refused by a CoordinatorError', () => {
    const good = coordinateMethod.requestSerialize({
      ...base,
      requestId: 'tick',
      agentIds: ['a', 'b', 'c'],
      agentMask: { dtype: 'UINT8', shape: [3], data: Uint8Array.of(1, 0, 1) },
      assignment: { previous: [0, 1, -1], locks: [-2, -2, 0], bias: floats([3, 2]), capacities: [1, 2] },
      consensus: { groups: [0, 1, 1], sigma: 2 },
    });
    expect(outcomeOf(good)).toBe('accepted');
    const damage = fc.array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), { maxLength: 4 });
    fc.assert(
      fc.property(damage, fc.nat({ max: good.length }), (changes, kept) => {
        const bytes = Buffer.from(good);
        for (const [at, value] of changes) bytes[at] = value;
        outcomeOf(bytes.subarray(0, Math.max(kept, good.length - 20)));
      }),
      { numRuns: 2000 },
    );
  });

  it('of well-formed but odd fields are accepted or refused naming a field', () => {
    fc.assert(
      fc.property(request, (input) => {
        const outcome = outcomeOf(coordinateMethod.requestSerialize(input));
        expect(outcome).not.toBe('unreadable');
        if (outcome instanceof CoordinatorError) {
          expect(outcome.code).not.toBe('INTERNAL');
          expect(outcome.violations).toHaveLength(1);
          expect(outcome.message.length).toBeLessThan(400);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
