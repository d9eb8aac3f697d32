/** The demo's stream, with a client that hands out streams of the test's own. */
import { expect, it } from 'vitest';
import type { CoordinatorClient, CoordinatorStream } from '../../client/client.js';
import { TickStream } from '../../client/demo/tick-stream.js';
import type { CoordinateRequest } from '../../client/request.js';
import { answerExactly } from './demo-fake-coordinator.js';

interface FakeStream {
  isClosed: boolean;
  warmStart: Uint8Array | null;
  readonly sent: CoordinateRequest[];
}

function fakeClient(): { client: CoordinatorClient; opened: FakeStream[] } {
  const opened: FakeStream[] = [];
  const openStream = (): CoordinatorStream => {
    const stream: FakeStream & Pick<CoordinatorStream, 'send' | 'close'> = {
      isClosed: false,
      warmStart: null,
      sent: [],
      send(request) {
        this.sent.push(request);
        return Promise.resolve(answerExactly(request));
      },
      close: () => Promise.resolve(),
    };
    opened.push(stream);
    return stream as unknown as CoordinatorStream;
  };
  return { client: { openStream } as unknown as CoordinatorClient, opened };
}

const request: CoordinateRequest = {
  utility: { data: Float32Array.of(1), shape: [1, 1] },
  responses: { data: Float32Array.of(1), shape: [1, 1] },
  assignment: { forms: ['HARD'] },
};
const pace = { deadlineMs: 1000 };

it('stays on its stream while that is open', async () => {
  const { client, opened } = fakeClient();
  const ticks = new TickStream(client, new AbortController().signal);
  await ticks.send(request, pace);
  await ticks.send(request, pace);
  expect(opened).toHaveLength(1);
  expect(opened[0]!.sent).toEqual([request, request]);
});

it('takes up on another stream where one that ended was left, once', async () => {
  const { client, opened } = fakeClient();
  const ticks = new TickStream(client, new AbortController().signal);
  await ticks.send(request, pace);
  opened[0]!.warmStart = Uint8Array.of(7);
  opened[0]!.isClosed = true;
  await ticks.send(request, pace);
  await ticks.send(request, pace);
  expect(opened).toHaveLength(2);
  expect(opened[1]!.sent.map(({ assignment }) => assignment)).toEqual([
    { forms: ['HARD'], warmStart: Uint8Array.of(7) },
    { forms: ['HARD'] },
  ]);
});

it('opens no other stream once the demo is interrupted', async () => {
  const { client, opened } = fakeClient();
  const interrupted = new AbortController();
  const ticks = new TickStream(client, interrupted.signal);
  opened[0]!.isClosed = true;
  interrupted.abort();
  await ticks.send(request, pace);
  expect(opened).toHaveLength(1);
});
