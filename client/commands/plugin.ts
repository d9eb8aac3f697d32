/** `tensor-consensus plugin install|list`: the shared libraries through which XLA drives CPUs, TPUs and GPUs. */
import { homedir } from 'node:os';
import { parseArgs } from 'node:util';
import { pluginDirectory, type PluginName, pluginNames } from '../../src/pjrt/plugins.js';
import { exitCodes } from '../exit-codes.js';
import { installPlugin, PluginInstallError } from '../plugins/install.js';
import { listPlugins, type PluginReport } from '../plugins/list.js';
import { probePlugin } from '../plugins/probe.js';
import { progressLines } from '../plugins/progress-lines.js';
import { tableLines } from '../table.js';
import { UsageError } from '../usage.js';
import { outputForm } from './connection.js';

export const pluginHelp = `tensor-consensus plugin install cpu|tpu|cuda13 ... [options]
tensor-consensus plugin list [options]

Plugins are the shared libraries (PJRT) through which XLA compiles for and runs on CPUs, Cloud TPUs and NVIDIA GPUs.
They are not part of this package. install fetches the pinned wheel with pip, checks its hash, and keeps the one
library of it; what is already there is checked and kept. Python 3 with pip is needed to install, never to run.

  cpu      XLA for x86-64 and arm64 CPUs        63 MB to fetch, 259 MB on disk
  tpu      XLA for Cloud TPUs (libtpu)         205 MB to fetch, 575 MB on disk
  cuda13   XLA for NVIDIA GPUs with CUDA 13    135 MB to fetch, 396 MB on disk

  --plugin-dir DIR       where plugins are kept (TC_PLUGIN_DIR; default ~/.cache/tensor-consensus/plugins)
  --output json|table    of list (default: table on a terminal, JSON elsewhere)
  -h, --help             this text

The server runs on the best plugin in this folder that finds its hardware, and on ONNX Runtime without one.
`;

const flags = {
  'plugin-dir': { type: 'string' },
  output: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** A TPU or GPU takes seconds to open. */
const timeoutMs = 60_000;

const host = `${process.platform}-${process.arch}`;

/** @throws UsageError */
export async function runPlugin(argv: readonly string[]): Promise<number> {
  const { values, positionals } = UsageError.from('plugin', () =>
    parseArgs({ args: [...argv], options: flags, allowPositionals: true }),
  );
  if (values.help) {
    process.stdout.write(pluginHelp);
    return exitCodes.ok;
  }
  const directory = values['plugin-dir'] ?? pluginDirectory(process.env, homedir());
  const [action = '', ...names] = positionals;
  switch (action) {
    case 'install':
      return install(names, directory);
    case 'list':
      if (names.length > 0) throw new UsageError(`plugin list takes no names, received '${names.join(' ')}'`);
      return await list(directory, outputForm(values.output));
    default: {
      const received = action === '' ? 'nothing' : `'${action}'`;
      throw new UsageError(
        `plugin: expected install or list, received ${received} (see tensor-consensus plugin --help)`,
      );
    }
  }
}

function pluginName(text: string): PluginName {
  const name = pluginNames.find((known) => known === text);
  if (name === undefined) {
    throw new UsageError(`plugin install: expected ${pluginNames.join(', ')}, received '${text}'`);
  }
  return name;
}

async function install(texts: readonly string[], directory: string): Promise<number> {
  if (texts.length === 0) throw new UsageError(`plugin install: expected one or more of ${pluginNames.join(', ')}`);
  const names = texts.map(pluginName);
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  process.once('SIGINT', onInterrupt);
  process.once('SIGTERM', onInterrupt);
  try {
    for (const name of names) {
      const lines = progressLines(name, process.stderr.isTTY, (text) => void process.stderr.write(text));
      try {
        const { path, version, reused } = await installPlugin(name, {
          directory,
          host,
          signal: interrupt.signal,
          onProgress: (progress) => lines.show(progress),
        });
        lines.clear();
        process.stdout.write(`${name} ${version} ${reused ? 'was already installed' : 'installed'}: ${path}\n`);
        const { pjrt, devices, why } = await probePlugin(name, path, { timeoutMs });
        const use = why === null ? `ready, PJRT ${pjrt ?? '-'}, ${deviceText(devices)}` : `cannot be used here: ${why}`;
        process.stdout.write(`${name} ${version} ${use}\n`);
      } finally {
        lines.clear();
      }
    }
    return exitCodes.ok;
  } catch (error) {
    if (interrupt.signal.aborted) {
      process.stderr.write('tensor-consensus: interrupted; nothing of the unfinished install is left\n');
      return exitCodes.interrupted;
    }
    if (!(error instanceof PluginInstallError)) throw error;
    process.stderr.write(`tensor-consensus: plugin ${error.message}\n`);
    return exitCodes.failed;
  } finally {
    process.removeListener('SIGINT', onInterrupt);
    process.removeListener('SIGTERM', onInterrupt);
  }
}

async function list(directory: string, output: 'json' | 'table'): Promise<number> {
  const plugins = await listPlugins({ directory, host }, (name, path) => probePlugin(name, path, { timeoutMs }));
  const text =
    output === 'json' ? JSON.stringify({ directory, host, plugins }, null, 2) : pluginTable(directory, plugins);
  process.stdout.write(`${text}\n`);
  return exitCodes.ok;
}

function pluginTable(directory: string, plugins: readonly PluginReport[]): string {
  const rows = plugins.map(({ name, version, state, pjrt, platform, devices, why, path }) => [
    name,
    version,
    state,
    pjrt ?? '-',
    platform ?? '-',
    deviceText(devices),
    [path, why].filter((part) => part !== null).join(': '),
  ]);
  const heading = ['plugin', 'version', 'state', 'PJRT', 'platform', 'devices', 'where, and why not'];
  return [`plugins in ${directory} for ${host}`, ...tableLines(heading, rows)].join('\n');
}

/** `4 x cpu`. */
function deviceText(devices: readonly string[]): string {
  const kinds = [...new Set(devices)];
  const counted = kinds.map((kind) => `${devices.filter((device) => device === kind).length} x ${kind}`);
  return counted.length === 0 ? '-' : counted.join(', ');
}
