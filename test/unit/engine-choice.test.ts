/** Which engines a server may use, by what is installed and allowed. Plugins are empty files of the right size. */
import { fileURLToPath } from 'node:url';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pino from 'pino';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { rungsFor } from '../../server/engine-choice.js';
import { systemClock } from '../../src/clock.js';
import { ConfigError, loadConfig } from '../../src/config.js';
import { createMetrics } from '../../src/metrics.js';
import { knownPlugins, pluginPath, type PluginName } from '../../src/pjrt/plugins.js';

const host = `${process.platform}-${process.arch}`;
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tensor-consensus-plugins-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

/** Names of the rungs, best first. */
function rungs(plugins: readonly PluginName[], flags: readonly string[]): string[] {
  for (const name of plugins) {
    const path = pluginPath(directory, name, knownPlugins[name], host);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, '');
    truncateSync(path, knownPlugins[name].builds[host]!.bytes);
  }
  const { config } = loadConfig([...flags, '--plugin-dir', directory], {});
  const context = {
    config,
    clock: systemClock,
    metrics: createMetrics(new Registry()),
    log: pino({ level: 'silent' }),
  };
  return rungsFor(context).map(({ name }) => name);
}

/** Plugins that have a build for this host. */
const built = (['tpu', 'cuda13', 'cpu'] as const).filter((name) => knownPlugins[name].builds[host] !== undefined);
const rungOf = { tpu: 'xla tpu', cuda13: 'xla cuda', cpu: 'xla cpu' } as const;
const onXla = built.map((name) => rungOf[name]);

test('without plugins there is ONNX Runtime on the CPU', () => {
  expect(rungs([], [])).toEqual(['onnx cpu']);
});

test('what is installed is ordered by how fast it is', () => {
  const accelerated = onXla.filter((name) => name !== 'xla cpu');
  const onCpu = onXla.filter((name) => name === 'xla cpu');
  expect(rungs(built, ['--onnx-providers', 'cuda,cpu'])).toEqual([...accelerated, 'onnx cuda', ...onCpu, 'onnx cpu']);
});

test('an engine that is asked for stands alone', () => {
  expect(rungs(built, ['--engine', 'onnx'])).toEqual(['onnx cpu']);
  if (built.length > 0) expect(rungs(built, ['--engine', 'xla'])).toEqual(onXla);
});

test('a plugin that is named stands in place of those that are installed', () => {
  const plugin = fileURLToPath(import.meta.url);
  expect(rungs(built, ['--pjrt-plugin', plugin])).toEqual(['xla plugin', 'onnx cpu']);
  expect(rungs(built, ['--pjrt-plugin', plugin, '--engine', 'xla'])).toEqual(['xla plugin']);
  expect(() => rungs(built, ['--pjrt-plugin', '/some/plugin.so'])).toThrow(ConfigError);
});

test('XLA without a plugin is refused in one line that says what to do', () => {
  expect(() => rungs([], ['--engine', 'xla'])).toThrow(ConfigError);
  expect(() => rungs([], ['--engine', 'xla'])).toThrow(
    /^--engine xla: no plugin is installed in .*plugin install cpu.*--pjrt-plugin$/,
  );
});
