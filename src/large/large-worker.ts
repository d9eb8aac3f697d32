/** Entry of the worker thread for large problems: answers one at a time. */
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import { answerLarge } from './large-answer.js';
import type { LargeProblem, LargeReply, LargeWorkerData } from './large-messages.js';

const port = parentPort;
if (port === null) throw new Error('large-worker runs as a worker thread only');
const { cancelFlag } = workerData as LargeWorkerData;

const control = {
  nowMs: (): number => systemClock.nowMs(),
  cancelled: (): boolean => Atomics.load(cancelFlag, 0) !== 0,
};

function outcomeOf(problem: LargeProblem): LargeReply {
  try {
    return { result: answerLarge(problem, control), failure: null };
  } catch (thrown) {
    const known = thrown instanceof CoordinatorError;
    return {
      result: null,
      failure: {
        code: known ? thrown.code : 'INTERNAL',
        message: thrown instanceof Error ? thrown.message : String(thrown),
        violations: known ? thrown.violations : [],
      },
    };
  }
}

port.on('message', (problem: LargeProblem) => port.postMessage(outcomeOf(problem)));
port.postMessage('ready' satisfies LargeReply);
