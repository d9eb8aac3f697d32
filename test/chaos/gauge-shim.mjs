/** Preloaded with --expose-gc: on SIGUSR2 the process collects its garbage and writes what it holds as a log line. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

if (isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  process.on('SIGUSR2', () => {
    const lagMs = delay.percentile(99) / 1e6;
    globalThis.gc();
    const { rss, heapUsed, external } = process.memoryUsage();
    const resources = process.getActiveResourcesInfo().length;
    delay.reset();
    process.stdout.write(`${JSON.stringify({ msg: 'gauges', rss, heapUsed, external, resources, lagMs })}\n`);
  });
}
