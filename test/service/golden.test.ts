import { describeGoldenCases } from './golden-over-grpc.js';

describeGoldenCases('golden cases over gRPC', () => ['--engine', 'onnx']);
