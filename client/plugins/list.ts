/** What is known of each plugin on this host: installed and usable, or why not. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  fileBytes,
  installedPlugin,
  knownPlugins,
  type PluginLookup,
  type PluginName,
  pluginNames,
  pluginPath,
} from '../../src/pjrt/plugins.js';
import type { ProbedPlugin } from './probe.js';

export interface PluginReport {
  readonly name: PluginName;
  /** The version that this program installs and uses. */
  readonly version: string;
  /** `installed` is there but cannot be used here, `why` says what stands against it. */
  readonly state: 'ready' | 'installed' | 'missing';
  /** Of the library; null where it is not installed. */
  readonly path: string | null;
  readonly why: string | null;
  /** Version of the PJRT C API. */
  readonly pjrt: string | null;
  readonly platform: string | null;
  /** The kind of each device of this host. */
  readonly devices: readonly string[];
}

export type Probe = (name: PluginName, path: string) => Promise<ProbedPlugin>;

/** In the order of `pluginNames`. `probe` loads what is installed. */
export function listPlugins(lookup: PluginLookup, probe: Probe): Promise<PluginReport[]> {
  return Promise.all(
    pluginNames.map(async (name): Promise<PluginReport> => {
      const { version } = (lookup.known ?? knownPlugins)[name];
      const found = installedPlugin(name, lookup);
      if (found === null) {
        const why = missingBecause(name, lookup);
        return { name, version, state: 'missing', path: null, why, pjrt: null, platform: null, devices: [] };
      }
      const probed = await probe(name, found.path);
      return { name, version, state: probed.why === null ? 'ready' : 'installed', path: found.path, ...probed };
    }),
  );
}

function missingBecause(name: PluginName, { directory, host, known: table = knownPlugins }: PluginLookup): string {
  const known = table[name];
  const build = known.builds[host];
  if (build === undefined) return `no build for ${host}, only for ${Object.keys(known.builds).join(', ')}`;
  const remedy = `tensor-consensus plugin install ${name}`;
  const path = pluginPath(directory, name, known, host);
  const bytes = fileBytes(path);
  if (bytes !== null) return `damaged, ${bytes} of ${build.bytes} bytes: ${remedy}`;
  const versions = versionsIn(join(directory, name)).filter((version) => version !== known.version);
  if (versions.length > 0) return `installed as ${versions.join(', ')}, needed as ${known.version}: ${remedy}`;
  return `not installed: ${remedy}`;
}

function versionsIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
