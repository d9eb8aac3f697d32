/** Which engine this process runs programs on. */
import { homedir } from 'node:os';
import { ConfigError, type Config } from '../src/config.js';
import type { Engine } from '../src/engine/engine.js';
import { OnnxEngine } from '../src/engine/onnx-engine.js';
import { installedPlugin, pluginDirectory, type PluginName } from '../src/pjrt/plugins.js';
import { hostIdentity, openExecutableCache } from './executable-folder.js';
import type { CoreContext } from './start.js';

/** The fastest hardware first. */
const pluginPreference: readonly PluginName[] = ['tpu', 'cuda13', 'cpu'];

/**
 * ONNX Runtime, or XLA where it is asked for. Rejects where the engine does not start. The XLA engine and its foreign
 * function interface are loaded only where they are used.
 */
export async function openEngine({ config, clock, metrics, log }: CoreContext): Promise<Engine> {
  const report = (message: string, fields: Readonly<Record<string, unknown>>) => log.warn(fields, message);
  const hangTimeoutMs = config.engineHangTimeoutMs;
  const active = ({ name, device }: Engine, value: 0 | 1): void =>
    metrics.engineActive.set({ engine: name, device }, value);
  if (config.engine === 'xla') {
    // XLA writes to stderr when it is loaded; warnings and worse are enough.
    process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1';
    const { XlaEngine } = await import('../src/engine/xla-engine.js');
    const engine = await XlaEngine.open({
      plugin: pluginPathFor(config),
      clock,
      metrics,
      hangTimeoutMs,
      cache: openExecutableCache(config, metrics, log),
      host: hostIdentity(),
      log: report,
    });
    active(engine, 1);
    engine.onReset(() => active(engine, 0));
    log.info({ platform: engine.platformVersion, device: engine.device }, 'XLA plugin opened');
    return engine;
  }
  const engine = new OnnxEngine({
    clock,
    metrics,
    hangTimeoutMs,
    intraOpThreads: config.engineThreads,
    executionProviders: config.onnxProviders,
    log: report,
  });
  try {
    await engine.whenReady();
    const [first] = config.onnxProviders;
    if (first === 'cuda' && engine.device === 'cpu') {
      const missing = '--onnx-providers: the CUDA library of ONNX Runtime is not installed (see the README)';
      if (!config.onnxProviders.includes('cpu')) throw new ConfigError(missing);
      log.warn(`${missing}: running on the CPU`);
    }
  } catch (error) {
    await engine.close();
    throw error;
  }
  active(engine, 1);
  engine.onReset(() => {
    active(engine, 0);
    // A worker that does not start is one more reset.
    engine.whenReady().then(
      () => active(engine, 1),
      () => undefined,
    );
  });
  return engine;
}

/** The plugin that is named, else the best one that is installed. */
function pluginPathFor({ pjrtPlugin, pluginDir }: Config): string {
  if (pjrtPlugin !== null) return pjrtPlugin;
  const directory = pluginDir ?? pluginDirectory(process.env, homedir());
  const host = `${process.platform}-${process.arch}`;
  for (const name of pluginPreference) {
    const found = installedPlugin(name, { directory, host });
    if (found !== null) return found.path;
  }
  throw new ConfigError(
    `--engine xla: no plugin is installed in ${directory}; run tensor-consensus plugin install cpu, or name one with --pjrt-plugin`,
  );
}
