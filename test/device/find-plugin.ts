/** Which plugin the device tier runs on. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileBytes, installedPlugin, pluginDirectory, type PluginName } from '../../src/pjrt/plugins.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Path of the plugin whose device the tier runs on. */
    devicePlugin: string;
  }
}

export type FoundPlugin = { readonly path: string } | { readonly missing: string };

interface Accelerator {
  readonly name: string;
  readonly isPresent: () => boolean;
  readonly plugin: PluginName;
  /** Where Python packages keep the library, below a folder of packages. */
  readonly packaged: readonly string[];
}

const accelerators: readonly Accelerator[] = [
  {
    name: 'TPU',
    isPresent: () => existsSync('/dev/accel0') || entriesOf('/dev/vfio').some((entry) => /^\d+$/.test(entry)),
    plugin: 'tpu',
    packaged: ['libtpu/libtpu.so'],
  },
  {
    name: 'GPU',
    isPresent: () => existsSync('/dev/nvidiactl') || existsSync('/dev/dxg'),
    plugin: 'cuda13',
    packaged: ['jax_plugins/xla_cuda13/xla_cuda_plugin.so', 'jax_plugins/xla_cuda12/xla_cuda_plugin.so'],
  },
];

/**
 * TC_PJRT_PLUGIN, whatever its device; else, where a TPU or an NVIDIA GPU is present, the plugin for it that is installed
 * or that came with JAX.
 */
export function findDevicePlugin(environment: NodeJS.ProcessEnv): FoundPlugin {
  const chosen = environment['TC_PJRT_PLUGIN'] ?? '';
  if (chosen !== '') {
    return fileBytes(chosen) === null ? { missing: `TC_PJRT_PLUGIN: there is no file ${chosen}` } : { path: chosen };
  }
  const present = accelerators.filter(({ isPresent }) => isPresent());
  if (present.length === 0)
    return { missing: 'there is neither a TPU nor an NVIDIA GPU, and TC_PJRT_PLUGIN names no plugin' };
  const lookup = { directory: pluginDirectory(environment, homedir()), host: `${process.platform}-${process.arch}` };
  for (const { plugin, packaged } of present) {
    const installed = installedPlugin(plugin, lookup);
    if (installed !== null) return { path: installed.path };
    for (const folder of packageFolders()) {
      const path = packaged.map((file) => join(folder, file)).find((file) => fileBytes(file) !== null);
      if (path !== undefined) return { path };
    }
  }
  const wanted = present.map(
    ({ name, plugin }) => `a ${name}, but not its plugin (tensor-consensus plugin install ${plugin})`,
  );
  return { missing: `there is ${wanted.join(' and ')}` };
}

/** Where the Python on PATH looks for packages; none where there is no Python. */
function packageFolders(): string[] {
  const { stdout, status } = spawnSync('python3', ['-c', 'import json, sys; print(json.dumps(sys.path))'], {
    encoding: 'utf8',
  });
  return status === 0 ? (JSON.parse(stdout) as string[]) : [];
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
