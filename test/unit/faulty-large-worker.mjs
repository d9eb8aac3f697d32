// Stands in for the thread for large requests: 1 rejected agent = dies, 2 = waits until cancelled, else answers with nothing.
import { parentPort, workerData } from 'node:worker_threads';

parentPort.on('message', ({ rejectedAgents }) => {
  if (rejectedAgents.length === 1) process.exit(3);
  if (rejectedAgents.length === 2) {
    Atomics.wait(workerData.cancelFlag, 0, 0);
    const failure = { code: 'CANCELLED', message: 'cancelled', violations: [] };
    parentPort.postMessage({ result: null, failure });
    return;
  }
  const result = { resources: null, consensus: null, soft: null, hard: null, executeMs: 0, assignMs: 0 };
  parentPort.postMessage({ result, failure: null });
});
parentPort.postMessage('ready');
