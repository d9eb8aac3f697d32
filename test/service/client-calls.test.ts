/** The client against the real server around a core that the test answers for. */
import { afterEach, describe, expect, it } from 'vitest';
import { type ClientOptions, CoordinatorCallError, CoordinatorClient, matrix } from '../../client/client.js';
import { CoordinatorError, type ErrorCode } from '../../src/errors.js';
import type { FakeCore, PendingCall } from './fake-core.js';
import { type FakeServer, startFakeServer } from './fake-server.js';

const open: { server: FakeServer; client: CoordinatorClient }[] = [];

afterEach(async () => {
  for (const { server, client } of open.splice(0)) {
    client.close();
    for (const call of server.core.calls) call.answer();
    await server.server.close();
  }
});

async function start(options: ClientOptions = {}, warm = true): Promise<{ core: FakeCore; client: CoordinatorClient }> {
  const server = await startFakeServer([], { warm });
  server.core.answersAtOnce = false;
  const client = new CoordinatorClient(server.server.grpcAddress, options);
  open.push({ server, client });
  return { core: server.core, client };
}

const request = { requestId: 'r', agents: matrix(1, 1, [1]) };

async function failureOf(call: Promise<unknown>): Promise<CoordinatorCallError> {
  const error: unknown = await call.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof CoordinatorCallError))
    throw new Error(`expected a CoordinatorCallError, got ${String(error)}`);
  return error;
}

async function nthCall(core: FakeCore, n: number): Promise<PendingCall> {
  await core.arrived(n);
  return core.calls[n - 1]!;
}

describe('a failed call', () => {
  it('carries status, reason, violations and the request id', async () => {
    const { core, client } = await start();
    core.decodeError = CoordinatorError.field('TENSOR_SHAPE', 'agents.shape', 'shape [N,d]', '[3]');
    const error = await failureOf(client.coordinate(request));
    expect(error).toMatchObject({
      code: 'INVALID_ARGUMENT',
      reason: 'TENSOR_SHAPE',
      requestId: 'r',
      retryAfterMs: null,
      fieldViolations: [{ field: 'agents.shape', description: 'expected shape [N,d], received [3]' }],
    });
    expect(error.message).toBe('agents.shape: expected shape [N,d], received [3]');
  });

  it('has no reason where no server answered', async () => {
    const client = new CoordinatorClient('127.0.0.1:1', { deadlineMs: 30_000, retries: 0 });
    const error = await failureOf(client.coordinate(request));
    client.close();
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: '', fieldViolations: [] });
    expect(error.message).toContain('ECONNREFUSED');
  });

  it('is one, and not an exception of another kind, when the client is closed', async () => {
    const { client } = await start();
    client.close();
    expect((await failureOf(client.coordinate(request))).requestId).toBe('r');
  });
});

describe('retries', () => {
  it('follow a full queue that said when to come back', async () => {
    const { core, client } = await start();
    const call = client.coordinate(request);
    (await nthCall(core, 1)).fail(new CoordinatorError('QUEUE_FULL', 'full', { retryAfterMs: 40 }));
    (await nthCall(core, 2)).answer();
    expect((await call).requestId).toBe('r');
    expect(core.calls).toHaveLength(2);
  });

  it('follow UNAVAILABLE', async () => {
    const { core, client } = await start();
    const call = client.coordinate(request);
    (await nthCall(core, 1)).fail(new CoordinatorError('ENGINE_FAILED', 'restarting'));
    (await nthCall(core, 2)).answer();
    await call;
  });

  it('never follow any other failure', async () => {
    const { core, client } = await start();
    const codes: ErrorCode[] = [
      'REQUEST_INVALID',
      'SIZE_LIMIT',
      'POLICY_UNKNOWN',
      'WEIGHTS_MISSING',
      'INTERNAL',
      'DEADLINE_EXPIRED',
    ];
    for (const [i, code] of codes.entries()) {
      const call = failureOf(client.coordinate(request));
      (await nthCall(core, i + 1)).fail(new CoordinatorError(code, 'no'));
      expect((await call).reason).toBe(code);
      expect(core.calls).toHaveLength(i + 1);
    }
  });

  it('end after the number asked for, with the last failure', async () => {
    for (const retries of [0, 2]) {
      const { core, client } = await start({ retries });
      const call = failureOf(client.coordinate(request));
      for (let n = 1; n <= retries + 1; n += 1) {
        (await nthCall(core, n)).fail(new CoordinatorError('QUEUE_FULL', `refusal ${n}`, { retryAfterMs: 1 }));
      }
      expect(await call).toMatchObject({ code: 'RESOURCE_EXHAUSTED', message: `refusal ${retries + 1}` });
      expect(core.calls).toHaveLength(retries + 1);
    }
  });

  it('do not begin when the wait would pass the deadline', async () => {
    const { core, client } = await start({ deadlineMs: 5000 });
    const call = failureOf(client.coordinate(request));
    (await nthCall(core, 1)).fail(new CoordinatorError('QUEUE_FULL', 'full', { retryAfterMs: 60_000 }));
    const error = await call;
    expect(error.code).toBe('RESOURCE_EXHAUSTED');
    expect(error.retryAfterMs).toBeGreaterThanOrEqual(60_000);
    expect(core.calls).toHaveLength(1);
  });
});

describe('deadlines and cancellation', () => {
  it('end a call that is not answered in time', async () => {
    const { core, client } = await start();
    expect((await failureOf(client.coordinate(request, { deadlineMs: 50 }))).code).toBe('DEADLINE_EXCEEDED');
    expect(core.calls.length).toBeLessThanOrEqual(1);
  });

  it('reach the server when the signal aborts', async () => {
    const { core, client } = await start();
    const stop = new AbortController();
    const call = failureOf(client.coordinate(request, { signal: stop.signal }));
    const { context } = await nthCall(core, 1);
    const heard = new Promise<void>((resolve) => context.signal.addEventListener('abort', () => resolve()));
    stop.abort(new Error('enough'));
    const error = await call;
    expect(error.code).toBe('CANCELLED');
    expect((error.cause as Error).message).toBe('enough');
    await heard;
  });

  it('send nothing when the signal was aborted before', async () => {
    const { core, client } = await start();
    const error = await failureOf(client.coordinate(request, { signal: AbortSignal.abort() }));
    expect(error.code).toBe('CANCELLED');
    core.answersAtOnce = true;
    await client.coordinate(request);
    expect(core.calls).toHaveLength(1);
  });

  it('end the wait before a retry', async () => {
    const { core, client } = await start({ deadlineMs: 60_000 });
    const stop = new AbortController();
    const call = failureOf(client.coordinate(request, { signal: stop.signal }));
    (await nthCall(core, 1)).fail(new CoordinatorError('QUEUE_FULL', 'full', { retryAfterMs: 30_000 }));
    // The refusal travels back while this timer runs; either way the abort must end the call now and not in 30 s.
    setTimeout(() => stop.abort(), 50);
    expect((await call).code).toBe('CANCELLED');
    expect(core.calls).toHaveLength(1);
  });

  it('are checked before anything is sent', async () => {
    const { client } = await start();
    await expect(client.coordinate(request, { deadlineMs: 0 })).rejects.toThrow(
      'deadlineMs: expected a positive, finite number',
    );
    expect(() => new CoordinatorClient('x:1', { retries: 9 })).toThrow('retries: expected a whole number from 0 to 4');
  });
});

describe('readiness', () => {
  it('is waited for until the server serves', async () => {
    const { core, client } = await start({}, false);
    // Connected beforehand, so that at least one look is answered in time.
    expect(await client.health()).toBe('NOT_SERVING');
    const error = await failureOf(client.waitForReady(3000));
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toMatch(/not ready after 3000 ms \(NOT_SERVING\)/);
    const waiting = client.waitForReady(60_000);
    core.finishWarmUp();
    await waiting;
    expect(await client.health()).toBe('SERVING');
    expect(await client.health('no.such.Service')).toBe('SERVICE_UNKNOWN');
  });

  it('fails within its time where nothing listens, and says what it heard', async () => {
    const client = new CoordinatorClient('127.0.0.1:1');
    const error = await failureOf(client.waitForReady(300));
    client.close();
    expect(error.message).toContain('127.0.0.1:1 is not ready after 300 ms');
  });
});

describe('message limits', () => {
  it('refuse larger answers with RESOURCE_EXHAUSTED and without a retry', async () => {
    const { core, client } = await start({ maxMessageBytes: 1000 });
    core.answersAtOnce = true;
    core.answerElements = 1000;
    expect((await failureOf(client.coordinate(request))).code).toBe('RESOURCE_EXHAUSTED');
    expect(core.calls).toHaveLength(1);
  });
});
