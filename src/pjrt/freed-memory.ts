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
 * Gives the system the pages back that were freed and that glibc keeps between what stays. On libuv's pool: some 10 ms for the 65 MB that reading
 * executables leaves, 20 to 140 ms for the 200 MB that compiling leaves. Whoever allocates from an arena whose turn it is waits: the event
 * loop for up to 4 ms after the former and up to 13 ms after the latter, where it does nothing else.
 */
export function returnFreedMemory(): Promise<void> {
  return new Promise((resolve) => {
    if (mallocTrim === null) resolve();
    else mallocTrim.async(0, () => resolve());
  });
}
