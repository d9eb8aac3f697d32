/** The process's log: JSON lines, or coloured text on a terminal. Never tensors: lines hold ids, codes and figures. */
import { type DestinationStream, pino, type Logger } from 'pino';
import { PinoPretty } from 'pino-pretty';
import type { Config } from '../src/config.js';

export type { Logger } from 'pino';

/** Of lines that nobody reads; further ones are lost. */
const mostWaitingBytes = 1024 * 1024;
const retryMs = 50;
/** Before the process ends. */
const lastTries = 20;

let linesLost = 0;

/** Lines that this process could not write, as standard output took nothing for so long. */
export function lostLogLines(): number {
  return linesLost;
}

/**
 * Writes to standard output, at once: a line is out before a crash can lose it. What reads the output cannot hold up the process: where it is a pipe that
 * is full, lines wait for it, then are lost and counted, and the log tells how many when it is read again.
 */
export function createLog({ logLevel, logFormat }: Pick<Config, 'logLevel' | 'logFormat'>): Logger {
  if (logFormat === 'pretty' || (logFormat === 'auto' && process.stdout.isTTY)) {
    const pretty = { colorize: process.stdout.isTTY, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname' };
    return pino({ level: logLevel }, PinoPretty({ ...pretty, sync: true }));
  }
  const log = pino(
    { level: logLevel },
    standardOutput((lostLines) => log.warn({ lostLines }, 'lines of the log were lost: nobody read it')),
  );
  return log;
}

/** Resolves when standard output has taken every line, or after a second. */
export async function writtenOut(log: Logger): Promise<void> {
  for (let triesLeft = lastTries; triesLeft > 0; triesLeft--) {
    const error = await new Promise<Error | undefined>((resolve) => log.flush(resolve));
    // Of what is not a file, not everything can be flushed, which is said after the lines are out.
    if (error === undefined || !isFull(error)) return;
    await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
}

function isFull(error: NodeJS.ErrnoException): boolean {
  return error.code === 'EAGAIN';
}

/** `onRead` is told of the lines that were lost when the output takes lines again. */
function standardOutput(onRead: (lostLines: number) => void): DestinationStream {
  const output = pino.destination({
    // Node's stream of it, which nothing is written to, makes a pipe refuse at once what it has no room for.
    dest: process.stdout.fd,
    sync: true,
    retryEAGAIN: () => false,
    maxLength: mostWaitingBytes,
    // `flush` writes what waits only where there is a least length.
    minLength: 1,
  });
  let told = linesLost;
  let isWaiting = false;
  const retry = (): void => {
    isWaiting = false;
    output.flush();
    if (isStuck() || told === linesLost) return;
    const lost = linesLost - told;
    told = linesLost;
    onRead(lost);
  };
  const isStuck = (): boolean => isWaiting;
  output.on('drop', () => {
    linesLost++;
  });
  // It keeps what it could not write.
  output.on('error', () => {
    if (isWaiting) return;
    isWaiting = true;
    setTimeout(retry, retryMs).unref();
  });
  return output;
}
