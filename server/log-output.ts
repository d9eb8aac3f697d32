/**
 * Lines to a descriptor that may take none for a while. pino's own destination sleeps until it does, with the whole process, and its ways not to
 * sleep break lines or never end.
 */
import { writeSync } from 'node:fs';

/** Of lines that nobody reads; further ones are lost. */
const mostWaitingBytes = 1024 * 1024;
const retryMs = 50;
/** Where it is not full but broken: a reader that has gone, a disk without room. */
const brokenRetryMs = 1000;

export class LogOutput {
  readonly #fd: number;
  /** What was not taken yet, the rest of a line first. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #lost = 0;
  #told = 0;
  #isRetrying = false;
  /** Told of the lines lost since the last time, when lines are taken again. */
  onRead: (lostLines: number) => void = () => undefined;

  /** `fd` must not block: it says EAGAIN where it has no room. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  get linesLost(): number {
    return this.#lost;
  }

  /** At once where it can be. Never throws. */
  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#waitingBytes > 0 && this.#waitingBytes + bytes.length > mostWaitingBytes) {
      this.#lost++;
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    // Behind others it waits for its turn.
    if (this.#waiting.length === 1) this.flush();
  }

  /** Whether nothing waits any more. */
  flush(): boolean {
    while (this.#waiting.length > 0) {
      const all = this.#waiting.length === 1 ? this.#waiting[0]! : Buffer.concat(this.#waiting);
      let written = 0;
      let pauseMs = retryMs;
      try {
        written = writeSync(this.#fd, all);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') pauseMs = brokenRetryMs;
      }
      this.#waitingBytes = all.length - written;
      this.#waiting = this.#waitingBytes === 0 ? [] : [all.subarray(written)];
      if (written === 0) {
        this.#retryIn(pauseMs);
        return false;
      }
    }
    const lost = this.#lost - this.#told;
    this.#told = this.#lost;
    if (lost > 0) this.onRead(lost);
    return this.#waiting.length === 0;
  }

  #retryIn(pauseMs: number): void {
    if (this.#isRetrying) return;
    this.#isRetrying = true;
    const retry = (): void => {
      this.#isRetrying = false;
      this.flush();
    };
    setTimeout(retry, pauseMs).unref();
  }
}
