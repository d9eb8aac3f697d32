/** The process's log: JSON lines, or coloured text on a terminal. Never tensors: lines hold ids, codes and figures. */
import { pino, type Logger } from 'pino';
import { PinoPretty } from 'pino-pretty';
import type { Config } from '../src/config.js';

export type { Logger } from 'pino';

/** Writes to standard output, at once: a line is out before a crash can lose it. */
export function createLog({ logLevel, logFormat }: Pick<Config, 'logLevel' | 'logFormat'>): Logger {
  const pretty = logFormat === 'pretty' || (logFormat === 'auto' && process.stdout.isTTY);
  const stream = pretty
    ? PinoPretty({
        sync: true,
        colorize: process.stdout.isTTY,
        translateTime: 'SYS:HH:MM:ss.l',
        ignore: 'pid,hostname',
      })
    : pino.destination({ dest: 1, sync: true });
  return pino({ level: logLevel }, stream);
}
