/**
 * Who frees what: every object of a plugin belongs to one JavaScript object, which frees it exactly once. Disposing twice is safe, using it
 * afterwards throws. Freeing waits for calls in flight and for everything made out of the object, so the order of disposal does not matter. What takes
 * long to free is freed off the event loop: it counts as live until that is done, and what it was made out of waits for it.
 */
let live = 0;
const freeing = new Set<Promise<void>>();

/** Objects of plugins that are not freed yet, over the whole process. Zero when everything was disposed and nothing is in flight. */
export function livePjrtObjects(): number {
  return live;
}

/** Resolves once nothing is being freed off the event loop. Never rejects. */
export async function freedInBackground(): Promise<void> {
  while (freeing.size > 0) await Promise.all(freeing);
}

export abstract class PjrtObject implements Disposable {
  readonly #kind: string;
  readonly #handle: bigint;
  readonly #owner: PjrtObject | null;
  #uses = 0;
  #disposed = false;
  #freed = false;

  /** Takes over `handle`. `owner` is what the object was made out of and must outlive it. */
  protected constructor(kind: string, handle: bigint, owner: PjrtObject | null) {
    this.#kind = kind;
    this.#handle = handle;
    this.#owner = owner;
    owner?.hold();
    live++;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** The pointer, for a call that starts now. Throws after `dispose`. */
  get handle(): bigint {
    if (this.#disposed) throw new Error(`${this.#kind} was used after it was disposed`);
    return this.#handle;
  }

  /** Puts off freeing until the matching `unhold`: around calls that do not end at once. */
  hold(): void {
    if (this.#freed) throw new Error(`${this.#kind} was used after it was freed`);
    this.#uses++;
  }

  unhold(): void {
    this.#uses--;
    this.#freeIfUnused();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#freeIfUnused();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Frees the plugin's object; what it returns, where it takes longer, never rejects. Called once. */
  protected abstract free(handle: bigint): void | Promise<void>;

  #freeIfUnused(): void {
    if (!this.#disposed || this.#freed || this.#uses > 0) return;
    this.#freed = true;
    let rest: void | Promise<void> = undefined;
    try {
      rest = this.free(this.#handle);
    } finally {
      if (rest === undefined) this.#forget();
    }
    if (rest === undefined) return;
    const background = rest.then(() => {
      freeing.delete(background);
      this.#forget();
    });
    freeing.add(background);
  }

  #forget(): void {
    live--;
    this.#owner?.unhold();
  }
}
