import { inject } from 'vitest';
import { createCore } from '../../server/core.js';
import { describeGoldenCases } from '../service/golden-over-grpc.js';

// Without ONNX Runtime to fall back to, and without the warm set: each case compiles the one program that it needs.
describeGoldenCases(
  'golden cases over gRPC on the device',
  () => ['--engine', 'xla', '--pjrt-plugin', inject('devicePlugin')],
  {
    createCore: async (context) => ({ ...(await createCore(context)), warmUp: () => Promise.resolve() }),
  },
);
