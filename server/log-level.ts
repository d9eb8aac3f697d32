/** The log's level, changed while the server runs: for as long as asked, and from this machine only. */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Clock } from '../src/clock.js';
import type { Logger } from './log.js';

const levels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

const longestSeconds = 86_400;

/** What is answered to a request for the level. */
export interface LevelReply {
  readonly status: number;
  readonly text: string;
}

export class LogLevel {
  readonly #log: Logger;
  readonly #clock: Clock;
  /** As configured, and as it becomes again. */
  readonly #configured: string;
  #cancelReturn = (): void => undefined;

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
    this.#configured = log.level;
  }

  /** `GET` says the level; `PUT ?level=debug&seconds=600` sets it, for good where no seconds are given. */
  answer(request: IncomingMessage): LevelReply {
    if (request.method !== 'PUT') return { status: 200, text: `${this.#log.level}\n` };
    if (!isLocal(request)) return { status: 403, text: 'the log level is changed from this machine only\n' };
    const { searchParams } = new URL(request.url ?? '/', 'http://localhost');
    const level = levels.find((known) => known === searchParams.get('level'));
    if (level === undefined) return { status: 400, text: `level: expected one of ${levels.join(', ')}\n` };
    const text = searchParams.get('seconds');
    const seconds = text === null ? null : /^\d{1,5}$/.test(text) ? Number(text) : 0;
    if (seconds !== null && (seconds < 1 || seconds > longestSeconds)) {
      return { status: 400, text: `seconds: expected a whole number from 1 to ${longestSeconds}\n` };
    }
    this.#cancelReturn();
    this.#cancelReturn = (): void => undefined;
    this.#set(level, seconds);
    if (seconds !== null) {
      this.#cancelReturn = this.#clock.after(seconds * 1000, () => this.#set(this.#configured, null));
    }
    return { status: 200, text: `${level}\n` };
  }

  /** A level set for a time is not set back after this. */
  close(): void {
    this.#cancelReturn();
  }

  /** The change itself is in the log, unless both levels keep such lines out. */
  #set(level: string, seconds: number | null): void {
    const from = this.#log.level;
    const fields = { from, to: level, ...(seconds === null ? {} : { seconds }) };
    const tell = (): void => this.#log.info(fields, 'log level changed');
    if (this.#log.isLevelEnabled('info')) {
      tell();
      this.#log.level = level;
    } else {
      this.#log.level = level;
      tell();
    }
  }
}

/**
 * From this machine, and not through a page in its browser: that names a host in whose name it came here, or asks first, which is
 * refused. Whoever forwards the port to another machine forwards this, too.
 */
function isLocal({ socket, headers }: IncomingMessage): boolean {
  const peer = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  if (!peer.startsWith('127.') && peer !== '::1') return false;
  const host = (headers.host ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return host === 'localhost' || isIP(host) !== 0;
}
