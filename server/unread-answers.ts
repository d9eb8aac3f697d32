/**
 * Answers that were written and not taken by their clients, by connection. A client that does not read makes the server keep them: so a
 * connection that holds too many gets no new calls, and one that takes nothing for a time is closed.
 */
import type { Clock } from '../src/clock.js';
import { CoordinatorError } from '../src/errors.js';

/** What is known of connections. `peer` is `call.getPeer()`. */
export interface Connections {
  /** Bytes that a connection has taken since it was opened; 0 where it is gone. */
  bytesTaken(peer: string): number;
  close(peer: string): void;
}

export interface UnreadAnswersOptions {
  readonly clock: Clock;
  readonly connections: Connections;
  /** Of all connections together. One may hold a quarter. */
  readonly limitBytes: number;
  /** How long a connection may take next to nothing of what is written to it. */
  readonly timeoutMs: number;
  /** Called for each connection that is closed for its client's not reading. */
  readonly onClosed?: () => void;
}

interface Unread {
  bytes: number;
  /** `bytesTaken` when it was last seen to take something. */
  takenBytes: number;
  takenAtMs: number;
}

/** Smaller answers are bounded by the number of calls that a connection may have open. */
const leastCounted = 4096;
/** Taking less than this in a time-out is taking nothing: what keeps a connection alive is written, too. */
const leastTaken = 64 * 1024;
const sweepMs = 1000;
/** One that took nothing for so long is closed where all hold too much. */
const stalledMs = 1000;
/** Share of the limit that one connection may hold. */
const shareOfOne = 0.25;
const retryAfterMs = 1000;

export class UnreadAnswers {
  readonly #options: UnreadAnswersOptions;
  readonly #connections = new Map<string, Unread>();
  #bytes = 0;
  #isSweeping = false;

  constructor(options: UnreadAnswersOptions) {
    this.#options = options;
  }

  /** Bytes of all connections. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Throws QUEUE_FULL where a connection holds so many unread answers that it gets no more. Costs nothing while there are none. */
  assertRoom(peerOf: { getPeer(): string }): void {
    if (this.#bytes <= shareOfOne * this.#options.limitBytes) return;
    const held = this.#connections.get(peerOf.getPeer())?.bytes ?? 0;
    const isOver = this.#bytes > this.#options.limitBytes;
    if (held === 0 || (!isOver && held <= shareOfOne * this.#options.limitBytes)) return;
    const message = `${held} bytes of answers on this connection were not read by the client; no more calls are taken on it until they are`;
    throw new CoordinatorError('QUEUE_FULL', message, { retryAfterMs });
  }

  /** An answer is being written. Call what it returns once the answer was taken or its call has ended. */
  wrote(peerOf: { getPeer(): string }, bytes: number): () => void {
    if (bytes < leastCounted) return nothing;
    const peer = peerOf.getPeer();
    const { clock, connections } = this.#options;
    let unread = this.#connections.get(peer);
    if (unread === undefined) {
      unread = { bytes: 0, takenBytes: connections.bytesTaken(peer), takenAtMs: clock.nowMs() };
      this.#connections.set(peer, unread);
    }
    unread.bytes += bytes;
    this.#bytes += bytes;
    this.#sweepLater();
    const held = unread;
    return () => {
      held.bytes -= bytes;
      this.#bytes -= bytes;
      held.takenAtMs = clock.nowMs();
      if (held.bytes === 0 && this.#connections.get(peer) === held) this.#connections.delete(peer);
    };
  }

  #sweepLater(): void {
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    this.#options.clock.after(sweepMs, () => {
      this.#isSweeping = false;
      this.#sweep();
      if (this.#connections.size > 0) this.#sweepLater();
    });
  }

  #sweep(): void {
    const { clock, connections, limitBytes, timeoutMs } = this.#options;
    const nowMs = clock.nowMs();
    let worst: string | null = null;
    let most = 0;
    for (const [peer, unread] of this.#connections) {
      const takenBytes = connections.bytesTaken(peer);
      if (takenBytes - unread.takenBytes >= leastTaken) {
        unread.takenBytes = takenBytes;
        unread.takenAtMs = nowMs;
      }
      const forMs = nowMs - unread.takenAtMs;
      if (forMs >= timeoutMs) this.#close(peer);
      else if (forMs >= stalledMs && unread.bytes > most) [worst, most] = [peer, unread.bytes];
    }
    if (worst !== null && this.#bytes > limitBytes) this.#close(worst);
  }

  #close(peer: string): void {
    this.#options.connections.close(peer);
    this.#options.onClosed?.();
  }
}

function nothing(): void {
  // Nothing was counted.
}
