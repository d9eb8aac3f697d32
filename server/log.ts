/** The process's log: JSON lines, or coloured text on a terminal. Never tensors: lines hold ids, codes and figures. */
import { pino, type Logger } from 'pino';
import { prettyFactory } from 'pino-pretty';
import type { Config } from '../src/config.js';
import { LogOutput } from './log-output.js';

export type { Logger } from 'pino';

/** Before the process ends. */
const lastTries = 20;
const pauseMs = 50;

/** One for all logs of the process, as their lines share it; made with the first, as Node's stream of it takes it over. */
let output: LogOutput | null = null;

/** Lines that this process could not write. */
export function lostLogLines(): number {
  return output?.linesLost ?? 0;
}

/**
 * Writes to standard output, at once: a line is out before a crash can lose it. What reads the output cannot hold up the process: where it is a pipe that
 * is full, lines wait for it, then are lost and counted, and a warning tells how many when it is read again.
 */
export function createLog({ logLevel, logFormat }: Pick<Config, 'logLevel' | 'logFormat'>): Logger {
  // Node's stream of it, which nothing is written to, makes a pipe refuse at once what it has no room for.
  const to = (output ??= new LogOutput(process.stdout.fd));
  const isPretty = logFormat === 'pretty' || (logFormat === 'auto' && process.stdout.isTTY);
  let write = (line: string): void => to.write(line);
  if (isPretty) {
    const colorize = process.stdout.isTTY;
    const pretty = prettyFactory({ colorize, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname' });
    write = (line) => to.write(pretty(line));
  }
  const log = pino({ level: logLevel }, { write });
  to.onRead = (lostLines) => log.warn({ lostLines }, 'lines of the log were lost: nobody read it');
  return log;
}

/** Resolves when standard output has taken every line, or after a second. */
export async function writtenOut(): Promise<void> {
  for (let triesLeft = lastTries; triesLeft > 0 && output?.flush() === false; triesLeft--) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
