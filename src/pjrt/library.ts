/**
 * Loading a plugin. Load on the main thread only. A plugin starts threads that never end, so unloading it crashes the process, and koffi unloads
 * a library when its handle is collected, when the worker thread that loaded it ends, and when the process ends by itself. So every
 * handle is kept here, a path is loaded once, and the system's loader is told never to unload it.
 */
import { platform } from 'node:os';
import type { LibraryHandle } from 'koffi';
import { CoordinatorError } from '../errors.js';
import { PjrtApi } from './call.js';
import { koffi } from './ffi.js';
import { NativeStruct } from './native-memory.js';

/** `RTLD_NOW | RTLD_NODELETE`. */
const keepLoaded = platform() === 'darwin' ? 0x82 : 0x1002;
const dlopen = koffi.load(null).func('dlopen', 'void *', ['str', 'int']) as (
  path: string,
  mode: number,
) => bigint | null;

interface LoadedLibrary {
  readonly handle: LibraryHandle;
  readonly api: PjrtApi;
}

const pinned = new Map<string, LoadedLibrary>();

/**
 * The plugin at `path`, loaded and initialised; the same one when asked again. Takes from 50 ms to seconds of the calling thread.
 * PLUGIN_INCOMPATIBLE where the file is no plugin, cannot be loaded, or speaks a version that this project does not know.
 *
 * What a plugin reads from the environment (TF_CPP_MIN_LOG_LEVEL, TPU_SKIP_MDS_QUERY, ALLOW_MULTIPLE_LIBTPU_LOAD, XLA_FLAGS)
 * must be set before. A process that loaded libtpu ends by `process.exit`: libtpu's profiling timers outlive the handlers that
 * Node takes down when it ends by itself, and SIGPROF kills it with status 155.
 */
export function loadPlugin(path: string): PjrtApi {
  const loaded = pinned.get(path);
  if (loaded !== undefined) return loaded.api;
  let handle: LibraryHandle;
  let table: bigint | null;
  try {
    handle = koffi.load(path);
    if (dlopen(path, keepLoaded) === null) throw new Error('the library cannot be kept loaded');
    const getPjrtApi = handle.func('GetPjrtApi', 'void *', []) as () => bigint | null;
    table = getPjrtApi();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CoordinatorError('PLUGIN_INCOMPATIBLE', `${path}: expected a PJRT plugin, received: ${reason}`, {
      cause: error,
    });
  }
  if (table === null) {
    throw new CoordinatorError('PLUGIN_INCOMPATIBLE', `${path}: expected a table of functions, GetPjrtApi gave none`);
  }
  const api = new PjrtApi(table, path);
  try {
    api.call(new NativeStruct('Plugin_Initialize'));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CoordinatorError('PLUGIN_INCOMPATIBLE', `${path}: the plugin does not start: ${reason}`, {
      cause: error,
    });
  }
  pinned.set(path, { handle, api });
  return api;
}
