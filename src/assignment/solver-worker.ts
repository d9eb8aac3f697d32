/** Entry of a solver thread: answers each SolveMessage with the outcomes of its problems. */
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import { plainHardProblem } from './hard.js';
import { solveHard } from './solve.js';
import type { SolveItem, SolveMessage, SolveOutcome, SolverReply, SolverThreadData } from './solver-messages.js';

const port = parentPort;
if (port === null) throw new Error('solver-worker runs as a worker thread only');
const { cancelFlags } = workerData as SolverThreadData;

const nowMs = (): number => systemClock.nowMs();

function answer(item: SolveItem, receivedMs: number): SolveOutcome {
  const { slot } = item;
  const cancelled = (): boolean => Atomics.load(cancelFlags, slot) !== 0;
  if (cancelled()) return { slot, result: null, failure: null };
  try {
    const { budgetMs } = item.problem;
    // Problems of one message wait for each other.
    const remainingMs = budgetMs === null ? null : budgetMs - (nowMs() - receivedMs);
    const problem = { ...item.problem, budgetMs: remainingMs };
    return { slot, result: solveHard(problem, { nowMs, cancelled }), failure: null };
  } catch (thrown) {
    const known = thrown instanceof CoordinatorError;
    const failure = {
      code: known ? thrown.code : ('INTERNAL' as const),
      message: thrown instanceof Error ? thrown.message : String(thrown),
      violations: known ? thrown.violations : [],
    };
    return { slot, result: null, failure };
  }
}

/** Runs every solver on small problems until they are compiled, so that the first real one does not wait for it. */
function warmUp(): void {
  const size = 48;
  const utility = Float32Array.from({ length: size * size }, (_, cell) => ((cell + 1) * 7919) % 1009);
  const problem = plainHardProblem(size, utility, 'EXACT');
  const control = { nowMs, cancelled: () => false };
  for (let run = 0; run < 8; run++) {
    solveHard(problem, control);
    solveHard({ ...problem, solver: 'GREEDY' }, control);
  }
}

warmUp();
port.on('message', (items: SolveMessage) => {
  const receivedMs = nowMs();
  const reply: SolverReply = items.map((item) => answer(item, receivedMs));
  port.postMessage(reply);
});
port.postMessage('ready' satisfies SolverReply);
