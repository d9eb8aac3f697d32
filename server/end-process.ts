/**
 * The end of the process, at once. `process.exit` waits for worker threads, and one inside ONNX Runtime cannot be
 * stopped: the exit would take as long as the batch does, and then abort, as the runtime's binding cannot hand its
 * results to a thread that is being torn down. So the C library's `_exit` is called, which waits for nothing.
 */
import { createRequire } from 'node:module';

interface Koffi {
  load(path: null): { func(prototype: string): (code: number) => void };
}

/** Nothing runs after it, no `exit` listeners either. What is to be seen must have been written. */
export function endProcess(exitCode: number): never {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    koffi.load(null).func('void _exit(int)')(exitCode);
  } catch {
    // Not on this platform: the usual exit is what is left.
  }
  process.exit(exitCode);
}
