/** Entry of the ONNX engine's worker thread. Tracing, lowering and running all happen here, off the event loop. */
import { parentPort, workerData } from 'node:worker_threads';
import type { WorkerSettings } from './onnx-protocol.js';
import { serveRequests } from './onnx-serve.js';

if (parentPort === null) throw new Error('onnx-worker.js runs as a worker thread only');

// The tracer is loaded by the first program that was not kept from an earlier start.
serveRequests(parentPort, workerData as WorkerSettings, async ({ spec, bucket, parameters }) => {
  const [{ lowerToOnnx }, { buildProgram }] = await Promise.all([
    import('../compiler/onnx.js'),
    import('../operators/pipeline.js'),
  ]);
  return lowerToOnnx(buildProgram(spec, bucket), parameters);
});
