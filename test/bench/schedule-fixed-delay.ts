/**
 * What is compared with: first come, first served at a fixed delay, as common model servers batch, and a bound that no
 * scheduler can beat.
 */
import { type AnswerForm, type CostTable, engineMsOf, leastEngineMs, sizesOf, solverMsOf } from './schedule-costs.js';
import type { SimulatedRequest } from './schedule-load.js';
import { SimulatedSolver } from './schedule-solver.js';
import { type Outcome, Tally, type Window } from './schedule-tally.js';
import { VirtualClock } from '../virtual-clock.js';

export interface FixedDelayOptions {
  /** A batch leaves when it is full, or when its oldest request has waited so long. */
  readonly delayMs: number;
  /** More are refused. */
  readonly maxQueue: number;
  /** Whether requests whose deadline has passed are left out of a batch as it is formed; else they run like any other. */
  readonly dropsExpired: boolean;
}

/** `slowdown`: what the n-th run takes over the table, at least 1. */
export function simulateFixedDelay(
  requests: readonly SimulatedRequest[],
  costs: CostTable,
  window: Window,
  slowdown: (run: number) => number,
  { delayMs, maxQueue, dropsExpired }: FixedDelayOptions,
): Outcome {
  const clock = new VirtualClock();
  const solver = new SimulatedSolver(clock, 'arrival');
  const tally = new Tally(window);
  /** One queue for each program family, as a model has. */
  const queues = new Map<string, SimulatedRequest[]>();
  let waiting = 0;
  let busy = false;
  let runs = 0;
  let cancelTimer = (): void => undefined;

  const takeBatch = (queue: SimulatedRequest[], largest: number): SimulatedRequest[] => {
    const batch: SimulatedRequest[] = [];
    while (batch.length < largest && queue.length > 0) {
      const request = queue.shift()!;
      waiting--;
      if (dropsExpired && request.deadlineMs <= clock.nowMs()) tally.expired(clock.nowMs());
      else batch.push(request);
    }
    return batch;
  };
  const serve = (): void => {
    cancelTimer();
    while (!busy) {
      let ready: SimulatedRequest[] | null = null;
      let nextMs = Infinity;
      for (const queue of queues.values()) {
        const head = queue[0];
        if (head === undefined) continue;
        const dueMs = queue.length >= sizesOf(head.bucket).at(-1)! ? 0 : head.arriveMs + delayMs;
        if (dueMs > clock.nowMs()) nextMs = Math.min(nextMs, dueMs);
        else if (ready === null || head.arriveMs < ready[0]!.arriveMs) ready = queue;
      }
      if (ready === null) {
        if (nextMs < Infinity) cancelTimer = clock.after(nextMs - clock.nowMs(), serve);
        return;
      }
      const { form, bucket } = ready[0]!;
      const sizes = sizesOf(bucket);
      const batch = takeBatch(ready, sizes.at(-1)!);
      if (batch.length === 0) continue;
      const padded = sizes.find((size) => size >= batch.length)!;
      busy = true;
      clock.after(engineMsOf(costs, form, bucket, padded) * slowdown(runs++), () => {
        busy = false;
        for (const request of batch) finish(request);
        serve();
      });
    }
  };
  const finish = (request: SimulatedRequest): void => {
    const ms = solverMsOf(costs, request.form, request.count);
    const done = (): void => tally.answered(request, clock.nowMs());
    if (ms === 0) done();
    else solver.solve({ ms, deadlineMs: request.deadlineMs, done });
  };

  for (const request of requests) {
    clock.advance(request.arriveMs - clock.nowMs());
    tally.arrived(clock.nowMs());
    if (waiting >= maxQueue) {
      tally.refused(clock.nowMs());
      continue;
    }
    const family = `${request.form} ${request.bucket}`;
    const queue = queues.get(family) ?? [];
    queues.set(family, queue);
    queue.push(request);
    waiting++;
    serve();
  }
  clock.advance(window.untilMs - clock.nowMs());
  return tally.outcome();
}

/**
 * Requests a second that no scheduler answers more of: as if the engine were never idle, every request ran in the batch that is cheapest
 * for it, the cheapest requests were chosen with foresight, and no deadline were ever too tight.
 */
export function goodputBound(requests: readonly SimulatedRequest[], costs: CostTable, window: Window): number {
  const windowMs = window.untilMs - window.fromMs;
  const could = requests.filter(({ arriveMs, deadlineMs }) => arriveMs < window.untilMs && deadlineMs >= window.fromMs);
  const largestRunMs = Math.max(...could.map(({ form, bucket }) => runMsOf(costs, form, bucket)), 0);
  const costsMs = could.map(({ form, bucket }) => leastEngineMs(costs, form, bucket)).sort((a, b) => a - b);
  // A batch that began before the window may end in it.
  let leftMs = windowMs + largestRunMs;
  let count = 0;
  while (count < costsMs.length && leftMs >= costsMs[count]!) leftMs -= costsMs[count++]!;
  return (1000 * count) / windowMs;
}

function runMsOf(costs: CostTable, form: AnswerForm, bucket: number): number {
  return engineMsOf(costs, form, bucket, sizesOf(bucket).at(-1)!);
}
