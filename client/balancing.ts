/**
 * Addresses of replicas as a target of grpc-js, and the service config that balances over them. Facts of grpc-js 1.14.7
 * that shaped it, each seen in its source:
 * - a list of addresses is a target of its own (`ipv4:A,B`, `ipv6:A,B`), of numbers only; names are for `dns:///NAME:PORT`;
 * - a name is looked up again when a replica's connection ends, at most every 30 s (`grpc.dns_min_time_between_resolutions_ms`):
 *   replicas that were added are found at the next loss of a connection, which a server's `--max-connection-age-ms` sees to;
 * - `outlier_detection` takes durations as `{seconds, nanos}`, not as the text of service configs, and counts every status other than OK;
 * - a method has a retry or a hedging policy, not both; hedging is not throttled (see hedging.ts);
 * - `waitForReady` in a method config is read and not used.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { experimental } from '@grpc/grpc-js';
import type { HedgeBudget } from './hedging.js';
import { coordinatorServiceName } from './methods.js';
import { replicaPolicy } from './replica-balancer.js';
import type { RetryBudget } from './retry-budget.js';

/**
 * `round_robin`: a connection to every replica, calls in turn over those that serve. `pick_first`: one connection, to the
 * first address that can be reached.
 */
export type Balancing = 'round_robin' | 'pick_first';

export interface Target {
  readonly target: string;
  /** What suits it: several addresses, and names that may have several, are balanced over. */
  readonly balancing: Balancing;
}

const scheme = /^(?:dns|ipv4|ipv6|unix|unix-abstract|xds):/;

/** @throws RangeError where a list holds something else than numeric addresses of one family. */
export function targetOf(addresses: string | readonly string[]): Target {
  const list = typeof addresses === 'string' ? addressesIn(addresses) : addresses;
  const [only] = list;
  if (only === undefined) throw new RangeError('addresses: expected at least one, received none');
  if (list.length === 1) {
    return { target: only, balancing: only.startsWith('dns:') || only.includes(',') ? 'round_robin' : 'pick_first' };
  }
  const parts = list.map(numeric);
  const families = new Set(parts.map(({ family }) => family));
  if (families.size > 1) throw new RangeError(`addresses: expected one family, received ${list.join(', ')}`);
  return { target: `${parts[0]!.family}:${parts.map(({ text }) => text).join(',')}`, balancing: 'round_robin' };
}

/** `A,B` is two addresses; what names a scheme is a target already. */
function addressesIn(text: string): readonly string[] {
  return scheme.test(text) ? [text] : text.split(',').map((part) => part.trim());
}

function numeric(address: string): { readonly family: 'ipv4' | 'ipv6'; readonly text: string } {
  const parts = experimental.splitHostPort(address);
  const host = parts?.host === 'localhost' ? '127.0.0.1' : (parts?.host ?? '');
  const port = parts?.port;
  if (port !== undefined && isIPv4(host)) return { family: 'ipv4', text: `${host}:${port}` };
  if (port !== undefined && isIPv6(host)) return { family: 'ipv6', text: `[${host}]:${port}` };
  throw new RangeError(
    `addresses: expected numeric HOST:PORT where there are several (a name of several replicas is dns:///NAME:PORT), received '${address}'`,
  );
}

export interface ServiceConfigOptions {
  readonly balancing: Balancing;
  /** Null: none is left out. */
  readonly outliers: OutlierEjection | null;
  readonly retries: number;
  readonly retryBudget: RetryBudget;
  /** Null: calls are retried instead. */
  readonly hedging: HedgeBudget | null;
}

/** With another replica at hand a short pause is enough; a single server needs time to come back. */
const firstPause = { round_robin: '0.05s', pick_first: '0.1s' } as const;
const retryable = ['UNAVAILABLE'];

/** A replica that fails more than half of at least 20 calls within an interval is left out for a time, longer if it does so again. */
export interface OutlierEjection {
  /** Milliseconds, 5000 where left out. Where calls are few it takes a longer one to see 20 of them. */
  readonly intervalMs?: number;
  /** Milliseconds that it is left out the first time, 10 000 where left out; it ends with an interval. */
  readonly ejectionMs?: number;
}

const defaultIntervalMs = 5000;
const defaultEjectionMs = 10_000;
/** What a replica that fails again and again is left out for at most, as a multiple of the first time. */
const longestEjection = 6;

/** @throws RangeError where a time is not a positive, finite number. */
function outlierDetection({
  intervalMs = defaultIntervalMs,
  ejectionMs = defaultEjectionMs,
}: OutlierEjection): Readonly<Record<string, unknown>> {
  return {
    interval: duration('ejectOutliers.intervalMs', intervalMs),
    base_ejection_time: duration('ejectOutliers.ejectionMs', ejectionMs),
    max_ejection_time: duration('ejectOutliers.ejectionMs', longestEjection * ejectionMs),
    // Another is left out while fewer than this are: of three, one.
    max_ejection_percent: 33,
    failure_percentage_ejection: { threshold: 50, enforcement_percentage: 100, minimum_hosts: 2, request_volume: 20 },
  };
}

function duration(name: string, ms: number): { readonly seconds: number; readonly nanos: number } {
  if (!(ms > 0 && Number.isFinite(ms)))
    throw new RangeError(`${name}: expected a positive, finite number, received ${ms}`);
  return { seconds: Math.floor(ms / 1000), nanos: Math.round((ms % 1000) * 1e6) };
}

/** For `grpc.service_config`. Streams are in no method config: they reconnect by themselves. */
export function serviceConfig(options: ServiceConfigOptions): object {
  const { retries, retryBudget, hedging } = options;
  const named = (method: string): object => ({ name: [{ service: coordinatorServiceName, method }] });
  const retryPolicy = {
    maxAttempts: retries + 1,
    initialBackoff: firstPause[options.balancing],
    maxBackoff: '2s',
    backoffMultiplier: 2,
    retryableStatusCodes: retryable,
  };
  const retried = retries === 0 ? {} : { retryPolicy };
  const hedgingPolicy =
    hedging === null
      ? null
      : {
          maxAttempts: hedging.maxAttempts,
          hedgingDelay: `${(hedging.delayMs / 1000).toFixed(3)}s`,
          nonFatalStatusCodes: retryable,
        };
  return {
    loadBalancingConfig: [balancer(options)],
    methodConfig: [
      { ...named('Coordinate'), ...(hedgingPolicy === null ? retried : { hedgingPolicy }) },
      { ...named('ListPolicies'), ...retried },
    ],
    retryThrottling: { maxTokens: retryBudget.maxTokens, tokenRatio: retryBudget.tokenRatio },
  };
}

function balancer({ balancing, outliers }: ServiceConfigOptions): object {
  if (balancing === 'pick_first') return { pick_first: {} };
  const turns = { round_robin: {} };
  const child =
    outliers === null ? turns : { outlier_detection: { ...outlierDetection(outliers), child_policy: [turns] } };
  return { [replicaPolicy]: { child_policy: [child] } };
}
