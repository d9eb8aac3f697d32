/**
 * Which programs were used, kept beside the executables, so that the next start can load what this one was asked for before anybody asks
 * again. Counts fade by half at each start: what nobody asks for any more is forgotten.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../clock.js';
import { bucketName, specKey, type Bucket, type ProgramSpec } from '../operators/signature.js';
import type { ExecutableCache } from './executable-cache.js';
import { loweringDigest } from './lowering-digest.js';

export interface UsedProgram {
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  /** Batches. */
  readonly uses: number;
}

export interface ProgramUsageOptions {
  readonly cache: ExecutableCache;
  readonly clock: Clock;
  /** The programs that are loaded now, with their uses in this run. */
  readonly used: () => readonly UsedProgram[];
}

/** Loading one takes some 20 ms out of the cache and a second without, one after another. */
const maxRemembered = 64;
/** A process that is killed loses what it learned since. */
const savePeriodMs = 30_000;

export class ProgramUsage {
  /** Of earlier runs of the same code, the most used first. */
  readonly last: readonly UsedProgram[];
  readonly #options: ProgramUsageOptions;
  readonly #key: string;
  #saved: string;
  #saving: Promise<void> = Promise.resolve();
  #cancelTimer: () => void = () => undefined;

  private constructor(options: ProgramUsageOptions, key: string, saved: string) {
    this.#options = options;
    this.#key = key;
    this.#saved = saved;
    // The checksum and the key with the code's digest say that this code wrote it.
    this.last = saved === '' ? [] : (JSON.parse(saved) as UsedProgram[]);
    this.#saveLater();
  }

  static async open(options: ProgramUsageOptions): Promise<ProgramUsage> {
    const key = createHash('sha256').update(`usage ${loweringDigest()}`).digest('hex');
    const saved = await options.cache.read(key, false);
    return new ProgramUsage(options, key, saved === null ? '' : Buffer.from(saved).toString('utf8'));
  }

  /** Saves what was used until now, and nothing after. */
  async close(): Promise<void> {
    this.#cancelTimer();
    await this.#save();
  }

  #saveLater(): void {
    this.#cancelTimer = this.#options.clock.after(savePeriodMs, () => {
      void this.#save();
      this.#saveLater();
    });
  }

  #save(): Promise<void> {
    const text = JSON.stringify(this.#merged());
    if (text === (this.#saved === '' ? '[]' : this.#saved)) return this.#saving;
    this.#saved = text;
    this.#saving = this.#saving.then(() => this.#options.cache.write(this.#key, new TextEncoder().encode(text)));
    return this.#saving;
  }

  #merged(): UsedProgram[] {
    const merged = new Map<string, UsedProgram>();
    const faded = this.last.map((program) => ({ ...program, uses: Math.floor(program.uses / 2) }));
    for (const { spec, bucket, uses } of [...faded, ...this.#options.used()]) {
      const id = `${specKey(spec)} ${bucketName(bucket)}`;
      const before = merged.get(id)?.uses ?? 0;
      if (before + uses > 0) merged.set(id, { spec, bucket, uses: before + uses });
    }
    return [...merged.values()].sort((a, b) => b.uses - a.uses).slice(0, maxRemembered);
  }
}
