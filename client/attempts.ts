/**
 * Which replicas the attempts of a call went to. grpc-js tells a balancer nothing of the call that a pick is for but its
 * metadata, so a call carries a number in it; the balancer takes it out again before anything is sent.
 */
import type { Metadata } from '@grpc/grpc-js';

const key = 'tc-client-call';

/** Of one call; unused ones are empty. */
export class Attempts {
  static readonly #open = new Map<string, Attempts>();
  static #last = 0;

  readonly #number = String(++Attempts.#last);
  readonly #replicas: string[] = [];

  /** Calls that carry this metadata are found again by `takeFrom` until `close`. */
  writeTo(metadata: Metadata): void {
    Attempts.#open.set(this.#number, this);
    metadata.set(key, this.#number);
  }

  close(): void {
    Attempts.#open.delete(this.#number);
  }

  /** Null where the call is not one of ours, or is over. */
  static takeFrom(metadata: Metadata): Attempts | null {
    const number = metadata.get(key)[0];
    if (number === undefined) return null;
    metadata.remove(key);
    return Attempts.#open.get(String(number)) ?? null;
  }

  /** Attempts so far, the first included. */
  get count(): number {
    return this.#replicas.length;
  }

  has(replica: string): boolean {
    return this.#replicas.includes(replica);
  }

  add(replica: string): void {
    this.#replicas.push(replica);
  }
}
