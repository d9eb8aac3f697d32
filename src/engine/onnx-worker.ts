/** Entry of the ONNX engine's worker thread. Tracing, lowering and running all happen here, off the event loop. */
import { parentPort, workerData } from 'node:worker_threads';
import { lowerToOnnx } from '../compiler/onnx.js';
import { buildProgram } from '../operators/pipeline.js';
import type { WorkerSettings } from './onnx-protocol.js';
import { serveRequests } from './onnx-serve.js';

if (parentPort === null) throw new Error('onnx-worker.js runs as a worker thread only');
serveRequests(parentPort, workerData as WorkerSettings, ({ spec, bucket, parameters }) =>
  lowerToOnnx(buildProgram(spec, bucket), parameters),
);
