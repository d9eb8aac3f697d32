/** Quotas: the file, what is charged to whom, and what is remembered. */
import { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import { parseQuotaRules } from '../../src/quota/quota-rules.js';
import { Quotas } from '../../src/quota/quotas.js';
import { agentCountOf } from '../../src/wire/peek.js';
import { VirtualClock } from '../virtual-clock.js';
import { coordinateMethod } from '../wire-codec.js';

function setUp(file: object) {
  const clock = new VirtualClock(1000);
  const metrics = createMetrics(new Registry());
  const quotas = new Quotas({ rules: parseQuotaRules(JSON.stringify(file)), clock, metrics });
  return { clock, metrics, quotas };
}

/** Null where it was let in. */
function refusalOf(run: () => unknown): CoordinatorError | null {
  try {
    run();
  } catch (error) {
    if (error instanceof CoordinatorError) return error;
    throw error;
  }
  return null;
}

describe('the quota file', () => {
  test.each([
    ['x', 'expected JSON'],
    ['[]', 'the file: expected an object'],
    ['{"tenant": {}}', 'the file: expected default, unnamed, tenants, received tenant'],
    ['{"default": {"requests": 1}}', 'default: expected requestsPerSecond'],
    ['{"default": {"requestsPerSecond": 0}}', 'default.requestsPerSecond: expected a number from above 0'],
    ['{"tenants": {"a": {"streams": 1.5}}}', 'tenants.a.streams: expected a whole number'],
    ['{"tenants": {"a b": {}}}', 'tenants: expected names of tenants, received a b'],
    ['{"default": {"bytesPerSecond": "1"}}', 'default.bytesPerSecond: expected a number'],
  ])('refuses %s', (text, message) => {
    expect(() => parseQuotaRules(text)).toThrow(message);
  });
});

describe('rates', () => {
  test('a tenant gets its burst and its rate, and is told to the millisecond when there is room', () => {
    const { clock, quotas } = setUp({ tenants: { a: { requestsPerSecond: 4, burstSeconds: 0.5 } } });
    quotas.enterCall('a');
    quotas.enterCall('a');
    const refused = refusalOf(() => quotas.enterCall('a'));
    expect(refused).toMatchObject({ code: 'QUOTA_EXCEEDED', retryAfterMs: 250 });
    clock.advance(249);
    expect(refusalOf(() => quotas.enterCall('a'))).toMatchObject({ retryAfterMs: 1 });
    clock.advance(1);
    expect(refusalOf(() => quotas.enterCall('a'))).toBeNull();
  });

  test('bytes and agent states are taken together or not at all', () => {
    const { clock, quotas } = setUp({ tenants: { a: { bytesPerSecond: 100, agentStatesPerSecond: 10 } } });
    quotas.charge('a', { bytesPerSecond: 10, agentStatesPerSecond: 10 });
    expect(refusalOf(() => quotas.charge('a', { bytesPerSecond: 90, agentStatesPerSecond: 1 }))).toMatchObject({
      retryAfterMs: 100,
    });
    clock.advance(100);
    // Nothing of the refused one was charged: 90 bytes were left, and 10 came.
    expect(refusalOf(() => quotas.charge('a', { bytesPerSecond: 100, agentStatesPerSecond: 1 }))).toBeNull();
  });

  test('what is more than a burst is told never to be let in', () => {
    const { quotas } = setUp({ default: { bytesPerSecond: 100, burstSeconds: 2 } });
    expect(refusalOf(() => quotas.charge('x', { bytesPerSecond: 201 }))).toMatchObject({ code: 'QUOTA_TOO_SMALL' });
    expect(refusalOf(() => quotas.charge('x', { bytesPerSecond: 200 }))).toBeNull();
  });
});

describe('tenants', () => {
  test('one that uses up its quota takes nothing from another', () => {
    const { quotas } = setUp({ default: { requestsPerSecond: 1 } });
    quotas.enterCall('a');
    for (let i = 0; i < 1000; i++) expect(refusalOf(() => quotas.enterCall('a'))).not.toBeNull();
    expect(refusalOf(() => quotas.enterCall('b'))).toBeNull();
  });

  test('those without a name share what is given to them together, and names made up get no more', () => {
    const { quotas } = setUp({
      default: { requestsPerSecond: 2 },
      unnamed: { requestsPerSecond: 3 },
      tenants: { a: { requestsPerSecond: 1 } },
    });
    const outcomes = ['x', 'y', 'z', 'w', 'a'].map((tenant) => refusalOf(() => quotas.enterCall(tenant)) === null);
    expect(outcomes).toEqual([true, true, true, false, true]);
  });

  test('are remembered up to a number, and those that matter are not forgotten', () => {
    const { clock, quotas } = setUp({ default: { requestsPerSecond: 1, concurrentCalls: 1 } });
    quotas.enterCall('busy');
    for (let i = 0; i < 30_000; i++) refusalOf(() => quotas.enterCall(`made-up-${i}`)());
    expect(quotas.size).toBeLessThanOrEqual(10_001);
    clock.advance(2000);
    quotas.enterCall('new')();
    expect(quotas.size).toBeLessThan(10);
    expect(refusalOf(() => quotas.enterCall('busy'))?.message).toContain('concurrent calls');
  });

  test('have labels where the file names them, and are other where it does not', async () => {
    const { metrics, quotas } = setUp({ default: { requestsPerSecond: 1 }, tenants: { a: { requestsPerSecond: 1 } } });
    for (const tenant of ['a', 'a', 'b', 'b', 'c', 'c', 'c']) refusalOf(() => quotas.enterCall(tenant));
    const { values } = await metrics.quotaRefused.get();
    expect(values.map(({ labels, value }) => [labels.tenant, labels.limit, value])).toEqual([
      ['a', 'requestsPerSecond', 1],
      ['other', 'requestsPerSecond', 3],
    ]);
  });
});

describe('places', () => {
  test('are counted until they are given back, once', () => {
    const { quotas } = setUp({ default: { concurrentCalls: 2, streams: 1 } });
    const leave = quotas.enterCall('a');
    quotas.enterCall('a');
    expect(refusalOf(() => quotas.enterCall('a'))).toMatchObject({ code: 'QUOTA_EXCEEDED' });
    leave();
    leave();
    quotas.enterCall('a');
    expect(refusalOf(() => quotas.enterCall('a'))).not.toBeNull();
    const end = quotas.enterStream('a');
    expect(refusalOf(() => quotas.enterStream('a'))).not.toBeNull();
    end();
    expect(refusalOf(() => quotas.enterStream('a'))).toBeNull();
  });
});

test('new rules hold at once, and do not give back what is used up', () => {
  const { clock, quotas } = setUp({ tenants: { a: { requestsPerSecond: 10 } } });
  for (let i = 0; i < 10; i++) quotas.enterCall('a');
  quotas.use(parseQuotaRules('{"tenants": {"a": {"requestsPerSecond": 1}}}'));
  expect(refusalOf(() => quotas.enterCall('a'))).toMatchObject({ retryAfterMs: 1000 });
  quotas.use(parseQuotaRules('{}'));
  expect(refusalOf(() => quotas.enterCall('a'))).toBeNull();
  clock.advance(1);
});

test('agents are counted as the request says, before it is decoded', () => {
  const tensor = (rows: number) => ({ shape: [rows, 2], data: new Uint8Array(rows * 8) });
  expect(agentCountOf(coordinateMethod.requestSerialize({ agents: tensor(7), tasks: tensor(3) }))).toBe(7);
  expect(agentCountOf(coordinateMethod.requestSerialize({ utility: tensor(5) }))).toBe(5);
  expect(agentCountOf(coordinateMethod.requestSerialize({ responses: tensor(4) }))).toBe(4);
  expect(agentCountOf(coordinateMethod.requestSerialize({}))).toBe(0);
  expect(agentCountOf(Uint8Array.from([0x1a, 0xff, 0xff]))).toBe(0);
  // Unpacked, and a length that lies.
  expect(agentCountOf(Uint8Array.from([0x1a, 0x04, 0x10, 0x09, 0x10, 0x02]))).toBe(9);
});
