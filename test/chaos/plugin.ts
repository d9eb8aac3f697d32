import { homedir } from 'node:os';
import { installedPlugin, pluginDirectory } from '../../src/pjrt/plugins.js';

/** The plugin that `plugin install cpu` keeps; null where there is none. */
export function cpuPlugin(): string | null {
  const directory = process.env['TC_PLUGIN_DIR'] ?? pluginDirectory(process.env, homedir());
  return installedPlugin('cpu', { directory, host: `${process.platform}-${process.arch}` })?.path ?? null;
}
