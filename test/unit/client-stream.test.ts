/** Our client's stream over calls that the test plays, in virtual time. */
import { EventEmitter } from 'node:events';
import { Metadata, status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { CoordinatorCallError } from '../../client/call-error.js';
import {
  CoordinatorStream,
  type Reconnect,
  type StreamContext,
  type StreamOptions,
} from '../../client/coordinator-stream.js';
import { coordinateStreamMethod } from '../../client/methods.js';
import { matrix } from '../../client/request.js';
import { VirtualClock } from '../virtual-clock.js';

const method = coordinateStreamMethod();

class FakeCall extends EventEmitter {
  readonly written: ReturnType<typeof method.requestDeserialize>[] = [];
  writableEnded = false;
  cancelled = false;

  write(bytes: Buffer): void {
    this.written.push(method.requestDeserialize(bytes));
  }

  end(): void {
    this.writableEnded = true;
  }

  cancel(): void {
    this.cancelled = true;
    this.fail(status.CANCELLED, 'Cancelled on client');
  }

  get ids(): unknown[] {
    return this.written.map(({ requestId }) => requestId);
  }

  answer(requestId: string, warmStart = ''): void {
    const assignment = { taskOfAgent: [0], warmStart: Buffer.from(warmStart) };
    this.emit('data', method.responseSerialize({ requestId, assignment } as never));
  }

  refuse(requestId: string, code: number, reason: string): void {
    this.emit('data', method.responseSerialize({ requestId, error: { code, reason, message: 'no' } } as never));
  }

  fail(code: status = status.UNAVAILABLE, details = 'Connection dropped'): void {
    this.emit('error', Object.assign(new Error(details), { code, details, metadata: new Metadata() }));
  }
}

function openStream(options: StreamOptions = {}) {
  const clock = new VirtualClock();
  const calls: FakeCall[] = [];
  const reconnects: Reconnect[] = [];
  const context = {
    open: () => {
      calls.push(new FakeCall());
      return calls.at(-1)!;
    },
    nextRequestId: () => 'none',
    defaultDeadlineMs: 60_000,
    clock,
    random: () => 0.999,
  } as unknown as StreamContext;
  const stream = new CoordinatorStream(context, { onReconnect: (each) => reconnects.push(each), ...options });
  const send = (requestId: string, extra: object = {}, deadlineMs?: number) => {
    const tick = stream.send(
      { requestId, agents: matrix(1, 1, [1]), tasks: matrix(1, 1, [2]), ...extra },
      deadlineMs === undefined ? {} : { deadlineMs },
    );
    tick.catch(() => undefined);
    return tick;
  };
  return { clock, calls, reconnects, stream, send };
}

const warmStartOf = (call: FakeCall, index: number): string =>
  Buffer.from(call.written[index]!.assignment?.warmStart ?? '').toString();

async function failureOf(tick: Promise<unknown>): Promise<CoordinatorCallError> {
  const outcome: unknown = await tick.then(
    () => null,
    (error: unknown) => error,
  );
  if (outcome instanceof CoordinatorCallError) return outcome;
  throw new Error('the tick did not fail as ticks do');
}

describe('a request whose time passes while it waits for its turn', () => {
  it('is never sent, and keeps nobody waiting', async () => {
    const { calls, stream, send } = openStream({ window: 1 });
    void send('a');
    const late = send('b', {}, 1);
    void send('c');
    expect((await failureOf(late)).code).toBe('DEADLINE_EXCEEDED');
    expect(stream.unanswered).toBe(2);
    calls[0]!.answer('a');
    expect(calls[0]!.ids).toEqual(['a', 'c']);
  });
});

describe('a stream whose connection is lost', () => {
  it('sends what was not answered again, in order, with the last warm start in the first of them', async () => {
    const { clock, calls, stream, send } = openStream();
    const ticks = ['a', 'b', 'c'].map((id) => send(id));
    calls[0]!.answer('a', 'memory');
    calls[0]!.fail();
    expect(calls).toHaveLength(1);
    clock.advance(50);
    expect(calls[1]!.ids).toEqual(['b', 'c']);
    expect([warmStartOf(calls[1]!, 0), warmStartOf(calls[1]!, 1)]).toEqual(['memory', '']);
    // What the old call still says counts for nothing.
    calls[0]!.answer('b', 'stale');
    calls[1]!.answer('b');
    calls[1]!.answer('c');
    expect((await Promise.all(ticks)).map(({ requestId }) => requestId)).toEqual(['a', 'b', 'c']);
    expect(stream.reconnects).toBe(1);
  });

  it('leaves the rest of a request as it was, and its own warm start too', () => {
    const { clock, calls, send } = openStream();
    void send('a');
    calls[0]!.answer('a', 'memory');
    const options = { forms: ['HARD', 'TOP_K'], idleUtility: 0, maxChange: 0, capacities: [2], keepBonus: 0.25 };
    void send('consensus', { operators: ['CONSENSUS'] });
    void send('b', { seed: 2n ** 60n, supersede: true, agentIds: ['x'], assignment: options });
    const before = calls[0]!.written.slice(1);
    calls[0]!.fail();
    clock.advance(50);
    expect(calls[1]!.written[0]).toEqual(before[0]);
    const { assignment, ...rest } = calls[1]!.written[1]!;
    const { assignment: assignmentBefore, ...restBefore } = before[1]!;
    expect(rest).toEqual(restBefore);
    expect(assignment).toEqual({ ...assignmentBefore, warmStart: Buffer.from('memory') });
    void send('own', { assignment: { warmStart: Buffer.from('own') } });
    calls[1]!.fail();
    clock.advance(100);
    expect(warmStartOf(calls[2]!, 2)).toBe('own');
  });

  it('waits longer each time, tells of each, and fails with the last cause when it was opened too often', async () => {
    const { clock, calls, reconnects, stream, send } = openStream({ reconnects: 3 });
    const tick = send('a');
    for (const delayMs of [50, 100, 200]) {
      calls.at(-1)!.fail();
      const count = calls.length;
      clock.advance(delayMs * 0.99);
      expect(calls).toHaveLength(count);
      clock.advance(delayMs * 0.01);
      expect(calls).toHaveLength(count + 1);
    }
    calls.at(-1)!.fail(status.UNAVAILABLE, 'still gone');
    expect(await failureOf(tick)).toMatchObject({ code: 'UNAVAILABLE', message: 'still gone', requestId: 'a' });
    expect(stream.isClosed).toBe(true);
    expect(reconnects.map(({ attempt, unanswered }) => [attempt, unanswered])).toEqual([
      [1, 1],
      [2, 1],
      [3, 1],
    ]);
    expect(clock.pendingTimers).toBe(0);
  });

  it('counts anew after an answer', () => {
    const { clock, calls, stream, send } = openStream({ reconnects: 1 });
    for (let i = 0; i < 5; i += 1) {
      void send(String(i));
      calls.at(-1)!.fail();
      clock.advance(50);
      calls.at(-1)!.answer(String(i));
    }
    expect(stream.isClosed).toBe(false);
    expect(stream.reconnects).toBe(5);
  });

  it('is opened again only for the next request where nothing was unanswered, however often that happens', async () => {
    const { clock, calls, stream, send } = openStream({ reconnects: 1 });
    for (let i = 0; i < 5; i += 1) {
      calls.at(-1)!.fail();
      clock.advance(60_000);
      expect(calls).toHaveLength(i + 1);
      const tick = send(String(i));
      calls.at(-1)!.answer(String(i));
      expect((await tick).requestId).toBe(String(i));
    }
    calls.at(-1)!.fail();
    await stream.close();
    expect(calls).toHaveLength(6);
  });

  it('does not send requests again that nobody waits for', async () => {
    const { clock, calls, send } = openStream();
    const late = send('late', {}, 1);
    void send('b');
    expect((await failureOf(late)).code).toBe('DEADLINE_EXCEEDED');
    calls[0]!.fail();
    clock.advance(50);
    expect(calls[1]!.ids).toEqual(['b']);
  });

  it('goes on elsewhere when its server cuts a request off to end', async () => {
    const { clock, calls, send } = openStream();
    const ticks = [send('a'), send('b')];
    calls[0]!.refuse('a', status.UNAVAILABLE, 'DRAINING');
    expect(calls[0]!.cancelled).toBe(true);
    clock.advance(50);
    for (const id of ['a', 'b']) calls[1]!.answer(id);
    expect((await Promise.all(ticks)).map(({ requestId }) => requestId)).toEqual(['a', 'b']);
  });

  it('does not go on where the server has a reason of its own, or the caller cancelled', async () => {
    for (const [code, details] of [
      [status.UNAUTHENTICATED, 'who are you'],
      [status.DEADLINE_EXCEEDED, 'over'],
      [status.INTERNAL, 'a defect'],
    ] as const) {
      const { calls, stream, send } = openStream();
      const tick = send('a');
      calls[0]!.fail(code, details);
      expect((await failureOf(tick)).code).toBe(status[code]);
      expect(stream.isClosed).toBe(true);
    }
    const { clock, calls, stream, send } = openStream();
    const tick = send('a');
    calls[0]!.fail();
    stream.cancel();
    expect((await failureOf(tick)).code).toBe('CANCELLED');
    clock.advance(60_000);
    expect(calls).toHaveLength(1);
  });

  it('closes once what was unanswered is answered elsewhere', async () => {
    const { clock, calls, stream, send } = openStream();
    const tick = send('a');
    const closed = stream.close();
    calls[0]!.fail();
    clock.advance(50);
    calls[1]!.answer('a');
    await tick;
    expect(calls[1]!.writableEnded).toBe(true);
    calls[1]!.emit('end');
    await closed;
  });
});
