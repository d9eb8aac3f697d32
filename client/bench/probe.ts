/**
 * Preloaded into a measured process (`node --import probe.js ...`) that was started with an IPC channel: answers what
 * only the process itself can know. Worker threads load it too and take no part.
 */
import { openSync, readFileSync, readSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

export interface ProbeReading {
  /** Delays between 1 ms timer ticks since the last reading: a blocked loop shows as a delay at least as long, but so does a busy machine. */
  readonly loopDelayMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Most that the main thread itself computed between a tick and the next but one; null where the system does not tell. */
  readonly busiestMs: number | null;
  readonly rssBytes: number;
  /** Highest RSS of the process's life. */
  readonly peakRssBytes: number;
  readonly heapUsedBytes: number;
  readonly externalBytes: number;
}

const nanosecondsPerMs = 1e6;

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

/** Reads the CPU time of the main thread in ms, about 3 us a call; null where there is no /proc. */
function mainThreadClock(): (() => number) | null {
  try {
    const file = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
    const buffer = Buffer.alloc(96);
    // "time on the CPU in ns, time waiting for one, time slices"
    return () =>
      Number(buffer.toString('latin1', 0, readSync(file, buffer, 0, 96, 0)).split(' ')[0]) / nanosecondsPerMs;
  } catch {
    return null;
  }
}

/**
 * The longest stretch of work of the main thread, whatever else the machine does. The kernel brings a running thread's
 * account up to date every few ms, so a long stretch may show in two ticks: both are counted, which errs upwards.
 */
class BusyWatch {
  #busiestMs = 0;
  readonly #clock: () => number;
  #lastMs: number;
  #lastStretchMs = 0;

  constructor(clock: () => number) {
    this.#clock = clock;
    this.#lastMs = clock();
    setInterval(() => this.#tick(), 1).unref();
  }

  #tick(): void {
    const nowMs = this.#clock();
    const stretchMs = nowMs - this.#lastMs;
    this.#busiestMs = Math.max(this.#busiestMs, this.#lastStretchMs + stretchMs);
    this.#lastMs = nowMs;
    this.#lastStretchMs = stretchMs;
  }

  /** The longest since the last call. */
  take(): number {
    this.#tick();
    const busiest = this.#busiestMs;
    this.#busiestMs = 0;
    this.#lastStretchMs = 0;
    return busiest;
  }
}

function answerReadings(): void {
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  const clock = mainThreadClock();
  const watch = clock === null ? null : new BusyWatch(clock);
  process.on('message', (message) => {
    const busiestMs = watch?.take() ?? null;
    // Reading the garbage collector's effect needs --expose-gc; without it the reading is as it is.
    if (message === 'collect-and-read') globalThis.gc?.();
    const { rss, heapUsed, external } = process.memoryUsage();
    const reading: ProbeReading = {
      loopDelayMs: {
        p50: histogram.percentile(50) / nanosecondsPerMs,
        p99: histogram.percentile(99) / nanosecondsPerMs,
        max: histogram.max / nanosecondsPerMs,
      },
      busiestMs,
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

if (isMainThread && process.send !== undefined) answerReadings();
