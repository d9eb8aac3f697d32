import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { coreTimes } from '../../server/core-times.js';

it('grows while more threads are busy than there are cores, where the system counts it, and is 0 elsewhere', async () => {
  if (!existsSync('/proc/self/schedstat')) {
    expect(coreTimes.waitedMs()).toBe(0);
    return;
  }
  const busy = Array.from({ length: availableParallelism() + 1 }, () => new Worker('for (;;);', { eval: true }));
  try {
    const [waitedMs, usedMs] = [coreTimes.waitedMs(), coreTimes.usedMs()];
    await expect.poll(() => coreTimes.waitedMs() - waitedMs).toBeGreaterThan(10);
    await expect.poll(() => coreTimes.usedMs() - usedMs).toBeGreaterThan(10);
  } finally {
    await Promise.all(busy.map((worker) => worker.terminate()));
  }
});
