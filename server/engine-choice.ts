/** Which engines this process may run programs on, best first. */
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { ConfigError, type Config } from '../src/config.js';
import type { Engine } from '../src/engine/engine.js';
import { OnnxEngine } from '../src/engine/onnx-engine.js';
import type { RungOptions } from '../src/engine/rung.js';
import { fileBytes, installedPlugin, pluginDirectory, type PluginName } from '../src/pjrt/plugins.js';
import { hostIdentity, openExecutableCache } from './executable-folder.js';
import type { CoreContext } from './start.js';

/**
 * XLA on a TPU, XLA on CUDA, ONNX Runtime on CUDA, XLA on the CPU, ONNX Runtime on the CPU: of these what is installed and
 * what the settings allow. A plugin that is named goes first, and alone among the plugins. ConfigError where it is no file,
 * and where XLA is asked for and there is no plugin.
 */
export function rungsFor(context: CoreContext): RungOptions[] {
  const { config } = context;
  const [accelerated, onCpu] = config.engine === 'onnx' ? [[], []] : xlaRungs(context);
  const onnx = config.engine === 'xla' ? [] : onnxRungs(context);
  const cuda = onnx.filter(({ name }) => name === 'onnx cuda');
  const rungs = [...accelerated, ...cuda, ...onCpu, ...onnx.filter((rung) => !cuda.includes(rung))];
  if (rungs.length > 0) return rungs;
  throw new ConfigError(
    `--engine xla: no plugin is installed in ${directoryOf(config)}; run tensor-consensus plugin install cpu, or name one with --pjrt-plugin`,
  );
}

/** On accelerators, and on the CPU. Nothing is loaded before a rung is opened. */
function xlaRungs(context: CoreContext): [RungOptions[], RungOptions[]] {
  const { config } = context;
  if (config.pjrtPlugin !== null) {
    if (fileBytes(config.pjrtPlugin) === null)
      throw new ConfigError(
        `--pjrt-plugin: expected a plugin's shared library, received '${config.pjrtPlugin}', which is no file`,
      );
    return [[xlaRung(context, 'xla plugin', config.pjrtPlugin)], []];
  }
  const lookup = { directory: directoryOf(config), host: `${process.platform}-${process.arch}` };
  const rungOf = (name: PluginName, rung: string): RungOptions[] => {
    const found = installedPlugin(name, lookup);
    if (found === null) return [];
    const { open } = xlaRung(context, rung, found.path);
    const missing = missingDevice(name);
    return [
      { name: rung, open: missing === null ? open : () => Promise.reject(new ConfigError(`${rung}: ${missing}`)) },
    ];
  };
  return [[...rungOf('tpu', 'xla tpu'), ...rungOf('cuda13', 'xla cuda')], rungOf('cpu', 'xla cpu')];
}

/** The XLA engine and its foreign function interface are loaded only where they are used. */
export function xlaRung({ config, clock, metrics, log }: CoreContext, name: string, pluginPath: string): RungOptions {
  return {
    name,
    async open(): Promise<Engine> {
      // XLA writes to stderr when it is loaded; warnings and worse are enough.
      process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1';
      const { XlaEngine } = await import('../src/engine/xla-engine.js');
      const { livePjrtObjects } = await import('../src/pjrt/ownership.js');
      metrics.watchPjrtObjects(livePjrtObjects);
      const engine = await XlaEngine.open({
        plugin: pluginPath,
        clock,
        metrics,
        environment: process.env,
        hangTimeoutMs: config.engineHangTimeoutMs,
        ...(config.devices === 0 ? {} : { devices: config.devices }),
        cache: openExecutableCache(config, metrics, log),
        host: hostIdentity(),
        loadConcurrency: compilersAtATime(),
        // On one core the event loop would wait in the engine's way.
        busyPollMs: availableParallelism() > 1 ? config.busyPollMs : 0,
        log: (message, fields) => log.warn(fields, message),
      });
      log.info({ platform: engine.platformVersion, device: engine.device }, 'XLA plugin opened');
      return engine;
    },
  };
}

/**
 * One compiler a core, at least two. Each holds a thread of libuv's pool, of which one stays free for files, names and
 * executions; UV_THREADPOOL_SIZE, which must be set before the process starts, makes the pool larger on machines of many cores.
 */
function compilersAtATime(): number {
  const pool = Number(process.env['UV_THREADPOOL_SIZE'] ?? '') || 4;
  return Math.max(1, Math.min(Math.max(availableParallelism(), 2), pool - 1));
}

/** CUDA where it is among the providers; what it cannot compute falls to the CPU inside ONNX Runtime. */
function onnxRungs(context: CoreContext): RungOptions[] {
  const { onnxProviders } = context.config;
  const rungs: RungOptions[] = [];
  if (onnxProviders[0] === 'cuda') rungs.push(onnxRung(context, 'onnx cuda', onnxProviders));
  if (onnxProviders.includes('cpu')) rungs.push(onnxRung(context, 'onnx cpu', ['cpu']));
  return rungs;
}

export function onnxRung(
  { config, clock, metrics, log }: CoreContext,
  name: 'onnx cuda' | 'onnx cpu',
  executionProviders: Config['onnxProviders'],
): RungOptions {
  return {
    name,
    async open(): Promise<Engine> {
      const engine = new OnnxEngine({
        clock,
        metrics,
        hangTimeoutMs: config.engineHangTimeoutMs,
        intraOpThreads: config.engineThreads,
        executionProviders,
        cache: openExecutableCache(config, metrics, log),
        host: hostIdentity(),
        log: (message, fields) => log.warn(fields, message),
      });
      try {
        await engine.whenReady();
        if (name === 'onnx cuda' && engine.device === 'cpu')
          throw new ConfigError('--onnx-providers: the CUDA library of ONNX Runtime is not installed (see the README)');
      } catch (error) {
        await engine.close();
        throw error;
      }
      return engine;
    },
  };
}

function directoryOf({ pluginDir }: Config): string {
  return pluginDir ?? pluginDirectory(process.env, homedir());
}

/**
 * Why the plugin would find no device here; null where it may. Told by device files, as libtpu looks for a TPU for minutes
 * before it gives up, and CUDA's plugin is 400 MB to load.
 */
function missingDevice(name: PluginName): string | null {
  if (process.platform !== 'linux' || name === 'cpu') return null;
  if (name === 'cuda13') {
    const files = ['/dev/nvidiactl', '/dev/dxg'];
    return files.some((file) => existsSync(file)) ? null : `there is no GPU here (${files.join(', ')})`;
  }
  const found = existsSync('/dev/accel0') || (existsSync('/dev/vfio') && readdirSync('/dev/vfio').some(isNumber));
  return found ? null : 'there is no TPU here (/dev/accel0, /dev/vfio/*)';
}

function isNumber(text: string): boolean {
  return /^\d+$/.test(text);
}
