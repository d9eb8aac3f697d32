/**
 * Which loaded program serves a job. Programs are compiled once per (spec, bucket), kept until memory runs short, and
 * stood in for by the next larger ready one while they compile.
 */
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import {
  bucketName,
  shapeIn,
  specKey,
  type Bucket,
  type ProgramSpec,
  type Signature,
  type TensorData,
} from '../operators/signature.js';
import type { Engine, LoadedProgram, Parameters, ProgramRequest } from './engine.js';
import { LoadQueue } from './load-queue.js';
import { longestRunMs } from './longest-run.js';
import type { UsedProgram } from './program-usage.js';
import { StoredProgram } from './stored-program.js';
import { type CoreTimes, WarmPace } from './warm-pace.js';

export interface ProgramStoreOptions {
  readonly engine: Engine;
  /**
   * Least recently used programs leave when the loaded ones keep more than this, those of the warm set last where that takes no more than half of it.
   * The one last loaded always stays.
   */
  readonly memoryLimitBytes: number;
  readonly clock: Clock;
  readonly metrics: Pick<
    Metrics,
    'executableCache' | 'compileDuration' | 'executableResidentBytes' | 'executablesResident'
  >;
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** See `warm-pace.ts`; left out: warm sets are loaded as fast as they can be. */
  readonly cores?: CoreTimes;
}

export interface WarmFailure {
  readonly bucket: Bucket;
  readonly error: CoordinatorError;
}

/** Called after each program of a warm set. */
export type WarmProgress = (done: number, total: number) => void;

/** A crash while warming is mostly somebody else's program: the load is tried again. */
const warmAttempts = 3;

/** Programs that may run longer, as `longestRunMs` says for a slow machine, are not tried before they are handed out. */
const longestTrialMs = 1_000;

/** Volume of a batch that any smaller one may run in: one of 1024 agents and tasks, or 64 of 128. */
const freeVolume = 2 ** 20;

interface Waiter {
  readonly key: string;
  readonly wanted: Bucket;
  readonly resolve: (program: LoadedProgram) => void;
}

export class ProgramStore {
  readonly #options: ProgramStoreOptions;
  /** Loaded programs by spec key; a family is small (one per bucket). */
  readonly #families = new Map<string, StoredProgram[]>();
  readonly #queue: LoadQueue;
  readonly #waiters = new Set<Waiter>();
  #warmSet: readonly ProgramRequest[] = [];
  /** Of `#warmSet`, by `idOf`. */
  #warmIds: ReadonlySet<string> = new Set();
  #residentBytes = 0;
  /** Counts uses, for least recently used. */
  #uses = 0;

  constructor(options: ProgramStoreOptions) {
    this.#options = options;
    this.#queue = new LoadQueue({
      clock: options.clock,
      concurrency: options.engine.loadConcurrency ?? 1,
      load: (request, key) => this.#compile(request, key),
      onRefused: ({ spec, bucket }, { message }) =>
        options.log?.('a program could not be loaded', { bucket: bucketName(bucket), spec, reason: message }),
    });
    options.engine.onReset(() => this.#reset());
  }

  /** As the engine says it. */
  get concurrency(): number {
    return this.#options.engine.concurrency;
  }

  /** What the loaded programs keep, as the engine estimates it. */
  get residentBytes(): number {
    return this.#residentBytes;
  }

  /** Buckets of the spec whose programs are loaded now, smallest first. `key` is `specKey(spec)`. */
  loadedBuckets(key: string): Bucket[] {
    const family = this.#families.get(key) ?? [];
    return family.map(({ bucket }) => bucket).sort((a, b) => volume(a) - volume(b));
  }

  /**
   * The program for a batch, now: the exact one, else the cheapest larger one of the same spec while the exact one is
   * loaded in the background. Null where none is ready; its load has then begun, and `prepare` waits for it.
   * `key` is `specKey(spec)`.
   */
  ready(spec: ProgramSpec, key: string, wanted: Bucket, parameters: Parameters): LoadedProgram | null {
    const { executableCache } = this.#options.metrics;
    const found = this.#cheapest(key, wanted);
    if (found !== null && isSame(found.bucket, wanted)) {
      executableCache.inc({ result: 'hit' });
      return found;
    }
    executableCache.inc({ result: found === null ? 'miss' : 'larger' });
    // A refusal is told to whoever waits for it in `prepare`.
    this.#load({ spec, bucket: wanted, parameters }, key, found === null).catch(() => undefined);
    return found;
  }

  /**
   * Resolves with the first program that can serve: at once where one is ready, else when one is loaded.
   * Rejects with COMPILE_FAILED (remembered for a while), ENGINE_FAILED (the next call tries again) or QUEUE_FULL
   * (too many different programs wait).
   */
  async prepare(spec: ProgramSpec, key: string, wanted: Bucket, parameters: Parameters): Promise<LoadedProgram> {
    const found = this.#cheapest(key, wanted);
    if (found !== null) return found;
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { key, wanted, resolve };
      this.#waiters.add(waiter);
      this.#load({ spec, bucket: wanted, parameters }, key, true).then(resolve, (thrown: unknown) => {
        // Where a larger program came meanwhile, the waiter has its answer and this rejection changes nothing.
        this.#waiters.delete(waiter);
        reject(CoordinatorError.from(thrown));
      });
    });
  }

  /**
   * Loads a set of programs, as many at a time as the engine says, and remembers it in place of the previous one: it is loaded
   * again after an engine reset. Programs that fail are returned and do not stop the others.
   */
  async warm(requests: readonly ProgramRequest[], progress?: WarmProgress): Promise<WarmFailure[]> {
    this.#warmSet = requests;
    this.#warmIds = new Set(requests.map(({ spec, bucket }) => idOf(specKey(spec), bucket)));
    const failures: WarmFailure[] = [];
    const { clock, cores } = this.#options;
    const pace = cores === undefined ? null : new WarmPace({ clock, cores });
    let next = 0;
    let done = 0;
    const warmThem = async (): Promise<void> => {
      for (let request = requests[next++]; request !== undefined; request = requests[next++]) {
        const loaded = pace?.begin();
        const error = await this.#warmOne(request);
        if (error !== null) failures.push({ bucket: request.bucket, error });
        progress?.(++done, requests.length);
        if (next < requests.length) await loaded?.();
      }
    };
    await Promise.all(Array.from({ length: this.#options.engine.loadConcurrency ?? 1 }, warmThem));
    return failures;
  }

  /**
   * Loads programs that nobody asked for yet, one after another and behind everything that somebody waits for, until half of the memory is
   * taken: the rest is for what is asked for. What cannot be loaded is left to whoever asks for it. Never rejects.
   */
  async loadAhead(requests: readonly ProgramRequest[]): Promise<void> {
    for (const request of requests) {
      if (this.#residentBytes > this.#options.memoryLimitBytes / 2) return;
      await this.#load(request, specKey(request.spec), false).catch(() => undefined);
    }
  }

  /** The loaded programs, and for how many batches each was found. */
  used(): UsedProgram[] {
    return [...this.#families.values()].flat().map(({ spec, bucket, uses }) => ({ spec, bucket, uses }));
  }

  async #warmOne(request: ProgramRequest): Promise<CoordinatorError | null> {
    const key = specKey(request.spec);
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#load(request, key, true);
        return null;
      } catch (thrown) {
        const error = CoordinatorError.from(thrown);
        if (error.code !== 'ENGINE_FAILED' || attempt === warmAttempts) return error;
      }
    }
  }

  #cheapest(key: string, wanted: Bucket): StoredProgram | null {
    let best: StoredProgram | null = null;
    for (const program of this.#families.get(key) ?? []) {
      if (serves(program.bucket, wanted) && (best === null || volume(program.bucket) < volume(best.bucket)))
        best = program;
    }
    if (best !== null) {
      best.lastUse = ++this.#uses;
      best.uses++;
    }
    return best;
  }

  /** The program of exactly this bucket; loaded, queued or begun already: the same promise for all. */
  #load(request: ProgramRequest, key: string, urgent: boolean): Promise<StoredProgram> {
    const loaded = this.#families.get(key)?.find((program) => isSame(program.bucket, request.bucket));
    if (loaded !== undefined) return Promise.resolve(loaded);
    return this.#queue.add(request, key, urgent);
  }

  /**
   * Loads, and runs once on padding: a first run allocates memory, and a program that cannot run must not be handed out.
   * A program that may run for seconds is spared that: it would keep everybody waiting, its first caller twice.
   */
  async #compile(request: ProgramRequest, key: string): Promise<StoredProgram> {
    const { engine, clock, metrics } = this.#options;
    const startedMs = clock.nowMs();
    const loaded = await engine.load(request);
    try {
      if (longestRunMs(request.spec, request.bucket) <= longestTrialMs)
        await loaded.run(paddingInputs(loaded.signature, request.bucket));
    } catch (thrown) {
      engine.unload(loaded);
      throw thrown;
    }
    metrics.compileDuration.observe((clock.nowMs() - startedMs) / 1000);
    const program = new StoredProgram(
      loaded,
      () => this.#load(request, key, true),
      () => this.#evict(null),
    );
    this.#keep(program, key);
    return program;
  }

  #keep(program: StoredProgram, key: string): void {
    program.lastUse = ++this.#uses;
    const family = this.#families.get(key);
    if (family === undefined) this.#families.set(key, [program]);
    else family.push(program);
    this.#residentBytes += program.residentBytes;
    this.#evict(program);
    for (const waiter of this.#waiters) {
      if (waiter.key !== key || !serves(program.bucket, waiter.wanted)) continue;
      this.#waiters.delete(waiter);
      program.uses++;
      waiter.resolve(program);
    }
  }

  /** Unloads least recently used programs until the rest fits; never one that runs, nor `spared`. */
  #evict(spared: StoredProgram | null): void {
    const { engine, memoryLimitBytes, metrics } = this.#options;
    while (this.#residentBytes > memoryLimitBytes) {
      const kept = this.#keptWarm();
      let victim: StoredProgram | null = null;
      let home = '';
      for (const [key, family] of this.#families) {
        for (const program of family) {
          if (program === spared || program.running > 0) continue;
          const goesFirst = victim !== null && kept.has(program) !== kept.has(victim) ? kept.has(victim) : null;
          if (victim === null || (goesFirst ?? program.lastUse < victim.lastUse)) [victim, home] = [program, key];
        }
      }
      const loaded = victim?.release();
      if (victim === null || loaded === undefined || loaded === null) break;
      const rest = this.#families.get(home)?.filter((program) => program !== victim) ?? [];
      if (rest.length > 0) this.#families.set(home, rest);
      else this.#families.delete(home);
      this.#residentBytes -= victim.residentBytes;
      engine.unload(loaded);
      metrics.executableCache.inc({ result: 'evicted' });
    }
    this.#showResident();
  }

  /** The loaded programs of the warm set; none where they take more than half of the memory, as what is asked for would never stay. */
  #keptWarm(): ReadonlySet<StoredProgram> {
    const warm = new Set<StoredProgram>();
    let bytes = 0;
    for (const [key, family] of this.#families) {
      for (const program of family) {
        if (!this.#warmIds.has(idOf(key, program.bucket))) continue;
        warm.add(program);
        bytes += program.residentBytes;
      }
    }
    return bytes <= this.#options.memoryLimitBytes / 2 ? warm : new Set();
  }

  #showResident(): void {
    const { engine, metrics } = this.#options;
    const labels = { engine: engine.name, device: engine.device };
    let programs = 0;
    for (const family of this.#families.values()) programs += family.length;
    metrics.executableResidentBytes.set(labels, this.#residentBytes);
    metrics.executablesResident.set(labels, programs);
  }

  /** The engine lost everything: so does the store. What is queued stays queued; the warm set comes back behind it. */
  #reset(): void {
    for (const family of this.#families.values()) for (const program of family) program.release();
    this.#families.clear();
    this.#residentBytes = 0;
    this.#showResident();
    this.#queue.abandonCurrent();
    for (const request of this.#warmSet) this.#load(request, specKey(request.spec), false).catch(() => undefined);
  }
}

/**
 * Whether a batch for `wanted` may run in `bucket`. A much larger one would take longer than loading the exact one does
 * (some 0.1 s), so beyond `freeVolume` a stand-in may be at most four times as large.
 */
function serves(bucket: Bucket, wanted: Bucket): boolean {
  if (bucket.batch < wanted.batch || bucket.agents < wanted.agents || bucket.tasks < wanted.tasks) return false;
  return volume(bucket) <= Math.max(freeVolume, 4 * volume(wanted));
}

function isSame(bucket: Bucket, wanted: Bucket): boolean {
  return bucket.batch === wanted.batch && bucket.agents === wanted.agents && bucket.tasks === wanted.tasks;
}

function idOf(key: string, bucket: Bucket): string {
  return `${key} ${bucketName(bucket)}`;
}

/** What a run costs is about proportional to this. */
function volume(bucket: Bucket): number {
  return bucket.batch * bucket.agents * Math.max(bucket.tasks, 1);
}

/** A batch without problems: every slot as the signature pads it. */
export function paddingInputs(signature: Signature, bucket: Bucket): TensorData[] {
  return signature.inputs.map((input) => {
    const length = shapeIn(input, bucket).reduce((size, axis) => size * axis, 1);
    const data = input.dtype === 'int32' ? new Int32Array(length) : new Float32Array(length);
    return input.pad === 0 ? data : data.fill(input.pad);
  });
}
