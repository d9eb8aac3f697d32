/** Where compiled executables are kept between starts, and for which host. */
import { readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, homedir, platform } from 'node:os';
import type { Config } from '../src/config.js';
import { ExecutableCache, executableCacheDirectory } from '../src/engine/executable-cache.js';
import type { Metrics } from '../src/metrics.js';
import type { Logger } from './log.js';

const bytesPerMiB = 1024 * 1024;

/** Null where it is switched off. */
export function openExecutableCache(config: Config, metrics: Metrics, log: Logger): ExecutableCache | null {
  if (config.executableCacheMb === 0) return null;
  return new ExecutableCache({
    directory: config.executableCacheDir ?? executableCacheDirectory(process.env, homedir()),
    limitBytes: config.executableCacheMb * bytesPerMiB,
    metrics,
    log: (message, fields) => log.warn(fields, message),
  });
}

/**
 * What compiled code depends on beside the plugin and its devices. XLA compiles for the very CPU that it runs on: on another one the code
 * would end the process with an illegal instruction. Its flags, and how many threads code is cut up for, come from the environment.
 */
export function hostIdentity(): string {
  const { XLA_FLAGS = '', LIBTPU_INIT_ARGS = '', PJRT_NPROC = '', NPROC = '' } = process.env;
  const models = [...new Set(cpus().map(({ model }) => model))];
  return JSON.stringify([
    platform(),
    arch(),
    models,
    availableParallelism(),
    cpuFeatures(),
    XLA_FLAGS,
    LIBTPU_INIT_ARGS,
    PJRT_NPROC,
    NPROC,
  ]);
}

/** What Linux says the CPU can do, and which it is; elsewhere the model names stand for it. */
function cpuFeatures(): readonly string[] {
  if (platform() !== 'linux') return [];
  const features = /^(flags|Features|cpu family|model|stepping|CPU (implementer|architecture|variant|part))\s*:/;
  const lines = readFileSync('/proc/cpuinfo', 'utf8').split('\n');
  return [...new Set(lines.filter((line) => features.test(line)))].sort();
}
