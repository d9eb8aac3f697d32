// A solver thread that exits when it is given a problem of 13 agents; otherwise the real one.
import { parentPort } from 'node:worker_threads';

parentPort.on('message', (items) => {
  if (items.some((item) => item.problem.agentCount === 13)) process.exit(7);
});
await import('../../dist/src/assignment/solver-worker.js');
