/** Engines as a benchmark opens them: in this process, with nothing cached. */
import { homedir } from 'node:os';
import { Registry } from 'prom-client';
import { systemClock } from '../../src/clock.js';
import type { Engine } from '../../src/engine/engine.js';
import { OnnxEngine } from '../../src/engine/onnx-engine.js';
import { createMetrics } from '../../src/metrics.js';
import { fileBytes, installedPlugin, pluginDirectory } from '../../src/pjrt/plugins.js';
import type { BenchContext } from './section.js';
import { UsageError } from '../usage.js';

/** Said wherever XLA's figures are left out. */
export const withoutPlugin =
  'XLA is left out: no plugin is installed (`tensor-consensus plugin install cpu`, or name one with --pjrt-plugin)';

/**
 * The PJRT plugin to measure: `chosen` unless empty (it must be there), else the installed one for the CPU, which is what ONNX
 * Runtime can fairly be compared with. Null where there is none.
 */
export function benchPlugin(chosen: string, environment: NodeJS.ProcessEnv): string | null {
  if (chosen !== '') {
    if (fileBytes(chosen) === null) throw new UsageError(`--pjrt-plugin: there is no file ${chosen}`);
    return chosen;
  }
  const directory = pluginDirectory(environment, homedir());
  return installedPlugin('cpu', { directory, host: `${process.platform}-${process.arch}` })?.path ?? null;
}

/** For a server that chooses its engine as it does by itself: the plugin, with ONNX Runtime to fall back to. */
export function serviceFlags({ pluginPath }: BenchContext): string[] {
  return pluginPath === null ? ['--engine', 'onnx'] : ['--pjrt-plugin', pluginPath];
}

/** What that is, in words. */
export function serviceEngine({ pluginPath }: BenchContext): string {
  return pluginPath === null ? 'ONNX Runtime' : 'XLA, with ONNX Runtime to fall back to';
}

export async function openOnnx(intraOpThreads: number): Promise<Engine> {
  const engine = new OnnxEngine({ clock: systemClock, metrics: createMetrics(new Registry()), intraOpThreads });
  await engine.whenReady();
  return engine;
}

/** With the clients of its plugin that a server has. */
export async function openXla(pluginPath: string): Promise<Engine> {
  const { XlaEngine } = await import('../../src/engine/xla-engine.js');
  const metrics = createMetrics(new Registry());
  return XlaEngine.open({ plugin: pluginPath, clock: systemClock, metrics, environment: process.env });
}
