import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { waitedForCoreMs } from '../../server/core-wait.js';

it('grows while more threads are busy than there are cores, where the system counts it, and is 0 elsewhere', async () => {
  if (!existsSync('/proc/self/schedstat')) {
    expect(waitedForCoreMs()).toBe(0);
    return;
  }
  const busy = Array.from({ length: availableParallelism() + 1 }, () => new Worker('for (;;);', { eval: true }));
  try {
    const before = waitedForCoreMs();
    await expect.poll(() => waitedForCoreMs() - before).toBeGreaterThan(10);
  } finally {
    await Promise.all(busy.map((worker) => worker.terminate()));
  }
});
