/** Waiting for what a plugin does on its own threads. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PjrtApi } from './call.js';
import { yieldCore } from './core-yield.js';
import { NativeStruct } from './native-memory.js';
import { PjrtObject } from './ownership.js';

/**
 * An event of a plugin. It is awaited by `PJRT_Event_Await` on libuv's pool (a round trip of about 15 us), not by a callback: koffi runs a
 * callback from a foreign thread on the main thread and keeps the plugin's thread waiting until JavaScript gets to it, and a
 * callback during exit aborts.
 */
export class PjrtEvent extends PjrtObject {
  /** What the plugin uses until then, kept from being collected. */
  readonly memory: unknown;
  readonly #api: PjrtApi;

  constructor(api: PjrtApi, handle: bigint, owner: PjrtObject | null, memory: unknown = null) {
    super('event', handle, owner);
    this.#api = api;
    this.memory = memory;
  }

  get ready(): boolean {
    const args = this.#api.shared('Event_IsReady');
    args.set('event', this.handle);
    this.#api.call(args);
    return args.flag('isReady');
  }

  /**
   * Settles with the event and disposes it. Rejects with the PjrtError that the event carries. While `keepsLooking` says so, the event loop does not sleep
   * until then, but looks in each of its turns: a core that sleeps takes 50 to 100 us to wake, and both the thread of libuv's pool and this one do.
   */
  async settle(keepsLooking?: () => boolean): Promise<void> {
    try {
      if (await this.#isSeenReady(keepsLooking)) {
        const args = this.#api.shared('Event_Error');
        args.set('event', this.handle);
        this.#api.call(args);
      } else {
        const args = new NativeStruct('Event_Await');
        args.set('event', this.handle);
        await this.#api.callAsync(args);
      }
    } finally {
      this.dispose();
    }
  }

  async #isSeenReady(keepsLooking: (() => boolean) | undefined): Promise<boolean> {
    while (!this.ready) {
      if (keepsLooking?.() !== true) return false;
      // The plugin's threads may want this very core.
      yieldCore();
      await nextTurn();
    }
    return true;
  }

  protected override free(handle: bigint): void {
    const args = this.#api.shared('Event_Destroy');
    args.set('event', handle);
    this.#api.call(args);
  }
}
