/** Entry of a solver thread: answers each SolveMessage with the outcomes of its problems. */
import { platform, setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { processMs, systemClock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import { withUtilities } from './positions.js';
import { rehearsal } from './rehearsal.js';
import { solveHard } from './solve.js';
import { SolveTimes } from './solve-time.js';
import type { SolveItem, SolveMessage, SolveOutcome, SolverReply, SolverThreadData } from './solver-messages.js';
import { SolverSlots } from './solver-slots.js';

const port = parentPort;
if (port === null) throw new Error('solver-worker runs as a worker thread only');
const { cancelFlags, slots: memory } = workerData as SolverThreadData;

const slots = new SolverSlots(memory);
const times = new SolveTimes();
/** 0 is the event loop's. */
const solverNiceness = 10;

const nowMs = (): number => systemClock.nowMs();

function answer(item: SolveItem | number, sentMs: number): SolveOutcome | number {
  const slot = typeof item === 'number' ? item : item.slot;
  const cancelled = (): boolean => Atomics.load(cancelFlags, slot) !== 0;
  if (cancelled()) return { slot, result: null, failure: null, tookMs: 0 };
  const beganMs = nowMs();
  try {
    const given = withUtilities(typeof item === 'number' ? slots.readProblem(slot) : item.problem);
    // Problems of one message wait for each other.
    const budgetMs = given.budgetMs === null ? null : given.budgetMs - (processMs() - sentMs);
    const result = solveHard({ ...given, budgetMs }, { nowMs, cancelled }, times);
    const tookMs = nowMs() - beganMs;
    if (result === null || typeof item !== 'number') return { slot, result, failure: null, tookMs };
    slots.writeResult(slot, result, tookMs);
    return slot;
  } catch (thrown) {
    const known = thrown instanceof CoordinatorError;
    const failure = {
      code: known ? thrown.code : ('INTERNAL' as const),
      message: thrown instanceof Error ? thrown.message : String(thrown),
      violations: known ? thrown.violations : [],
    };
    return { slot, result: null, failure, tookMs: nowMs() - beganMs };
  }
}

/** Problems that are rehearsed before the thread says that it is ready: small ones, every solver. */
const rehearsedFirst = 32;
/** Milliseconds without a message before the rehearsal begins or goes on, and between its problems. */
const idleMs = 100;
const pauseMs = 1;
/** Until then a server that starts needs its cores. */
const startMs = 1000;

const rehearsed = rehearsal(nowMs);
let nextRehearsal: NodeJS.Timeout | null = null;

/** One problem at a time, so that a message waits for one at most. */
function rehearseIn(ms: number): void {
  if (nextRehearsal !== null) clearTimeout(nextRehearsal);
  nextRehearsal = setTimeout(() => {
    nextRehearsal = null;
    if (rehearsed.next().done !== true) rehearseIn(pauseMs);
  }, ms);
}

/**
 * Below the event loop and the engine's threads: solvers take whatever the cores have left, and a refusal or an answer never waits for
 * one to be scheduled away. Of a thread on Linux; elsewhere it would be the whole process's.
 */
if (platform() === 'linux') setPriority(solverNiceness);

for (let first = 0; first < rehearsedFirst; first++) rehearsed.next();
const readyMs = nowMs();
port.on('message', ({ sentMs, items }: SolveMessage) => {
  const reply: SolverReply = items.map((item) => answer(item, sentMs));
  port.postMessage(reply);
  if (nextRehearsal !== null) rehearseIn(Math.max(idleMs, readyMs + startMs - nowMs()));
});
port.postMessage('ready' satisfies SolverReply);
rehearseIn(startMs);
