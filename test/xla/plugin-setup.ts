/** Installs the plugins that the tier runs on, pinned and hashed, into the user's plugin folder, where the next run finds them. */
import { homedir } from 'node:os';
import type { TestProject } from 'vitest/node';
import { installPlugin } from '../../client/plugins/install.js';
import { knownPlugins, pluginDirectory, type PluginName } from '../../src/pjrt/plugins.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Path of the XLA plugin for the CPU. */
    cpuPlugin: string;
    /** Path of libtpu, null on hosts that it is not built for. */
    tpuPlugin: string | null;
  }
}

export async function setup(project: TestProject): Promise<void> {
  const directory = pluginDirectory(process.env, homedir());
  const host = `${process.platform}-${process.arch}`;
  const install = async (name: PluginName): Promise<string> => (await installPlugin(name, { directory, host })).path;
  project.provide('cpuPlugin', await install('cpu'));
  project.provide('tpuPlugin', knownPlugins.tpu.builds[host] === undefined ? null : await install('tpu'));
}
