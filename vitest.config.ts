import { defineConfig } from 'vitest/config';

const tier = (name: string, testTimeout: number, globalSetup: string[] = []) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.test.ts`], testTimeout, globalSetup },
});

export default defineConfig({
  test: {
    globalSetup: ['test/global-setup.ts'],
    projects: [
      tier('unit', 20_000),
      tier('property', 60_000),
      tier('service', 60_000),
      tier('xla', 120_000, ['test/xla/plugin-setup.ts']),
    ],
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
