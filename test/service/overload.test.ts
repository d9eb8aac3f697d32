/**
 * The whole server under an open loop at half to four times what its engine can do. The engine takes 50 ms for a batch of 4 by construction,
 * so capacity is 80 calls a second at most, on whatever machine. Counts are asserted, never times.
 */
import type { ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCore } from '../../server/core.js';
import { startServer, type RunningServer } from '../../server/start.js';
import { loadConfig } from '../../src/config.js';
import type { LoadedProgram, ProgramRequest } from '../../src/engine/engine.js';
import { FakeEngine } from '../fake-engine.js';
import { seededUniform } from '../seeded-normal.js';
import { errorDetailsOf } from './error-details-of.js';
import { floatTensor, rawClient, type RawClient } from './raw-client.js';

const runMs = 50;
const batch = 4;
const capacityPerSecond = (1000 / runMs) * batch;
const queue = 48;
const seconds = 1;
const loads = [0.5, 1, 1.5, 2, 4] as const;
const seed = 11;
/** Too soon for a full queue, which takes 600 ms; or patient, so that the queue fills. */
const deadlinesMs = [400, 10_000] as const;

/** Runs one batch at a time, each for as long as any other, or longer on a busy machine. */
class SlowEngine extends FakeEngine {
  #last: Promise<unknown> = Promise.resolve();

  override async load(request: ProgramRequest): Promise<LoadedProgram> {
    const program = await super.load(request);
    return {
      ...program,
      run: (inputs) => {
        const run = this.#last.then(async () => {
          const startMs = performance.now();
          await new Promise((resolve) => setTimeout(resolve, runMs));
          return { ...(await program.run(inputs)), executeMs: performance.now() - startMs };
        });
        this.#last = run.catch(() => undefined);
        return run;
      },
    };
  }
}

let server: RunningServer;
let client: RawClient;
const engine = new SlowEngine('onnx', 'cpu');

beforeAll(async () => {
  const flags = ['--grpc-address', '127.0.0.1:0', '--admin-address', '127.0.0.1:0', '--log-level', 'silent'];
  const { config } = loadConfig([...flags, '--max-batch', String(batch), '--max-queue', String(queue)], {});
  const rungs = [{ name: 'slow', open: () => Promise.resolve(engine) }];
  server = await startServer(config, { createCore: (context) => createCore(context, rungs) });
  await server.ready;
  client = rawClient(server.grpcAddress);
  // What runs cost is measured before anything has to be predicted.
  await openLoop(0.5);
}, 60_000);

afterAll(async () => {
  client.close();
  await server.close();
});

const request = {
  utility: floatTensor(Array.from({ length: 8 }, (_, i) => Array.from({ length: 8 }, (_, j) => (i * j) % 5))),
  operators: ['ASSIGNMENT'],
  assignment: { forms: ['TOP_K'] },
};

interface Outcome {
  readonly sent: number;
  /** How often each call ended. */
  readonly endings: readonly number[];
  readonly answered: number;
  readonly late: number;
  readonly refusals: readonly { readonly reason: string | null; readonly retryAfterMs: number | null }[];
  readonly unexpected: readonly string[];
}

/** Poisson arrivals at `load` times capacity, whatever is unanswered; resolves when every call has ended. */
async function openLoop(load: number): Promise<Outcome> {
  const random = seededUniform(seed + 10 * load);
  const timesMs: number[] = [];
  for (let nowMs = 0; ;) {
    nowMs -= (1000 / (load * capacityPerSecond)) * Math.log(1 - random());
    if (nowMs >= 1000 * seconds) break;
    timesMs.push(nowMs);
  }
  const endings = timesMs.map(() => 0);
  const refusals: Outcome['refusals'][number][] = [];
  const unexpected: string[] = [];
  let answered = 0;
  let late = 0;
  const call = async (index: number): Promise<void> => {
    try {
      await client.coordinate(request, { deadline: Date.now() + deadlinesMs[index % deadlinesMs.length]! });
      answered++;
    } catch (thrown) {
      const error = thrown as ServiceError;
      // The client's own clock may end a call first; then there are no details.
      const sent = error.metadata.get('grpc-status-details-bin').length > 0;
      const { reason, retryAfterMs } = sent
        ? errorDetailsOf(error)
        : { reason: 'DEADLINE_EXPIRED', retryAfterMs: null };
      if (reason === 'DEADLINE_EXPIRED') late++;
      else if (reason === 'PREDICTED_LATE' || reason === 'QUEUE_FULL') refusals.push({ reason, retryAfterMs });
      else unexpected.push(error.message);
    }
    endings[index]!++;
  };
  const calls: Promise<void>[] = [];
  const startMs = performance.now();
  for (const [index, atMs] of timesMs.entries()) {
    const waitMs = startMs + atMs - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    calls.push(call(index));
  }
  await Promise.all(calls);
  return { sent: timesMs.length, endings, answered, late, refusals, unexpected };
}

async function queueDepth(): Promise<number> {
  const metric = await server.registry.getSingleMetric('coordinate_queue_depth')!.get();
  return metric.values.reduce((sum, { value }) => sum + value, 0);
}

describe(`an open loop of calls (seed ${seed})`, () => {
  const outcomes = new Map<number, Outcome>();

  for (const load of loads) {
    it(`ends every call exactly once at ${load} times capacity, and says to refused ones why and when to retry`, async () => {
      const outcome = await openLoop(load);
      const { sent, answered, late, refusals } = outcome;
      outcomes.set(load, outcome);
      expect(sent).toBeGreaterThan(0.6 * load * capacityPerSecond * seconds);
      expect(outcome.unexpected).toEqual([]);
      expect(outcome.endings.every((times) => times === 1)).toBe(true);
      expect(answered + late + refusals.length).toBe(sent);
      for (const { retryAfterMs } of refusals) expect(retryAfterMs).toBeGreaterThan(0);
      // A caller's own clock may have ended its call a moment before the server's does.
      await expect.poll(queueDepth).toBe(0);
    });
  }

  it('refuses for both reasons what is beyond capacity, and goes on answering', async () => {
    const [at1, at4] = [outcomes.get(1)!, outcomes.get(4)!];
    const reasons = new Set(at4.refusals.map(({ reason }) => reason));
    // On a machine that stood still for a while the calls come in a heap, and those of either kind find the queue full.
    for (let round = 0; round < 10 && reasons.size < 2; round++) {
      for (const { reason } of (await openLoop(4)).refusals) reasons.add(reason);
    }
    expect([...reasons].sort()).toEqual(['PREDICTED_LATE', 'QUEUE_FULL']);
    // How many is for the bench to say: here the machine may be busy with anything.
    expect(4 * at4.answered).toBeGreaterThanOrEqual(at1.answered);
  });
});
