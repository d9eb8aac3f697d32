/** How a call learns that its caller has gone away. Made for every call, which an AbortController is too heavy for. */

/** What is used of an AbortSignal, which is one. */
export interface CancelSignal {
  readonly aborted: boolean;
  /** Why, where that is known. */
  readonly reason?: unknown;
  /** Called at most once: nothing is aborted twice. */
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once: true }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

export class Cancellation implements CancelSignal {
  #aborted = false;
  #reason: unknown = undefined;
  readonly #listeners: (() => void)[] = [];
  readonly #outer: CancelSignal | null;
  readonly #follow = (): void => this.abort();

  /** Aborted with `outer`, too, until it is released. */
  constructor(outer: CancelSignal | null = null) {
    this.#outer = outer;
    if (outer?.aborted === true) this.#aborted = true;
    else outer?.addEventListener('abort', this.#follow);
  }

  /** What it was aborted for, else the outer one's. */
  get reason(): unknown {
    return this.#reason ?? this.#outer?.reason;
  }

  /** Lets go of the outer one. */
  release(): void {
    this.#outer?.removeEventListener('abort', this.#follow);
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    if (!this.#aborted) this.#listeners.push(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const at = this.#listeners.indexOf(listener);
    if (at >= 0) this.#listeners.splice(at, 1);
  }

  /** Calls who listens, in turn; one that is taken off by another before its turn is not called. */
  abort(reason?: unknown): void {
    if (!this.#aborted) this.#reason = reason;
    this.#aborted = true;
    for (let next = this.#listeners.shift(); next !== undefined; next = this.#listeners.shift()) next();
  }
}
