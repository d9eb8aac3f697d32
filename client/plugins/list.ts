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

export interface PluginReport {
  readonly name: PluginName;
  /** The version that this program installs and uses. */
  readonly version: string;
  readonly installed: boolean;
  /** Of the library; null where it is not installed. */
  readonly path: string | null;
  /** Why it cannot be used; null where nothing stands against it. */
  readonly why: string | null;
}

/** In the order of `pluginNames`. */
export function listPlugins(lookup: PluginLookup): PluginReport[] {
  return pluginNames.map((name) => {
    const { version } = (lookup.known ?? knownPlugins)[name];
    const found = installedPlugin(name, lookup);
    if (found !== null) return { name, version, installed: true, path: found.path, why: null };
    return { name, version, installed: false, path: null, why: missingBecause(name, lookup) };
  });
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
