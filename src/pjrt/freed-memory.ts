import { platform } from 'node:os';
import { koffi } from './ffi.js';

type Trim = ((pad: number) => number) & {
  async(pad: number, done: (failure: Error | null | undefined, trimmed: number) => void): void;
};

const mallocTrim = platform() === 'linux' ? findTrim() : null;

/** Null where the C library has no such function: musl's does not keep as much. */
function findTrim(): Trim | null {
  try {
    return koffi.load(null).func('int malloc_trim(size_t)');
  } catch {
    return null;
  }
}

/**
 * Gives the system the pages back that were freed and that glibc keeps: compilers and readers of executables leave tens of megabytes of them, between
 * what stays. On libuv's pool, for up to 10 ms; whoever allocates from the same arena meanwhile waits for the few of them that its turn takes.
 */
export function returnFreedMemory(): Promise<void> {
  return new Promise((resolve) => {
    if (mallocTrim === null) resolve();
    else mallocTrim.async(0, () => resolve());
  });
}
