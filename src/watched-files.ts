/**
 * Files that may change while the server runs, read together and parsed together: certificates with their key, access rules,
 * JSON web keys, quotas. What is in service stays until something new parses. Polled, as mounted secrets and network file systems
 * send no change events.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Clock } from './clock.js';
import { Poller } from './poller.js';

export interface WatchedFilesOptions<T> {
  readonly paths: readonly string[];
  readonly pollMs: number;
  readonly clock: Clock;
  /** Contents in the order of `paths`. Throws where they cannot be used; the message must hold nothing secret. */
  readonly parse: (contents: readonly Buffer[]) => T;
  /** New contents are in service; not called for the first. */
  readonly onChange?: (value: T) => void;
  /**
   * New contents were refused and the old ones stay. Once for each change, and only if they are still refused one poll later: files that
   * belong together are rarely replaced at one instant.
   */
  readonly onRefused?: (reason: string) => void;
}

/** Far beyond any credential file; what is larger is a mistake in the path. */
const largestFileBytes = 64 * 1024 * 1024;

export class WatchedFiles<T> {
  readonly #options: WatchedFilesOptions<T>;
  #current: T;
  /** Of the contents in service. */
  #stamp: string;
  #refused: { readonly stamp: string; told: boolean } | null = null;
  readonly #poller: Poller;

  /** Reads the files once; rejects where they cannot be read or used, naming the file that cannot be read. */
  static async open<T>(options: WatchedFilesOptions<T>): Promise<WatchedFiles<T>> {
    const { stamp, contents } = await readAll(options.paths, null);
    return new WatchedFiles(options, options.parse(contents), stamp);
  }

  private constructor(options: WatchedFilesOptions<T>, first: T, stamp: string) {
    this.#options = options;
    this.#current = first;
    this.#stamp = stamp;
    this.#poller = new Poller(options.clock, options.pollMs, () => this.#look());
    this.#poller.start();
  }

  get current(): T {
    return this.#current;
  }

  /** Looks for changes now; resolves when they are in service. Never rejects; looks do not overlap. */
  reload(): Promise<void> {
    return this.#poller.lookNow();
  }

  close(): void {
    this.#poller.close();
  }

  async #look(): Promise<void> {
    const { paths, parse, onChange } = this.#options;
    let stamp = 'unreadable';
    try {
      const read = await readAll(paths, this.#stamp);
      stamp = read.stamp;
      if (stamp === this.#stamp) {
        this.#refused = null;
        return;
      }
      const value = parse(read.contents);
      this.#stamp = stamp;
      this.#current = value;
      this.#refused = null;
      onChange?.(value);
    } catch (error) {
      this.#refuse(stamp, error instanceof Error ? error.message : String(error));
    }
  }

  #refuse(stamp: string, reason: string): void {
    if (this.#refused?.stamp !== stamp) {
      this.#refused = { stamp, told: false };
      return;
    }
    if (this.#refused.told) return;
    this.#refused.told = true;
    this.#options.onRefused?.(reason);
  }
}

/** The contents are left out where the files' stamps are `known`. */
async function readAll(
  paths: readonly string[],
  known: string | null,
): Promise<{ readonly stamp: string; readonly contents: readonly Buffer[] }> {
  const stamps: string[] = [];
  const contents: Buffer[] = [];
  for (const path of paths) {
    // Not blocking: opening a pipe would otherwise wait for its other end.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      // Taken before the content: a write in between changes the stamp, and the next look reads again.
      const stat = await handle.stat({ bigint: true });
      if (!stat.isFile()) throw new Error(`${path}: expected a file`);
      if (stat.size > largestFileBytes)
        throw new Error(`${path}: expected at most ${largestFileBytes} bytes, received ${stat.size}`);
      stamps.push(`${stat.mtimeNs} ${stat.ctimeNs} ${stat.size} ${stat.ino}`);
      contents.push(await handle.readFile());
    } finally {
      await handle.close();
    }
  }
  const stamp = stamps.join();
  return { stamp, contents: stamp === known ? [] : contents };
}
