/** The settings of the queues bound what waits for the solver as well: calls that no engine has anything to do for. */
import type { ServiceError } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { errorDetailsOf } from './error-details-of.js';
import { rawClient } from './raw-client.js';
import { startRealServer } from './real-server.js';
import { seededUniform } from '../seeded-normal.js';

const count = 400;
const calls = 60;
const seed = 7;

test(`more hard assignments than may wait are refused with a time to retry, the others answered (seed ${seed})`, async () => {
  const server = await startRealServer('--solver-threads', '1', '--max-queue', '3');
  const client = rawClient(server.grpcAddress);
  try {
    const random = seededUniform(seed);
    const data = Float32Array.from({ length: count * count }, () => random());
    const utility = { shape: [count, count], data: Buffer.from(data.buffer) };
    let answered = 0;
    const refusals: (string | null)[] = [];
    const call = async (): Promise<void> => {
      try {
        await client.coordinate({ utility, assignment: { solver: 'EXACT' } });
        answered++;
      } catch (thrown) {
        const { reason, retryAfterMs } = errorDetailsOf(thrown as ServiceError);
        refusals.push(reason);
        expect(retryAfterMs).toBeGreaterThan(0);
      }
    };
    await Promise.all(Array.from({ length: calls }, call));
    expect(answered + refusals.length).toBe(calls);
    expect(answered).toBeGreaterThan(0);
    expect(new Set(refusals)).toEqual(new Set(['QUEUE_FULL']));
  } finally {
    client.close();
    await server.close();
  }
});
