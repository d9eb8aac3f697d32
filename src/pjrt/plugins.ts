/**
 * The PJRT plugins that this version knows, and where they stand once installed. A plugin is one shared library out of a
 * Python wheel; `plugins/NAME.txt` pins the wheels for pip, the table below pins the library itself.
 */
import { statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';

export const pluginNames = ['cpu', 'tpu', 'cuda13'] as const;
export type PluginName = (typeof pluginNames)[number];

/** The library for one kind of host, and the wheel that holds it. */
export interface PluginBuild {
  /** What pip calls the platform. A wheel for one CPython only names it here too. */
  readonly wheelPlatform: string;
  readonly wheelPython: { readonly version: string; readonly abi: string } | null;
  readonly wheelBytes: number;
  /** Size and SHA-256 of the library. */
  readonly bytes: number;
  readonly sha256: string;
}

export interface KnownPlugin {
  /** The package on PyPI. */
  readonly distribution: string;
  readonly version: string;
  /** Path of the library inside the wheel. */
  readonly library: string;
  /** By host: `${process.platform}-${process.arch}`. */
  readonly builds: Readonly<Record<string, PluginBuild>>;
}

export type KnownPlugins = Readonly<Record<PluginName, KnownPlugin>>;

export const knownPlugins: KnownPlugins = {
  cpu: {
    distribution: 'xla-cpu-pjrt',
    version: '0.0.1',
    library: 'xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so',
    builds: {
      'linux-x64': {
        wheelPlatform: 'manylinux_2_27_x86_64',
        wheelPython: null,
        wheelBytes: 63_461_052,
        bytes: 259_284_552,
        sha256: '88c3f28c5900f48ad4a82cab9e79bba9537809743395e341485f8794268820dc',
      },
      'linux-arm64': {
        wheelPlatform: 'manylinux_2_27_aarch64',
        wheelPython: null,
        wheelBytes: 49_514_947,
        bytes: 200_328_224,
        sha256: 'fcf411f3e8ff635c2b2cf87215aa7016f460e66d236c3db08309e7486583532d',
      },
    },
  },
  tpu: {
    distribution: 'libtpu',
    version: '0.0.51',
    library: 'libtpu/libtpu.so',
    builds: {
      'linux-x64': {
        wheelPlatform: 'manylinux_2_31_x86_64',
        wheelPython: { version: '3.11', abi: 'cp311' },
        wheelBytes: 204_805_508,
        bytes: 574_812_664,
        sha256: 'ad0b2a3bc5d4de96f653b3701aaed8769a691776ca0e14c791dcdca785d43e42',
      },
    },
  },
  cuda13: {
    distribution: 'jax-cuda13-pjrt',
    version: '0.12.0',
    library: 'jax_plugins/xla_cuda13/xla_cuda_plugin.so',
    builds: {
      'linux-x64': {
        wheelPlatform: 'manylinux_2_27_x86_64',
        wheelPython: null,
        wheelBytes: 134_918_807,
        bytes: 395_967_592,
        sha256: 'df5cfa83b073cd568ac95033fac67feda35e3afb992ba7d9c089e0a19191a835',
      },
      'linux-arm64': {
        wheelPlatform: 'manylinux_2_27_aarch64',
        wheelPython: null,
        wheelBytes: 128_846_212,
        bytes: 376_071_376,
        sha256: '09d2c997659ca00a788932adb082fc27fe58768e56a9c650256cec5014778921',
      },
    },
  },
};

/** Where plugins are kept, out of what an environment and an operating system say. */
export interface PluginPlace {
  readonly TC_PLUGIN_DIR?: string | undefined;
  readonly XDG_CACHE_HOME?: string | undefined;
}

/** TC_PLUGIN_DIR, else the cache folder of the XDG base directories (which ignore a relative path), else ~/.cache. */
export function pluginDirectory(environment: PluginPlace, homeFolder: string): string {
  const { TC_PLUGIN_DIR: chosen = '', XDG_CACHE_HOME: cache = '' } = environment;
  if (chosen !== '') return chosen;
  return join(isAbsolute(cache) ? cache : join(homeFolder, '.cache'), 'tensor-consensus', 'plugins');
}

/** DIRECTORY/NAME/VERSION/HOST/LIBRARY: hosts of several kinds may share a home folder, versions stand side by side. */
export function pluginPath(directory: string, name: PluginName, known: KnownPlugin, host: string): string {
  return join(directory, name, known.version, host, known.library.slice(known.library.lastIndexOf('/') + 1));
}

export interface InstalledPlugin {
  readonly name: PluginName;
  readonly version: string;
  readonly path: string;
}

export interface PluginLookup {
  readonly directory: string;
  /** `${process.platform}-${process.arch}`. */
  readonly host: string;
  readonly known?: KnownPlugins;
}

/**
 * The plugin where it is installed whole: the pinned version, of the pinned size. Its hash was checked when it was put
 * there; reading it again would cost half a second at every start.
 */
export function installedPlugin(name: PluginName, lookup: PluginLookup): InstalledPlugin | null {
  const known = (lookup.known ?? knownPlugins)[name];
  const build = known.builds[lookup.host];
  if (build === undefined) return null;
  const path = pluginPath(lookup.directory, name, known, lookup.host);
  return fileBytes(path) === build.bytes ? { name, version: known.version, path } : null;
}

/** Null where there is no file that this process may see. */
export function fileBytes(path: string): number | null {
  try {
    const found = statSync(path);
    return found.isFile() ? found.size : null;
  } catch {
    return null;
  }
}
