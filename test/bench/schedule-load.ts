/** What arrives at the simulated schedulers: seeded requests of mixed sizes and deadlines in three kinds of arrivals. */
import { uniformSource } from '../../client/bench/random-states.js';
import { type AnswerForm, type CostTable, leastEngineMs, requestSizes, solverMsOf } from './schedule-costs.js';

export interface SimulatedRequest {
  readonly arriveMs: number;
  readonly form: AnswerForm;
  /** N = M. */
  readonly count: number;
  readonly bucket: number;
  /** On the virtual clock; Infinity: none. */
  readonly deadlineMs: number;
}

/**
 * `poisson`: callers that know nothing of each other. `bursty`: the same at 4.2 times the mean rate for 60 ms of each 300, and at a fifth
 * of it between. `ticks`: simulators of 10 Hz that all tick at the same moment.
 */
export type ArrivalKind = 'poisson' | 'bursty' | 'ticks';

export const arrivalKinds: readonly ArrivalKind[] = ['poisson', 'bursty', 'ticks'];

interface Share<T> {
  readonly share: number;
  readonly value: T;
}

const sizeShares: readonly Share<number>[] = [
  { share: 0.3, value: 50 },
  { share: 0.35, value: 100 },
  { share: 0.2, value: 200 },
  { share: 0.1, value: 500 },
  { share: 0.05, value: 1000 },
];
/** Deadlines after arrival, in milliseconds. */
export const deadlineShares: readonly Share<number>[] = [
  { share: 0.25, value: 20 },
  { share: 0.35, value: 50 },
  { share: 0.25, value: 200 },
  { share: 0.15, value: Infinity },
];
/** Of requests up to `largestHardCount`; larger ones are all `TOP_K`, so that the engine and not the solver is what is fought for. */
const hardShare = 0.3;
const largestHardCount = 200;

const burstFactor = 4.2;
const calmFactor = 0.2;
const burstMs = 60;
const cycleMs = 300;
const tickMs = 100;
const tickJitterMs = 2;

/** Requests a second of the mix that keep the engine busy all the time if each runs in the batch that is cheapest for it. */
export function capacityPerSecond(costs: CostTable): number {
  let engineMs = 0;
  let solverMs = 0;
  for (const { share, value: count } of sizeShares) {
    const { bucket } = requestSizes.find((size) => size.count === count)!;
    const hard = count <= largestHardCount ? hardShare : 0;
    engineMs += share * hard * leastEngineMs(costs, 'HARD', bucket);
    engineMs += share * (1 - hard) * leastEngineMs(costs, 'TOP_K', bucket);
    solverMs += share * hard * solverMsOf(costs, 'HARD', count);
  }
  return 1000 / Math.max(engineMs, solverMs);
}

/** What arrives in `durationMs` at `ratePerSecond` in the mean, in order of arrival. Equal seeds give equal requests. */
export function requestsOf(
  kind: ArrivalKind,
  ratePerSecond: number,
  durationMs: number,
  seed: number,
): SimulatedRequest[] {
  const random = uniformSource(seed);
  return kind === 'ticks'
    ? tickRequests(ratePerSecond, durationMs, random)
    : arrivalTimes(kind, ratePerSecond, durationMs, random).map((arriveMs) => requestAt(arriveMs, drawKind(random)));
}

type RequestKind = Omit<SimulatedRequest, 'arriveMs' | 'deadlineMs'> & { readonly withinMs: number };

function drawKind(random: () => number): RequestKind {
  const count = drawn(sizeShares, random);
  const { bucket } = requestSizes.find((size) => size.count === count)!;
  const form = random() < hardShare && count <= largestHardCount ? 'HARD' : 'TOP_K';
  return { count, bucket, form, withinMs: drawn(deadlineShares, random) };
}

function requestAt(arriveMs: number, { withinMs, ...kind }: RequestKind): SimulatedRequest {
  return { ...kind, arriveMs, deadlineMs: arriveMs + withinMs };
}

function drawn<T>(shares: readonly Share<T>[], random: () => number): T {
  let left = random();
  for (const { share, value } of shares) {
    left -= share;
    if (left < 0) return value;
  }
  return shares.at(-1)!.value;
}

function arrivalTimes(kind: ArrivalKind, ratePerSecond: number, durationMs: number, random: () => number): number[] {
  const times: number[] = [];
  let nowMs = 0;
  while (nowMs < durationMs) {
    const inCycleMs = nowMs % cycleMs;
    const bursts = inCycleMs < burstMs;
    const factor = kind !== 'bursty' ? 1 : bursts ? burstFactor : calmFactor;
    const changeMs = kind !== 'bursty' ? Infinity : nowMs - inCycleMs + (bursts ? burstMs : cycleMs);
    const nextMs = nowMs - (1000 / (ratePerSecond * factor)) * Math.log(1 - random());
    // A Poisson process has no memory: what would come after a change of rate is drawn anew from there.
    nowMs = Math.min(nextMs, changeMs);
    if (nextMs < changeMs && nowMs < durationMs) times.push(nowMs);
  }
  return times;
}

/** Each simulator sends the same kind of request at every tick. */
function tickRequests(ratePerSecond: number, durationMs: number, random: () => number): SimulatedRequest[] {
  const simulators = Array.from({ length: Math.round((ratePerSecond * tickMs) / 1000) }, () => drawKind(random));
  const requests: SimulatedRequest[] = [];
  for (let atMs = 0; atMs < durationMs; atMs += tickMs) {
    for (const each of simulators) requests.push(requestAt(atMs + tickJitterMs * random(), each));
  }
  return requests.sort((a, b) => a.arriveMs - b.arriveMs);
}
