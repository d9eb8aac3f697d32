/** Who owns what at the C API, seen from the plugin's side: objects handed out and not destroyed, and calls that break the rules. */

export type ObjectKind = 'client' | 'loaded executable' | 'executable' | 'buffer' | 'event' | 'error';

export class ObjectLedger {
  readonly #live = new Map<bigint, ObjectKind>();
  readonly #created = new Map<ObjectKind, number>();
  /** Objects destroyed twice or used after they were: each would be memory corruption in the plugin. */
  readonly violations: string[] = [];

  created(kind: ObjectKind, handle: bigint): void {
    this.#live.set(handle, kind);
    this.#created.set(kind, (this.#created.get(kind) ?? 0) + 1);
  }

  /** Whether the plugin may go on to destroy it. */
  destroyed(kind: ObjectKind, handle: bigint): boolean {
    if (!this.#isLive(kind, handle, 'destroyed')) return false;
    this.#live.delete(handle);
    return true;
  }

  used(kind: ObjectKind, handle: bigint): void {
    this.#isLive(kind, handle, 'used');
  }

  /** How many of each kind are not destroyed; none of a kind, no key. */
  live(): Partial<Record<ObjectKind, number>> {
    const counts: Partial<Record<ObjectKind, number>> = {};
    for (const kind of this.#live.values()) counts[kind] = (counts[kind] ?? 0) + 1;
    return counts;
  }

  /** How many were ever made. */
  total(kind: ObjectKind): number {
    return this.#created.get(kind) ?? 0;
  }

  #isLive(kind: ObjectKind, handle: bigint, verb: string): boolean {
    const found = this.#live.get(handle);
    if (found === kind) return true;
    this.violations.push(`${kind} ${handle.toString(16)} was ${verb}, where there is ${found ?? 'nothing'}`);
    return false;
  }
}
