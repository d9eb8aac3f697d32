/** Where an engine computes on the cores that the event loop runs on, its threads come second. */
import { readdirSync, readFileSync } from 'node:fs';
import { platform, setPriority } from 'node:os';

const threadsFolder = '/proc/self/task';
/** As XLA's plugin for the CPU names the threads that it computes on. */
const computeThreadName = 'tf_XLAEigen';
/** Between the event loop (0) and the solvers (10, solver-worker.ts). */
const engineNiceness = 5;

/**
 * Lowers the priority of XLA's compute threads in this process; returns their ids. A request that waits to be read, packed or refused takes
 * microseconds, and a core that is taken from a run of milliseconds for it is given back at once. On Linux; elsewhere priorities are whole processes'.
 */
export function yieldToEventLoop(): readonly number[] {
  if (platform() !== 'linux') return [];
  return readdirSync(threadsFolder)
    .map(Number)
    .filter((thread) => {
      try {
        if (readFileSync(`${threadsFolder}/${thread}/comm`, 'utf8').trim() !== computeThreadName) return false;
        setPriority(thread, engineNiceness);
        return true;
      } catch {
        // It has ended meanwhile, or the system does not allow it: then it stays as it is.
        return false;
      }
    });
}
