/**
 * koffi, configured. Import it from here only: koffi takes no configuration once it has loaded anything.
 *
 * koffi runs C functions on stacks of its own: 2 MiB for a plain call, but by default 128 KiB for `.async`, over the end of which XLA's compiler
 * would run. `.async` calls run on libuv's pool (4 threads unless UV_THREADPOOL_SIZE was set before Node started), shared with files
 * and DNS. A call that never returns keeps one of those threads, and Node does not exit before it returns, not even by
 * `process.exit`: only a signal such as SIGKILL ends a process whose device hangs.
 */
import koffi from 'koffi';

/** As much as a thread of glibc's has; pages that are not touched cost nothing. */
const asyncStackBytes = 8 * 1024 * 1024;

if (koffi.config().async_stack_size !== asyncStackBytes) koffi.config({ async_stack_size: asyncStackBytes });

export { koffi };
