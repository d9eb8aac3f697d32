/** How long this process had cores, and waited for them as Linux counts it. */
import { readdirSync, readFileSync } from 'node:fs';
import type { CoreTimes } from '../src/engine/warm-pace.js';

const threadsFolder = '/proc/self/task';
const nanosecondsPerMs = 1e6;

/** Milliseconds for which the threads that there are now were ready to run and had no core, summed; 0 where the system does not count it. */
function waitedMs(): number {
  let nanoseconds = 0;
  try {
    for (const thread of readdirSync(threadsFolder)) nanoseconds += waitOf(thread);
  } catch {
    return 0;
  }
  return nanoseconds / nanosecondsPerMs;
}

function usedMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

export const coreTimes: CoreTimes = { waitedMs, usedMs };

/** Time on a core, time in the run queue, turns; 0 for a thread that has ended meanwhile. */
function waitOf(thread: string): number {
  try {
    return Number(readFileSync(`${threadsFolder}/${thread}/schedstat`, 'utf8').split(' ')[1]);
  } catch {
    return 0;
  }
}
