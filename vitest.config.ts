import { spawnSync } from 'node:child_process';
import type { ProvidedContext } from 'vitest';
import { defineConfig } from 'vitest/config';
import { knownPlugins } from './src/pjrt/plugins.js';
import { findDevicePlugin } from './test/device/find-plugin.js';
import { SecondTryReporter } from './test/second-try-reporter.js';

/**
 * Real processes and sockets on a shared machine: CI tries a failed test of these tiers once more and names it at the
 * end, so that one race in two thousand tests is told and mended without refusing what it has nothing to do with.
 */
const triedTwiceInCi = new Set(['service', 'xla']);

const tier = (
  name: string,
  testTimeout: number,
  globalSetup: string[] = [],
  provide: Partial<ProvidedContext> = {},
) => ({
  extends: true as const,
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout,
    globalSetup,
    provide,
    retry: process.env['CI'] !== undefined && triedTwiceInCi.has(name) ? 1 : 0,
  },
});

/** Once: this file is read again for every tier. */
function say(line: string): void {
  const said = Symbol.for(line);
  if (Reflect.has(globalThis, said)) return;
  Reflect.set(globalThis, said, true);
  console.warn(line);
}

/**
 * The xla tier runs where there is a CPU plugin for the host and pip to fetch it. CI has both and must run it; elsewhere
 * it is left out, in so many words.
 */
function xlaTier(): ReturnType<typeof tier>[] {
  const host = `${process.platform}-${process.arch}`;
  const missing =
    knownPlugins.cpu.builds[host] === undefined
      ? `there is no CPU plugin for ${host}`
      : spawnSync('python3', ['-m', 'pip', '--version'], { stdio: 'ignore' }).status !== 0
        ? 'fetching the CPU plugin needs python3 with pip'
        : null;
  if (missing === null || process.env['CI'] !== undefined) {
    return [tier('xla', 300_000, ['test/xla/plugin-setup.ts'])];
  }
  say(`The xla tier is left out: ${missing}.`);
  return [];
}

/** The device tier runs where there is an accelerator and a plugin for it, or where TC_PJRT_PLUGIN names one. Nothing requires it. */
function deviceTier(): ReturnType<typeof tier>[] {
  const found = findDevicePlugin(process.env);
  if ('missing' in found) {
    say(`The device tier is left out: ${found.missing}.`);
    return [];
  }
  return [tier('device', 120_000, [], { devicePlugin: found.path })];
}

export default defineConfig({
  test: {
    globalSetup: ['test/global-setup.ts'],
    projects: [
      tier('unit', 60_000),
      tier('property', 180_000),
      tier('service', 120_000),
      ...xlaTier(),
      ...deviceTier(),
    ],
    reporters: ['default', new SecondTryReporter()],
    // How long is waited for what must come: a busy machine takes ten times as long as a quiet one, and waiting costs only tests that fail.
    expect: { poll: { timeout: 40_000 } },
    hookTimeout: 120_000,
    // Some tests run ONNX Runtime themselves: no usage data leaves from there either.
    env: { ORT_DISABLE_TELEMETRY: '1' },
    // Two cores: the service tier runs real servers with worker threads of their own.
    maxWorkers: 2,
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts', 'server/**/*.ts', 'client/**/*.ts'],
      reporter: ['text-summary', 'json-summary'],
    },
  },
});
