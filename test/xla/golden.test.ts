import { inject } from 'vitest';
import { createCore } from '../../server/core.js';
import { describeGoldenCases } from '../service/golden-over-grpc.js';

// Without the warm set: each case compiles the one program that it needs.
describeGoldenCases('golden cases over gRPC on XLA', () => ['--engine', 'xla', '--pjrt-plugin', inject('cpuPlugin')], {
  createCore: async (context) => ({ ...(await createCore(context)), warmUp: () => Promise.resolve() }),
});
