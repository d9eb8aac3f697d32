/**
 * The quota file: JSON with the limits of tenants by name, of each tenant that is not named (`default`), and of all of those together
 * (`unnamed`), which bounds what callers get by making up names where nobody checks them.
 *
 *   {"default": {"requestsPerSecond": 50, "concurrentCalls": 16},
 *    "unnamed": {"requestsPerSecond": 500},
 *    "tenants": {"depot": {"requestsPerSecond": 400, "agentStatesPerSecond": 200000, "bytesPerSecond": 50000000, "streams": 8}}}
 */
import { isTenantName } from '../batching/fairness.js';

export const quotaRates = ['requestsPerSecond', 'agentStatesPerSecond', 'bytesPerSecond'] as const;
export type QuotaRate = (typeof quotaRates)[number];
export const quotaCounts = ['concurrentCalls', 'streams'] as const;
export type QuotaCount = (typeof quotaCounts)[number];
export type QuotaLimit = QuotaRate | QuotaCount;

/** Null: not limited. */
export type QuotaLimits = Readonly<Record<QuotaLimit, number | null>> & {
  /** A tenant that was quiet may send so many seconds' worth at once. */
  readonly burstSeconds: number;
};

export interface QuotaRules {
  readonly default: QuotaLimits;
  /** Of all tenants without a name here together. */
  readonly unnamed: QuotaLimits;
  readonly tenants: ReadonlyMap<string, QuotaLimits>;
}

const limitNames: readonly string[] = [...quotaRates, ...quotaCounts, 'burstSeconds'];
const sections: readonly string[] = ['default', 'unnamed', 'tenants'];
const most = 1e15;
const mostBurstSeconds = 3600;

export const noLimits: QuotaLimits = {
  requestsPerSecond: null,
  agentStatesPerSecond: null,
  bytesPerSecond: null,
  concurrentCalls: null,
  streams: null,
  burstSeconds: 1,
};

/** Throws with the place and what was expected there. */
export function parseQuotaRules(text: string): QuotaRules {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Error(`expected JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const file = objectOf('the file', value, sections);
  const tenants = new Map<string, QuotaLimits>();
  for (const [name, limits] of Object.entries(objectOf('tenants', file['tenants'] ?? {}, null))) {
    // Calls that name no tenant are of the tenant ''.
    if (name !== '' && !isTenantName(name)) throw new Error(`tenants: expected names of tenants, received ${name}`);
    tenants.set(name, limitsOf(`tenants.${name}`, limits));
  }
  return {
    default: limitsOf('default', file['default'] ?? {}),
    unnamed: limitsOf('unnamed', file['unnamed'] ?? {}),
    tenants,
  };
}

function limitsOf(at: string, value: unknown): QuotaLimits {
  const given = objectOf(at, value, limitNames);
  const limits: Record<string, number | null> = { ...noLimits };
  for (const [name, limit] of Object.entries(given)) {
    const isCount = (quotaCounts as readonly string[]).includes(name);
    const largest = name === 'burstSeconds' ? mostBurstSeconds : most;
    const isAllowed =
      typeof limit === 'number' && limit > 0 && limit <= largest && (!isCount || Number.isInteger(limit));
    if (!isAllowed) {
      throw new Error(
        `${at}.${name}: expected a ${isCount ? 'whole ' : ''}number from above 0 to ${largest}, received ${JSON.stringify(limit)}`,
      );
    }
    limits[name] = limit;
  }
  return limits as unknown as QuotaLimits;
}

/** `known`: names of its fields; null: any. */
function objectOf(at: string, value: unknown, known: readonly string[] | null): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`${at}: expected an object, received ${JSON.stringify(value)}`);
  const unknown = known === null ? undefined : Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new Error(`${at}: expected ${known?.join(', ')}, received ${unknown}`);
  return value as Record<string, unknown>;
}
