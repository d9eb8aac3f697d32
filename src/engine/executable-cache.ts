/**
 * Compiled executables on disk, and ONNX models as the runtime optimised them, so that a restarted process compiles nothing. One file an entry, named by its key; several processes may share
 * the folder. A file is whole or not there: it is written beside its place and renamed. Nothing is synced to the disk: a file that a power cut
 * left short or wrong fails its checksum, is deleted, and its program is compiled anew. Whatever the disk does costs a warning and time, never an answer.
 *
 * Whoever can write to the folder can run code in this process: it is made for its owner only.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { Metrics } from '../metrics.js';

export interface ExecutableCacheOptions {
  /** Made when the first entry is written. */
  readonly directory: string;
  /** Of all files together. Beyond it the least recently used go. */
  readonly limitBytes: number;
  readonly metrics: Pick<Metrics, 'executableCache'>;
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** Where executables are kept, out of what an environment says. */
export interface CachePlace {
  readonly XDG_CACHE_HOME?: string | undefined;
}

/** The cache folder of the XDG base directories (which ignore a relative path), else ~/.cache. */
export function executableCacheDirectory({ XDG_CACHE_HOME: cache = '' }: CachePlace, homeFolder: string): string {
  return join(isAbsolute(cache) ? cache : join(homeFolder, '.cache'), 'tensor-consensus', 'executables');
}

/** Of a file: magic with the format's version, key, SHA-256 of the payload, its length (64 bits, little-endian), the payload. */
const magic = new TextEncoder().encode('TCEXEC01');
const layout = { key: 8, digest: 40, length: 72, payload: 80 } as const;
const extension = '.tcx';
/** Only what this cache wrote is ever deleted: the folder may hold other things. */
const ownFile = /^[0-9a-f]{64}\.tcx$/;
const ownTemporary = /^[0-9a-f-]{36}\.tmp$/;
/** What a process that died left half written is removed when it is so old. */
const abandonedMs = 3_600_000;
/** The folder is looked through after this share of the limit was written; other processes write too. */
const sweepShare = 1 / 16;

/** Keys are SHA-256 digests in hexadecimal. */
export class ExecutableCache {
  readonly #options: ExecutableCacheOptions;
  readonly #told = new Set<string>();
  /** Since the folder was last looked through; null before the first time. */
  #writtenBytes: number | null = null;
  #sweeping: Promise<void> = Promise.resolve();

  constructor(options: ExecutableCacheOptions) {
    this.#options = options;
  }

  /**
   * What was written under the key, as its file holds it now; null where there is none. A file that is not what its name says is deleted.
   * `counted`: whether the look-up is of an executable, and goes into the metric.
   */
  async read(key: string, counted = true): Promise<Uint8Array<ArrayBuffer> | null> {
    const path = this.#path(key);
    let file: Uint8Array<ArrayBuffer>;
    try {
      file = await readFile(path);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') this.#warn('read', error);
      if (counted) this.#count('disk_miss');
      return null;
    }
    const payload = file.subarray(layout.payload);
    const wrong = whatIsWrong(file, payload, key);
    if (wrong !== null) {
      await this.refuse(key, wrong);
      return null;
    }
    if (counted) this.#count('disk_hit');
    const now = new Date();
    utimes(path, now, now).catch(() => undefined); // least recently used, as well as the disk allows
    return payload;
  }

  /** Resolves when the entry is there for every process, or cannot be. */
  async write(key: string, payload: Uint8Array): Promise<void> {
    const { directory, limitBytes } = this.#options;
    if (payload.length + layout.payload > limitBytes) return;
    const header = new Uint8Array(layout.payload);
    header.set(magic);
    header.set(Buffer.from(key, 'hex'), layout.key);
    header.set(sha256(payload), layout.digest);
    new DataView(header.buffer).setBigUint64(layout.length, BigInt(payload.length), true);
    const temporary = join(directory, `${randomUUID()}.tmp`);
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeFile(temporary, Buffer.concat([header, payload]), { flag: 'wx', mode: 0o600 });
      await rename(temporary, this.#path(key));
    } catch (error) {
      this.#warn('written', error);
      await rm(temporary, { force: true }).catch(() => undefined);
      return;
    }
    if (this.#writtenBytes !== null) this.#writtenBytes += layout.payload + payload.length;
    if (this.#writtenBytes === null || this.#writtenBytes > limitBytes * sweepShare) {
      this.#writtenBytes = 0;
      this.#sweeping = this.#sweeping.then(() => this.#sweep());
    }
    await this.#sweeping;
  }

  /** Path of an empty file of this process in the folder, for whoever writes files only; null where there can be none. The caller deletes it. */
  async temporary(): Promise<string | null> {
    const { directory } = this.#options;
    const path = join(directory, `${randomUUID()}.tmp`);
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeFile(path, '', { flag: 'wx', mode: 0o600 });
      return path;
    } catch (error) {
      this.#warn('written', error);
      return null;
    }
  }

  /** The entry is whole, but nothing can be done with it, or it is broken: it is deleted and counted. */
  async refuse(key: string, reason: string): Promise<void> {
    this.#count('disk_refused');
    this.#options.log?.('a cached executable was refused and deleted', { file: this.#path(key), reason });
    await rm(this.#path(key), { force: true }).catch((error: unknown) => this.#warn('deleted', error));
  }

  /** Deletes the least recently used files beyond the limit. Files that another process deleted meanwhile are gone as wanted. */
  async #sweep(): Promise<void> {
    const { directory, limitBytes } = this.#options;
    try {
      const files: { path: string; bytes: number; usedMs: number }[] = [];
      for (const name of await readdir(directory)) {
        const path = join(directory, name);
        const found = await stat(path).catch(() => null);
        if (found === null || !found.isFile()) continue;
        if (ownFile.test(name)) files.push({ path, bytes: found.size, usedMs: found.mtimeMs });
        else if (ownTemporary.test(name) && Date.now() - found.mtimeMs > abandonedMs) await rm(path, { force: true });
      }
      files.sort((a, b) => a.usedMs - b.usedMs);
      let total = files.reduce((sum, { bytes }) => sum + bytes, 0);
      for (const { path, bytes } of files) {
        if (total <= limitBytes) break;
        await rm(path, { force: true });
        total -= bytes;
      }
    } catch (error) {
      this.#warn('kept within its limit', error);
    }
  }

  #path(key: string): string {
    return join(this.#options.directory, key + extension);
  }

  #count(result: 'disk_hit' | 'disk_miss' | 'disk_refused'): void {
    this.#options.metrics.executableCache.inc({ result });
  }

  /** Once for each thing that the disk does not let us do. */
  #warn(what: string, error: unknown): void {
    if (this.#told.has(what)) return;
    this.#told.add(what);
    const reason = error instanceof Error ? error.message : String(error);
    this.#options.log?.(`the executable cache cannot be ${what}; programs are compiled at every start`, {
      directory: this.#options.directory,
      reason,
    });
  }
}

/** Null where the file is what was written. */
function whatIsWrong(file: Uint8Array, payload: Uint8Array, key: string): string | null {
  if (file.length < layout.payload) return `${file.length} bytes are less than its header`;
  if (!Buffer.from(magic).equals(file.subarray(0, magic.length))) return 'it is of another format';
  if (Buffer.from(file.subarray(layout.key, layout.digest)).toString('hex') !== key) return 'it is of another key';
  const length = new DataView(file.buffer, file.byteOffset).getBigUint64(layout.length, true);
  if (length !== BigInt(payload.length)) return `expected ${length} bytes, received ${payload.length}`;
  if (!sha256(payload).equals(file.subarray(layout.digest, layout.length))) return 'its checksum does not match';
  return null;
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
