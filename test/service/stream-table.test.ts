/** That this version of Node takes our table in place of its own Map. */
import { once } from 'node:events';
import { connect, createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { keepStreamsInTable } from '../../src/stream-table.js';

describe('an HTTP/2 session with a table of streams', () => {
  it('answers streams that overlap, and ends those that are open when it is destroyed', async () => {
    const server = createServer();
    const isKept = new Promise<boolean>((resolve) =>
      server.once('session', (session) => resolve(keepStreamsInTable(session))),
    );
    const session = new Promise<ServerHttp2Session>((resolve) => server.once('session', resolve));
    const open: ServerHttp2Stream[] = [];
    const threeAreOpen = new Promise<void>((resolve) => {
      server.on('stream', (stream) => {
        stream.once('error', () => undefined);
        open.push(stream);
        if (open.length === 3) resolve();
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    client.once('error', () => undefined);
    try {
      const requests = [1, 2, 3].map(() => client.request({ ':path': '/' }));
      for (const request of requests) request.once('error', () => undefined);
      await threeAreOpen;
      expect(await isKept).toBe(true);
      const [first, second, third] = open as [ServerHttp2Stream, ServerHttp2Stream, ServerHttp2Stream];
      const answered = once(requests[1]!, 'response');
      second.respond({ ':status': 204 }, { endStream: true });
      expect((await answered)[0]).toMatchObject({ ':status': 204 });
      const closed = Promise.all([first, third].map((stream) => once(stream, 'close')));
      (await session).destroy();
      await closed;
      expect(open.map(({ destroyed }) => destroyed)).toEqual([true, true, true]);
    } finally {
      client.destroy();
      server.close();
    }
  });
});
