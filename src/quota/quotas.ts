/** The quotas of all tenants: what comes is charged, or refused with the time after which it would be let in. */
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { QuotaAccount, type Shortage } from './quota-account.js';
import type { QuotaCount, QuotaLimit, QuotaRate, QuotaRules } from './quota-rules.js';

export interface QuotasOptions {
  readonly rules: QuotaRules;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'quotaRefused' | 'shed'>;
}

/** Tenants that are told apart beside those that the file names; those beyond share one account. */
const mostStrangers = 10_000;
const crowd = '(crowd)';
/** Between two looks for tenants that can be forgotten: a look costs, and strangers may ask for one with every call. */
const forgetPauseMs = 1000;

const things: Readonly<Record<QuotaLimit, string>> = {
  requestsPerSecond: 'requests a second',
  agentStatesPerSecond: 'agent states a second',
  bytesPerSecond: 'bytes a second',
  concurrentCalls: 'concurrent calls',
  streams: 'streams',
};

export class Quotas {
  readonly #clock: Clock;
  readonly #metrics: QuotasOptions['metrics'];
  #rules: QuotaRules;
  readonly #named = new Map<string, QuotaAccount>();
  readonly #strangers = new Map<string, QuotaAccount>();
  /** Of all strangers together. */
  readonly #unnamed: QuotaAccount;
  #limitsAgentStates = false;
  #nextForgetMs = -Infinity;

  constructor({ rules, clock, metrics }: QuotasOptions) {
    this.#clock = clock;
    this.#metrics = metrics;
    this.#rules = rules;
    this.#unnamed = new QuotaAccount('other', rules.unnamed, clock.nowMs());
    this.use(rules);
  }

  /** From now on. Tenants that are named for the first time begin with a full burst; what is open under their old account is not counted again. */
  use(rules: QuotaRules): void {
    const nowMs = this.#clock.nowMs();
    this.#rules = rules;
    const all = [rules.default, rules.unnamed, ...rules.tenants.values()];
    this.#limitsAgentStates = all.some(({ agentStatesPerSecond }) => agentStatesPerSecond !== null);
    this.#unnamed.adopt(rules.unnamed, nowMs);
    for (const account of this.#strangers.values()) account.adopt(rules.default, nowMs);
    for (const name of this.#named.keys()) if (!rules.tenants.has(name)) this.#named.delete(name);
    for (const [name, limits] of rules.tenants) {
      this.#strangers.delete(name);
      const account = this.#named.get(name);
      if (account === undefined) this.#named.set(name, new QuotaAccount(name, limits, nowMs));
      else account.adopt(limits, nowMs);
    }
  }

  /** How many tenants are told apart now. */
  get size(): number {
    return this.#named.size + this.#strangers.size;
  }

  /** One request, and a place among the concurrent calls until the function that is returned is called. Throws QUOTA_EXCEEDED. */
  enterCall(tenant: string): () => void {
    return this.#enter(tenant, 'concurrentCalls');
  }

  /** A place among the streams until the function that is returned is called. Throws QUOTA_EXCEEDED. */
  enterStream(tenant: string): () => void {
    return this.#enter(tenant, 'streams');
  }

  /** Throws what `enterCall` (for `concurrentCalls`) or `enterStream` (for `streams`) would throw now, and counts it likewise. Takes nothing. */
  assertRoom(tenant: string, place: QuotaCount): void {
    this.#assertRoom(this.#accountsOf(tenant), place, this.#clock.nowMs());
  }

  /** What a request carries, and for a tick of a stream the request itself. All or nothing. Throws QUOTA_EXCEEDED or QUOTA_TOO_SMALL. */
  charge(tenant: string, amounts: Readonly<Partial<Record<QuotaRate, number>>>): void {
    const nowMs = this.#clock.nowMs();
    const accounts = this.#accountsOf(tenant);
    const entries = Object.entries(amounts) as [QuotaRate, number][];
    for (const account of accounts) {
      for (const [name, amount] of entries) this.#assertNone(account.shortageOf(name, amount, nowMs), account, amount);
    }
    for (const account of accounts) for (const [name, amount] of entries) account.take(name, amount, nowMs);
  }

  /** Whether some tenant's agent states are limited, so that they are worth counting. */
  get limitsAgentStates(): boolean {
    return this.#limitsAgentStates;
  }

  #enter(tenant: string, place: QuotaCount): () => void {
    const nowMs = this.#clock.nowMs();
    const accounts = this.#accountsOf(tenant);
    this.#assertRoom(accounts, place, nowMs);
    for (const account of accounts) {
      account.enter(place);
      if (isRequest(place)) account.take('requestsPerSecond', 1, nowMs);
    }
    let isIn = true;
    return () => {
      if (isIn) for (const account of accounts) account.leave(place);
      isIn = false;
    };
  }

  #assertRoom(accounts: readonly QuotaAccount[], place: QuotaCount, nowMs: number): void {
    for (const account of accounts) {
      this.#assertNone(account.crowdOf(place), account, 1);
      if (isRequest(place)) this.#assertNone(account.shortageOf('requestsPerSecond', 1, nowMs), account, 1);
    }
  }

  #assertNone(shortage: Shortage | null, { label }: QuotaAccount, amount: number): void {
    if (shortage === null) return;
    const { limit, allowed, waitMs } = shortage;
    this.#metrics.quotaRefused.inc({ tenant: label, limit });
    this.#metrics.shed.inc({ reason: 'quota' });
    if (waitMs === Infinity) {
      const text = `${amount} ${things[limit]} are more than the ${allowed} that the tenant's quota lets through at once`;
      throw new CoordinatorError('QUOTA_TOO_SMALL', text);
    }
    throw new CoordinatorError('QUOTA_EXCEEDED', `the tenant's quota of ${allowed} ${things[limit]} is used up`, {
      retryAfterMs: waitMs,
    });
  }

  #accountsOf(tenant: string): readonly QuotaAccount[] {
    const named = this.#named.get(tenant);
    if (named !== undefined) return [named];
    return [this.#strangerOf(tenant), this.#unnamed];
  }

  #strangerOf(tenant: string): QuotaAccount {
    const known = this.#strangers.get(tenant);
    if (known !== undefined) return known;
    const nowMs = this.#clock.nowMs();
    if (this.#strangers.size >= mostStrangers) this.#forget(nowMs);
    const name = this.#strangers.size >= mostStrangers ? crowd : tenant;
    const account = this.#strangers.get(name) ?? new QuotaAccount('other', this.#rules.default, nowMs);
    this.#strangers.set(name, account);
    return account;
  }

  #forget(nowMs: number): void {
    if (nowMs < this.#nextForgetMs) return;
    this.#nextForgetMs = nowMs + forgetPauseMs;
    for (const [name, account] of this.#strangers) if (account.isIdle(nowMs)) this.#strangers.delete(name);
  }
}

/** The requests of a stream are its ticks. */
function isRequest(place: QuotaCount): boolean {
  return place === 'concurrentCalls';
}
