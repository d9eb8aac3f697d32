/**
 * Several engines in order of preference. Work goes to the best one that is trusted. A program that one engine refuses, and
 * a batch that failed on it, go to the next; an engine that keeps failing, or lost its programs, is left until a probe finds
 * it working again. The preferred engine is the best one that has loaded its warm set in this process.
 */
import type { ProgramSource, RunFailure } from '../batching/program-source.js';
import { holdsNaN } from '../batching/run-check.js';
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import type { FailoverReason, Metrics } from '../metrics.js';
import { bucketName, specKey, type Bucket, type ProgramSpec } from '../operators/signature.js';
import { CircuitBreaker } from './circuit-breaker.js';
import type { Engine, LoadedProgram, LossReason, Parameters, ProgramRequest } from './engine.js';
import { paddingInputs, type ProgramStore, type WarmProgress } from './program-store.js';
import type { UsedProgram } from './program-usage.js';
import { Rung, type OpenRung, type RungOptions } from './rung.js';

export interface LadderOptions {
  /** Best first; at least one. */
  readonly rungs: readonly RungOptions[];
  /** Every engine has a store of its own. */
  readonly createStore: (engine: Engine) => ProgramStore;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'engineActive' | 'engineFailover'>;
  readonly log: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** How long a program stays with the next engine after one refused to load it, or failed while it did. */
const refusalMs = 30_000;
const loadFailureMs = 1_000;
const maxRefusals = 256;

export class Ladder implements ProgramSource {
  readonly #options: LadderOptions;
  readonly #rungs: readonly Rung[];
  #active: Rung;
  /** Who made a program that was handed out. */
  readonly #makers = new WeakMap<LoadedProgram, { readonly rung: Rung; readonly opened: OpenRung }>();
  /** Until when a program is not asked of an engine, by `refusalId`. */
  readonly #refusals = new Map<string, number>();
  #warmSet: readonly ProgramRequest[] = [];
  /** Name and device of the last engine that took work, for while it is being opened anew. */
  #shown = { name: '', device: '' };
  #serving = false;
  #closed = false;

  constructor(options: LadderOptions) {
    this.#options = options;
    const onReset = (rung: Rung, reason: LossReason) => this.#lost(rung, reason);
    this.#rungs = options.rungs.map((rung, index) => {
      const made = new Rung(rung, index, { createStore: options.createStore, onReset });
      made.breaker = new CircuitBreaker({
        clock: options.clock,
        probe: () => this.#probe(made),
        onClosed: () => this.#recovered(made),
        onProbeFailed: ({ message }, nextProbeMs) =>
          options.log('an engine does not work yet', { engine: made.name, reason: message, nextProbeMs }),
      });
      return made;
    });
    const [first] = this.#rungs;
    if (first === undefined) throw new Error('a ladder without rungs');
    this.#active = first;
  }

  /** Opens the best engine that opens; the ones before it are out for good. Rejects with the first one's error where none does. */
  async start(): Promise<void> {
    let failure: unknown = null;
    for (const rung of this.#rungs) {
      try {
        await rung.open();
      } catch (thrown) {
        failure ??= thrown;
        this.#skip(rung, thrown);
        continue;
      }
      if (rung !== this.#active)
        this.#options.metrics.engineFailover.inc({ from: this.#active.name, to: rung.name, reason: 'open_failed' });
      this.#active = rung;
      this.#showActive();
      return;
    }
    throw failure;
  }

  /** Name of the engine that takes work now. */
  get name(): string {
    return this.#shown.name;
  }

  get device(): string {
    return this.#shown.device;
  }

  get concurrency(): number {
    return this.#active.current?.engine.concurrency ?? 1;
  }

  get fallingBack(): boolean {
    return this.#active.index > this.#preferred();
  }

  /** Whether work may be given to each engine, best first. */
  usable(): (readonly [name: string, usable: boolean])[] {
    return this.#rungs.map(({ name, usable }) => [name, usable]);
  }

  /** Of the engine that takes work now, as its store says it. */
  loadedBuckets(key: string): Bucket[] {
    return this.#active.current?.store.loadedBuckets(key) ?? [];
  }

  /**
   * Loads the warm set on the best engine that can: programs that it refuses on the next one, all of it where the engine
   * fails. Rejects where no engine is left. Once one was warmed, later sets are loaded on all open engines, and failures
   * are left to whoever asks for those programs.
   */
  async warm(requests: readonly ProgramRequest[], progress?: WarmProgress): Promise<void> {
    this.#warmSet = requests;
    if (this.#rungs.some(({ warmed }) => warmed)) {
      for (const { current } of this.#rungs) await current?.store.warm(requests, progress);
      return;
    }
    for (;;) {
      const rung = this.#active;
      try {
        await this.#warmRung(rung, await rung.open(), progress);
        if (rung === this.#active) return;
      } catch (thrown) {
        const error = CoordinatorError.from(thrown);
        rung.breaker.trip();
        this.#settle(error.code === 'COMPILE_FAILED' ? 'compile_failed' : 'execution_failed', error.message);
        if (this.#active === rung) throw error;
      }
    }
  }

  /** Loads programs on the engine that takes work now, behind what anybody waits for. Never rejects. */
  async loadAhead(requests: readonly ProgramRequest[]): Promise<void> {
    await this.#active.current?.store.loadAhead(requests);
  }

  /** Of the engine that takes work now. */
  used(): UsedProgram[] {
    return this.#active.current?.store.used() ?? [];
  }

  /** Opens and warms the next engine in the background, so that a step down finds it ready. Called once the server serves. */
  standBy(): void {
    this.#serving = true;
    const next = this.#rungs.find(({ index, usable }) => index > this.#active.index && usable);
    if (next !== undefined) this.#warmInBackground(next);
  }

  ready(
    spec: ProgramSpec,
    key: string,
    wanted: Bucket,
    parameters: Parameters,
    avoid: LoadedProgram | null = null,
  ): LoadedProgram | null {
    const rung = this.#choose(key, wanted, avoid);
    const opened = rung?.current ?? null;
    if (rung === null || opened === null) return null;
    const program = opened.store.ready(spec, key, wanted, parameters);
    if (program !== null && !this.#makers.has(program)) this.#makers.set(program, { rung, opened });
    return program;
  }

  async prepare(
    spec: ProgramSpec,
    key: string,
    wanted: Bucket,
    parameters: Parameters,
    avoid: LoadedProgram | null = null,
  ): Promise<LoadedProgram> {
    let last: CoordinatorError | null = null;
    for (;;) {
      const rung = this.#choose(key, wanted, avoid);
      if (rung === null) throw last ?? new CoordinatorError('ENGINE_FAILED', 'no engine is left that could run this');
      const lost = rung.breaker.state === 'closed' ? null : (rung.current?.engine.lost ?? null);
      if (lost !== null || (rung.current === null && rung.breaker.state !== 'closed'))
        throw new CoordinatorError('ENGINE_FAILED', lost ?? `${rung.name} is being opened anew`);
      const opened = await this.#openRung(rung);
      if (opened === null) {
        if (this.#choose(key, wanted, avoid) !== rung) continue;
        throw last ?? new CoordinatorError('ENGINE_FAILED', `${rung.name}: ${rung.skipped ?? 'it does not open'}`);
      }
      try {
        return await opened.store.prepare(spec, key, wanted, parameters);
      } catch (thrown) {
        last = CoordinatorError.from(thrown);
        if (last.code !== 'COMPILE_FAILED' && last.code !== 'ENGINE_FAILED') throw last;
        if (!this.#refuse(rung, key, wanted, last)) throw last;
      }
    }
  }

  isActive(program: LoadedProgram): boolean {
    const maker = this.#makers.get(program);
    return maker === undefined || (maker.rung === this.#active && maker.opened === maker.rung.current);
  }

  isFallback(program: LoadedProgram): boolean {
    const maker = this.#makers.get(program);
    return maker !== undefined && maker.rung.index > this.#preferred();
  }

  succeeded(program: LoadedProgram): void {
    this.#makers.get(program)?.rung.breaker.succeeded();
  }

  failed(program: LoadedProgram, error: CoordinatorError, failure: RunFailure): boolean {
    const maker = this.#makers.get(program);
    if (maker === undefined || this.#rungs.length === 1) return false;
    const { rung, opened } = maker;
    if (rung.current === opened && rung.breaker.failed()) this.#settle(failure, error.message);
    return this.#rungs.some((other) => other !== rung && other.usable);
  }

  /** Rejects nothing by itself: every engine rejects what it has. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#rungs.map((rung) => rung.close()));
  }

  /** The index of the best engine that has been warm; before there is one, of the active one. */
  #preferred(): number {
    for (const { warmed, index } of this.#rungs) if (warmed) return index;
    return this.#active.index;
  }

  /** The best engine that may run the program; where none is trusted, the active one as long as it lives. Null: none. */
  #choose(key: string, wanted: Bucket, avoid: LoadedProgram | null): Rung | null {
    const avoided = avoid === null ? null : (this.#makers.get(avoid)?.rung ?? null);
    const first = this.#active;
    if (first !== avoided && this.#refusals.size === 0) return first;
    for (const rung of this.#rungs) {
      if (rung === avoided || !(rung.usable || (rung === first && avoided === null))) continue;
      if (!this.#isRefused(rung, key, wanted)) return rung;
    }
    return null;
  }

  #isRefused(rung: Rung, key: string, wanted: Bucket): boolean {
    if (this.#refusals.size === 0) return false;
    const id = refusalId(rung, key, wanted);
    const untilMs = this.#refusals.get(id);
    if (untilMs === undefined) return false;
    if (untilMs > this.#options.clock.nowMs()) return true;
    this.#refusals.delete(id);
    return false;
  }

  /** The engine did not load a program: the next one serves it for a while. False where there is no other. */
  #refuse(rung: Rung, key: string, wanted: Bucket, error: CoordinatorError): boolean {
    const next = this.#rungs.find((other) => other !== rung && other.usable && !this.#isRefused(other, key, wanted));
    if (error.code === 'ENGINE_FAILED' && this.#rungs.length > 1 && rung.breaker.failed())
      this.#settle('execution_failed', error.message);
    if (next === undefined) return false;
    const { clock, log, metrics } = this.#options;
    const reason = error.code === 'COMPILE_FAILED' ? 'compile_failed' : 'execution_failed';
    for (const oldest of this.#refusals.keys()) {
      if (this.#refusals.size < maxRefusals) break;
      this.#refusals.delete(oldest);
    }
    const memoryMs = error.code === 'COMPILE_FAILED' ? refusalMs : loadFailureMs;
    this.#refusals.set(refusalId(rung, key, wanted), clock.nowMs() + memoryMs);
    metrics.engineFailover.inc({ from: rung.name, to: next.name, reason });
    log('a program runs on another engine', { from: rung.name, to: next.name, reason, detail: error.message });
    return true;
  }

  #lost(rung: Rung, reason: LossReason): void {
    const { engine } = rung.current!;
    if (rung === this.#active)
      this.#options.metrics.engineActive.set({ engine: engine.name, device: engine.device }, 0);
    // An engine that recovers by itself and has nobody beside it needs no probe: it stays the one that is asked.
    if (this.#rungs.length > 1 || engine.lost !== null) {
      if (rung.breaker.trip()) this.#settle(reason, engine.lost ?? `${rung.name} lost its programs`);
    }
    engine.whenReady?.().then(
      () => this.#showActive(),
      () => undefined,
    );
  }

  /** Moves to the best engine that is trusted; stays where there is none. */
  #settle(reason: FailoverReason, detail: string): void {
    if (this.#closed) return;
    const best = this.#rungs.find(({ usable }) => usable) ?? this.#lastStanding();
    if (best === this.#active) return;
    this.#step(best, reason, detail);
    this.#showActive();
    if (this.#serving) this.#warmInBackground(best);
    if (this.#serving) this.standBy();
  }

  #lastStanding(): Rung {
    const alive = this.#rungs.filter(({ current }) => current !== null && current.engine.lost === null);
    return alive.includes(this.#active) ? this.#active : (alive.at(-1) ?? this.#active);
  }

  #step(to: Rung, reason: FailoverReason, detail: string): void {
    const from = this.#active;
    this.#active = to;
    this.#options.metrics.engineFailover.inc({ from: from.name, to: to.name, reason });
    this.#options.log('the engine changes', { from: from.name, to: to.name, reason, detail });
  }

  /** 1 for the engine and device that take work, 0 for all others. */
  #showActive(): void {
    const { engineActive } = this.#options.metrics;
    for (const { current } of this.#rungs) {
      if (current !== null) engineActive.set({ engine: current.engine.name, device: current.engine.device }, 0);
    }
    const engine = this.#active.current?.engine;
    if (engine === undefined) return;
    this.#shown = { name: engine.name, device: engine.device };
    if (engine.lost === null) engineActive.set({ engine: engine.name, device: engine.device }, 1);
  }

  /** Null where it does not open; it is then out for good. */
  async #openRung(rung: Rung): Promise<OpenRung | null> {
    const known = rung.current;
    try {
      const opened = await rung.open();
      if (known === null) this.#showActive();
      return opened;
    } catch (thrown) {
      if (this.#closed) throw thrown;
      this.#skip(rung, thrown);
      if (rung === this.#active) this.#settle('open_failed', rung.skipped ?? '');
      return null;
    }
  }

  #skip(rung: Rung, thrown: unknown): void {
    if (rung.skipped !== null) return;
    rung.skipped = thrown instanceof Error ? thrown.message : String(thrown);
    if (this.#rungs.length > 1) this.#options.log('an engine is not used', { engine: rung.name, reason: rung.skipped });
  }

  /** Rejects with the first failure where the engine failed or refused all; programs that it refuses are loaded elsewhere. */
  async #warmRung(rung: Rung, { store }: OpenRung, progress?: WarmProgress): Promise<void> {
    const requests = this.#warmSet;
    const failures = await store.warm(requests, progress);
    const fatal = failures.find(({ error }) => error.code !== 'COMPILE_FAILED');
    if (fatal !== undefined) throw fatal.error;
    const [first] = failures;
    const isFirst = !rung.warmed;
    if (first !== undefined && (failures.length === requests.length || (this.#rungs.length === 1 && isFirst)))
      throw first.error;
    rung.warmed = true;
    if (first === undefined || rung !== this.#active) return;
    for (const { bucket } of failures) {
      const request = requests.find((one) => one.bucket === bucket)!;
      await this.prepare(request.spec, specKey(request.spec), bucket, request.parameters);
    }
  }

  /** Opens the engine where it was lost, loads the warm set and runs the last, smallest program that it did not refuse on padding. */
  async #probe(rung: Rung): Promise<void> {
    const opened = await rung.open();
    await opened.engine.whenReady?.();
    await this.#warmRung(rung, opened);
    const loaded = this.#warmSet.findLast(({ spec, bucket }) =>
      opened.store.loadedBuckets(specKey(spec)).some((other) => bucketName(other) === bucketName(bucket)),
    );
    if (loaded === undefined) return;
    const { spec, bucket, parameters } = loaded;
    const program = await opened.store.prepare(spec, specKey(spec), bucket, parameters);
    const { outputs } = await program.run(paddingInputs(program.signature, program.bucket));
    if (holdsNaN(outputs)) throw new CoordinatorError('ENGINE_FAILED', 'a run on padding gave NaN');
  }

  #recovered(rung: Rung): void {
    // Lost between the end of its probe and now.
    if ((rung.current?.engine.lost ?? null) !== null) {
      rung.breaker.trip();
      return;
    }
    for (const id of this.#refusals.keys()) if (id.startsWith(`${rung.index} `)) this.#refusals.delete(id);
    this.#settle('recovered', `${rung.name} passed its probe`);
    this.#showActive();
  }

  /** Where it does not open, the next one is the stand-by. */
  #warmInBackground(rung: Rung): void {
    if (rung.warmed || this.#closed) return;
    this.#openRung(rung)
      .then((opened) => (opened === null ? this.standBy() : this.#warmRung(rung, opened)))
      .catch((thrown: unknown) => {
        if (this.#closed) return;
        const { message } = CoordinatorError.from(thrown);
        this.#options.log('an engine could not be warmed up', { engine: rung.name, reason: message });
      });
  }
}

/** Any batch: an engine that refuses a program for one problem is not asked for several. */
function refusalId({ index }: Rung, key: string, { agents, tasks }: Bucket): string {
  return `${index} n${agents} m${tasks} ${key}`;
}
