import { spawnSync } from 'node:child_process';
import { defineConfig } from 'vitest/config';
import { knownPlugins } from './src/pjrt/plugins.js';

const tier = (name: string, testTimeout: number, globalSetup: string[] = []) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.test.ts`], testTimeout, globalSetup },
});

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
    return [tier('xla', 120_000, ['test/xla/plugin-setup.ts'])];
  }
  console.warn(`The xla tier is left out: ${missing}.`);
  return [];
}

export default defineConfig({
  test: {
    globalSetup: ['test/global-setup.ts'],
    projects: [tier('unit', 20_000), tier('property', 60_000), tier('service', 60_000), ...xlaTier()],
    reporters: ['default'],
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
