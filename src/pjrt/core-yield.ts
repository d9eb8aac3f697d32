import { platform } from 'node:os';
import { koffi } from './ffi.js';

const schedYield =
  platform() === 'linux' ? (koffi.load(null).func('int sched_yield()') as unknown as () => number) : null;

/**
 * Gives this thread's core to another that waits for it, and comes back when that sleeps or has had its share; in half a microsecond where none does.
 * Nothing where there are no plugins.
 */
export function yieldCore(): void {
  schedYield?.();
}
