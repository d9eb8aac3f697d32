/**
 * Preloaded into a measured process (`node --import probe.js ...`) that was started with an IPC channel: answers what
 * only the process itself can know. Worker threads load it too and take no part.
 */
import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

export interface ProbeReading {
  /** Delays between 1 ms timer ticks since the last reading: a blocked loop shows as a delay at least as long. */
  readonly loopDelayMs: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly rssBytes: number;
  /** Highest RSS of the process's life. */
  readonly peakRssBytes: number;
  readonly heapUsedBytes: number;
  readonly externalBytes: number;
}

/** The kernel's high-water mark of this program; getrusage's would include what the parent had before exec. */
function peakRssBytes(): number {
  try {
    const kibibytes = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (kibibytes !== undefined) return Number(kibibytes) * 1024;
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}

if (isMainThread && process.send !== undefined) {
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  process.on('message', (message) => {
    // Reading the garbage collector's effect needs --expose-gc; without it the reading is as it is.
    if (message === 'collect-and-read') globalThis.gc?.();
    const { rss, heapUsed, external } = process.memoryUsage();
    const nanosecondsPerMs = 1e6;
    const reading: ProbeReading = {
      loopDelayMs: {
        p50: histogram.percentile(50) / nanosecondsPerMs,
        p99: histogram.percentile(99) / nanosecondsPerMs,
        max: histogram.max / nanosecondsPerMs,
      },
      rssBytes: rss,
      peakRssBytes: peakRssBytes(),
      heapUsedBytes: heapUsed,
      externalBytes: external,
    };
    histogram.reset();
    process.send?.(reading);
  });
  // A listener for messages keeps the process alive; the probe must not.
  process.channel?.unref();
}
