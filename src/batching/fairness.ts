/**
 * Who may go first among tenants: each is charged the engine time of its jobs, divided by its weight. That is its virtual time.
 *
 * A tenant that wants the engine and is more than `burstMs` of virtual time ahead of the one furthest behind stands back until the others
 * have caught up; within that, deadlines decide. So over any stretch in which two tenants always have jobs waiting their engine time
 * is in proportion to their weights, but for `burstMs` and one batch. A tenant that was away does not save up: it comes back no further
 * behind than the one furthest behind that waits.
 */

/** Engine time, per unit of weight, by which a tenant may be ahead of others that wait: two or three batches. */
export const burstMs = 50;

/** Tenants without a configured weight that are told apart at a time; those beyond share one account. */
const maxStrangers = 256;

export interface TenantAccount {
  readonly name: string;
  readonly weight: number;
  /** As it may be shown: configured names are, all others are `other`. */
  readonly label: string;
  /** Virtual time, milliseconds. */
  usedMs: number;
  /** Jobs of it in the waiting room; kept by the room. */
  waiting: number;
}

export class TenantShares {
  readonly #weights: ReadonlyMap<string, number>;
  readonly #accounts = new Map<string, TenantAccount>();
  /** Least virtual time of those who wait; never goes back. */
  #floorMs = 0;
  #mostMs = 0;

  constructor(weights: ReadonlyMap<string, number> = new Map()) {
    this.#weights = weights;
  }

  /** How many tenants are told apart now. */
  get size(): number {
    return this.#accounts.size;
  }

  /** The account that a tenant's jobs are charged to. Ask for each submission anew: accounts that no longer matter are forgotten. */
  accountOf(tenant: string): TenantAccount {
    const known = this.#accounts.get(tenant);
    if (known !== undefined) return known;
    if (this.#accounts.size >= maxStrangers + this.#weights.size) this.#forget();
    const isConfigured = this.#weights.has(tenant);
    const isCrowded = this.#accounts.size >= maxStrangers + this.#weights.size;
    const name = isCrowded && !isConfigured ? crowd : tenant;
    const account = this.#accounts.get(name) ?? {
      name,
      weight: this.#weights.get(tenant) ?? 1,
      label: isConfigured ? tenant : 'other',
      usedMs: this.#floorMs,
      waiting: 0,
    };
    this.#accounts.set(name, account);
    return account;
  }

  /** A tenant's first job has come to wait; `waiting` are the accounts of those who waited before. */
  enter(account: TenantAccount, waiting: Iterable<TenantAccount>): void {
    this.#raiseFloor(waiting);
    account.usedMs = Math.max(account.usedMs, this.#floorMs);
  }

  charge(account: TenantAccount, engineMs: number): void {
    account.usedMs += engineMs / account.weight;
    if (account.usedMs > this.#mostMs) this.#mostMs = account.usedMs;
  }

  #raiseFloor(waiting: Iterable<TenantAccount>): void {
    let leastMs = Infinity;
    for (const { usedMs } of waiting) leastMs = Math.min(leastMs, usedMs);
    // Where nobody waited there is nothing to share: all begin anew.
    this.#floorMs = Math.max(this.#floorMs, leastMs === Infinity ? this.#mostMs : leastMs);
  }

  /** Accounts that would be opened anew as they are. */
  #forget(): void {
    for (const [name, { waiting, usedMs }] of this.#accounts) {
      if (waiting === 0 && usedMs <= this.#floorMs) this.#accounts.delete(name);
    }
  }
}

/** No tenant can have this name: it is longer than names may be. */
const crowd = '-'.repeat(256);

/** Longest name of a tenant. */
export const maxTenantLength = 64;

const tenantName = /^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/;

/** Whether a caller may name itself so: 1 to 64 letters, digits and `._:/@-`, the first one a letter or a digit. */
export function isTenantName(text: string): boolean {
  return text.length <= maxTenantLength && tenantName.test(text);
}
