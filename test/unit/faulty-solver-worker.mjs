// A solver thread that exits when it is given a problem of 13 agents; otherwise the real one.
import { parentPort, workerData } from 'node:worker_threads';
import { SolverSlots } from '../../dist/src/assignment/solver-slots.js';

const slots = new SolverSlots(workerData.slots);
parentPort.on('message', ({ items }) => {
  const problems = items.map((item) => (typeof item === 'number' ? slots.readProblem(item) : item.problem));
  if (problems.some((problem) => problem.agentCount === 13)) process.exit(7);
});
await import('../../dist/src/assignment/solver-worker.js');
