/** One engine of the ladder: opened when it is needed, opened anew when it was lost, and trusted as its breaker says. */
import type { CircuitBreaker } from './circuit-breaker.js';
import type { Engine, LossReason } from './engine.js';
import type { ProgramStore } from './program-store.js';

export interface RungOptions {
  /** For people: `xla cpu`. */
  readonly name: string;
  /** Rejects where the engine is not to be had here. Called again after the engine was lost. */
  readonly open: () => Promise<Engine>;
}

export interface OpenRung {
  readonly engine: Engine;
  readonly store: ProgramStore;
}

export interface RungParts {
  /** A store of the engine's own. */
  readonly createStore: (engine: Engine) => ProgramStore;
  readonly onReset: (rung: Rung, reason: LossReason) => void;
}

export class Rung {
  readonly name: string;
  /** 0 is the best. */
  readonly index: number;
  /** Set by the ladder once, which its callbacks belong to. */
  breaker!: CircuitBreaker;
  /** Whether its warm set was loaded in this process. */
  warmed = false;
  /** Why it is not used in this process: it did not open. Null where it did, or was not tried. */
  skipped: string | null = null;
  current: OpenRung | null = null;
  readonly #open: () => Promise<Engine>;
  readonly #parts: RungParts;
  #opening: Promise<OpenRung> | null = null;
  #closed = false;

  constructor({ name, open }: RungOptions, index: number, parts: RungParts) {
    this.name = name;
    this.index = index;
    this.#open = open;
    this.#parts = parts;
  }

  /** Whether work may be given to it now, or once it is opened. */
  get usable(): boolean {
    return this.skipped === null && this.breaker.state === 'closed' && (this.current?.engine.lost ?? null) === null;
  }

  /** The engine, opened where it is not open or was lost. One that was lost is left behind with what it holds. */
  open(): Promise<OpenRung> {
    const { current } = this;
    if (current !== null && current.engine.lost === null) return Promise.resolve(current);
    this.#opening ??= this.#openAnew().finally(() => (this.#opening = null));
    return this.#opening;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.breaker.stop();
    await this.#opening?.catch(() => undefined);
    await this.current?.engine.close();
  }

  async #openAnew(): Promise<OpenRung> {
    const lost = this.current;
    this.current = null;
    await lost?.engine.close();
    const engine = await this.#open();
    if (this.#closed) {
      await engine.close();
      throw new Error('closed meanwhile');
    }
    const opened = { engine, store: this.#parts.createStore(engine) };
    engine.onReset((reason) => {
      if (this.current === opened) this.#parts.onReset(this, reason);
    });
    return (this.current = opened);
  }
}
