/**
 * What a connection may not do: send ping after ping while nothing is sent to it. Each costs an answer, and clients that are set up wrongly
 * send them for days. Pings that follow data are the client measuring the connection, and free.
 */
import { constants, type ServerHttp2Session } from 'node:http2';
import type { Clock } from '../src/clock.js';
import { TokenBucket } from '../src/quota/token-bucket.js';

/** Answers to pings, and the frames around them, are smaller; anything that a client could be waiting for is larger. */
const leastDataBytes = 128;

/** Clients that read it ask less often: it is what gRPC servers say. */
const tooManyPings = Buffer.from('too_many_pings');

export interface PingLimit {
  readonly clock: Clock;
  readonly perMinute: number;
  /** Called when a connection is closed for it. */
  readonly onClosed: () => void;
}

export function limitPings(session: ServerHttp2Session, { clock, perMinute, onClosed }: PingLimit): void {
  let bucket: TokenBucket | null = null;
  let writtenBytes = 0;
  session.on('ping', () => {
    const nowMs = clock.nowMs();
    // Most connections never send one.
    bucket ??= new TokenBucket(perMinute / 60, perMinute, nowMs);
    const written = session.destroyed ? writtenBytes : session.socket.bytesWritten;
    const isFree = written - writtenBytes >= leastDataBytes;
    writtenBytes = written;
    if (isFree) return;
    if (bucket.waitMs(1, nowMs) === 0) {
      bucket.take(1, nowMs);
      return;
    }
    if (session.destroyed) return;
    onClosed();
    session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, tooManyPings);
    session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  });
}
