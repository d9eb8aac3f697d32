/**
 * The way of hard assignments from the engine to the solver's threads: fair, by urgency and bounded, as the engine's queue is.
 *
 * The pool is given no more than keeps its threads busy; the rest waits here, in a room of its own, where it can be put in order, left out where it would be late,
 * and given up at no cost. Problems that are still with the engine are counted as coming, so that a newcomer's outlook holds
 * all that will be solved before it. Past 400 lines, as the outlook and the books it is read from change together.
 */
import { smallCells, type HardResult, type HardSolver } from '../assignment/hard.js';
import type { PosedProblem } from '../assignment/positions.js';
import type { CancelSignal } from '../cancellation.js';
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import type { Metrics, ShedReason } from '../metrics.js';
import type { Priority } from '../problem.js';
import { Allowance, endedByDeadline } from './admission.js';
import { type Newcomer, type Party, type QueuedJob, type RoomLimits, urgencyOf, WaitingRoom } from './queue.js';

export interface SolverStageOptions {
  readonly solver: Pick<HardSolver, 'solve' | 'expectedMs' | 'threadsFor'>;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'shed'>;
  /** Of the pool. */
  readonly threads: number;
  readonly limits: RoomLimits;
}

export interface SolverCall {
  readonly agentCount: number;
  readonly taskCount: number;
  readonly tenant: string;
  readonly priority: Priority;
  readonly deadlineMs: number;
  /** What it holds while it waits. */
  readonly bytes: number;
  /** Whether an answer before the end is none (EXACT); the other solvers give what they have. */
  readonly mustFinish: boolean;
}

/** A call's claim on the solver, from its admission to its end. */
export interface SolverPlace {
  readonly call: SolverCall;
  /** What it typically takes a thread to the end. */
  readonly ownMs: number;
  /** What it takes a thread on average. */
  readonly costMs: number;
  /** `SolverStage.afterMs` when it was admitted. */
  readonly afterMs: number;
  state: 'coming' | 'waiting' | 'solving' | 'left';
}

interface SolveTicket extends QueuedJob {
  readonly place: SolverPlace;
  readonly problem: () => PosedProblem;
  readonly signal: CancelSignal;
  readonly resolve: (result: HardResult) => void;
  readonly reject: (error: Error) => void;
  readonly predictedMs: number;
  /** Of that, what it needs once a thread is free. */
  readonly neededMs: number;
}

/** A problem that the pool has. */
interface Solving {
  readonly costMs: number;
  readonly isSmall: boolean;
  /** When a thread was free for it; null while others are before it. */
  begunMs: number | null;
}

/** Small problems in the pool for each thread. */
const smallPerThread = 16;
/** Weight of the newest call in the time that calls take to come here. */
const smoothing = 0.1;
/** Problems of a size class take as long as the last few did. */
const keptSolves = 8;
/** An estimate is believed for so long; after that it halves in each such time until a problem of its size is solved. */
const believedForMs = 1000;
const leastMs = 0.01;
/** Size classes kept: four to every doubling of N and M. */
const classesPerDoubling = 4;
const keptClasses = 1024;

/** What problems of a size class took lately. */
interface ClassTimes {
  /** In no order: the oldest is overwritten. */
  readonly runs: number[];
  /** The same, as if none had been cut short. */
  readonly whole: number[];
  count: number;
  typicalMs: number;
  meanMs: number;
  atMs: number;
}

/** Of its time, what a solver that gives what it has takes to have something. */
const leastShare = 0.25;
/** Of its time, what such a solver may be left with by an outlook that falls short: with less, more calls are let in and more of them are late. */
const leanShare = 0.5;
/** Encoding the answer, and its way to the caller. */
const wayBackMs = 1;
/** What an outlook is counted to have been short of where the call had to be given up, at least. */
const leastMissMs = 5;

/** Share of the time left that a solver which gives what it has may take, less what it overran by lately, and the least share; the rest is for the way back. */
const solveShare = 0.8;
const leastSolveShare = 0.6;
/** Of the time until its deadline, what is worth a call whose solver would take longer to its end. */
const worthShare = 0.4;
/** Share of the answers cut short that are there when they should be. */
const heldShare = 0.9;
/** What was cut short is thought to take so many times as long to its end. */
const cutFactor = 1.5;
/** A gap of no more than this share of the objective is no sign of haste: auctions end by themselves with a tenth of it. */
const provenShare = 1e-4;

export class SolverStage {
  readonly #options: SolverStageOptions;
  readonly #room: WaitingRoom<SolveTicket>;
  readonly #times = new Map<number, ClassTimes>();
  readonly #allowance = new Allowance();
  readonly #overrun = new Allowance(heldShare);
  /** When an answer was cut short last. */
  #cutAtMs = -Infinity;
  #comingMs = 0;
  /** What the pool has, in the order of handing in. */
  readonly #solving: Solving[] = [];
  #small = 0;
  #large = 0;
  /** How long calls lately took from admission to here. */
  #engineMs = 0;

  constructor(options: SolverStageOptions) {
    this.#options = options;
    this.#room = new WaitingRoom(options.limits);
  }

  /** Problems that wait here. */
  get depth(): number {
    return this.#room.depth;
  }

  /** Problems that the pool has. */
  get inPool(): number {
    return this.#small + this.#large;
  }

  /** Idle, and next to nothing is on its way here: a call that comes now is let in. */
  get isCalm(): boolean {
    return this.isIdle && this.#comingMs < leastMs;
  }

  get isIdle(): boolean {
    return this.inPool === 0 && this.#room.jobCount === 0;
  }

  /**
   * Milliseconds from the engine's answer, expected after `engineMs`, until the caller would have this call's. What is in front of it is taken to be
   * spread over as many threads as may work on problems of its size; over all where that is not known. Where outlooks fall short, a solver that gives
   * what it has has that much less time, down to `leanShare`; one that must finish, or is not known, ends that much later.
   */
  afterMs(
    call: Pick<SolverCall, 'tenant' | 'priority' | 'deadlineMs'> &
      Partial<Pick<SolverCall, 'agentCount' | 'taskCount' | 'mustFinish'>>,
    ownMs: number,
    engineMs = this.#engineMs,
    allowanceMs = this.#allowance.ms,
  ): number {
    const nowMs = this.#options.clock.nowMs();
    const { tenant, priority, deadlineMs, agentCount = 1, taskCount = 1, mustFinish = true } = call;
    const aheadMs = this.#room.aheadMs({ tenant, priority, urgencyMs: urgencyOf(nowMs, deadlineMs) });
    const waitMs = (aheadMs + this.#solvingMs(nowMs) + this.#comingMs) / this.#lanesFor(agentCount, taskCount);
    const shortMs = waitMs > 0 ? Math.min(allowanceMs, waitMs) : 0;
    const usedMs = usedOf({ mustFinish, deadlineMs }, ownMs, nowMs);
    const leanMs = mustFinish ? usedMs : leanShare * usedMs;
    const neededMs = this.#neededMs(mustFinish, usedMs, nowMs);
    return Math.max(waitMs - engineMs, 0) + Math.max(shortMs + leanMs, neededMs) + wayBackMs;
  }

  /** Milliseconds that a solver which gives what it has may take from now, if its answer is to be with the caller at `deadlineMs`. */
  budgetMs(deadlineMs: number): number {
    const nowMs = this.#options.clock.nowMs();
    const leftMs = Math.max(deadlineMs - nowMs, 0);
    return Math.max(solveShare * leftMs - this.#overrunAt(nowMs), leastSolveShare * leftMs);
  }

  /** Claims a place for a call that goes to the engine first. Throws QUEUE_FULL. Whoever has it must `leave` it. */
  admit(call: SolverCall): SolverPlace {
    const refused = this.full(call);
    if (refused !== null) throw refused;
    const { ownMs, costMs } = this.#timesOf(call);
    const afterMs = this.afterMs(call, ownMs);
    this.#comingMs += costMs;
    return { call, ownMs, costMs, afterMs, state: 'coming' };
  }

  /** For calls that need no engine: throws PREDICTED_LATE where its answer would be late. On an idle pool it is tried. */
  assertInTime({ call, ownMs, costMs }: SolverPlace): void {
    const leftMs = call.deadlineMs - this.#options.clock.nowMs();
    const neededMs = this.afterMs(call, ownMs, 0) - costMs / this.#lanesFor(call.agentCount, call.taskCount);
    if (neededMs <= leftMs || this.isIdle) return;
    this.#count('predicted_late');
    throw late(neededMs, leftMs);
  }

  /** QUEUE_FULL where too much waits for such a call to be let in; null where there is room. */
  full({
    tenant,
    priority,
    deadlineMs,
    bytes,
  }: Omit<SolverCall, 'agentCount' | 'taskCount' | 'mustFinish'>): CoordinatorError | null {
    const urgencyMs = urgencyOf(this.#options.clock.nowMs(), deadlineMs);
    const newcomer: Newcomer = { tenant, priority, urgencyMs, bytes };
    return this.#room.wouldDisplace(newcomer) === null ? this.#queueFull() : null;
  }

  /** Solves, in its turn, what `problem` then gives. PREDICTED_LATE where it can no longer be solved in time; QUEUE_FULL where it is displaced. */
  solve(place: SolverPlace, problem: () => PosedProblem, signal: CancelSignal): Promise<HardResult> {
    const { clock } = this.#options;
    const nowMs = clock.nowMs();
    const { call, ownMs, costMs } = place;
    const { tenant, priority, deadlineMs, bytes } = call;
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(cancelled(signal));
        return;
      }
      const dueMs = deadlineMs - wayBackMs;
      const urgencyMs = urgencyOf(nowMs, dueMs);
      const leaving = this.#room.wouldDisplace({ tenant, priority, urgencyMs, bytes });
      if (leaving === null) {
        reject(this.#queueFull());
        this.#count('queue_full');
        return;
      }
      const party: Party = { tenant, bytes, waiting: 0, started: false, account: null };
      this.#leaveComing(place);
      const predictedMs = nowMs + this.afterMs(call, ownMs, 0, 0) - wayBackMs;
      const usedMs = usedOf(call, ownMs, nowMs);
      // On an idle pool an estimate that is out of date is tried.
      const leastMs = this.isIdle ? -Infinity : call.mustFinish ? usedMs : leastShare * usedMs;
      const abort = (): void => {
        if (place.state !== 'waiting') return;
        const abortedMs = clock.nowMs();
        if (endedByDeadline(signal, abortedMs, deadlineMs)) this.#observeMiss(ticket, abortedMs);
        this.#room.remove(ticket);
        ticket.reject(cancelled(signal));
      };
      const settle = (): void => signal.removeEventListener('abort', abort);
      const ticket: SolveTicket = {
        key: '',
        agents: call.agentCount,
        tasks: call.taskCount,
        priority,
        enqueuedMs: nowMs,
        deadlineMs,
        dueMs,
        startByMs: Math.min(dueMs - leastMs, deadlineMs),
        urgencyMs,
        compiling: null,
        seat: -1,
        party,
        costMs,
        place,
        problem,
        signal,
        predictedMs,
        neededMs: this.#neededMs(call.mustFinish, usedMs, nowMs),
        resolve: (result) => {
          settle();
          resolve(result);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      signal.addEventListener('abort', abort);
      place.state = 'waiting';
      for (const displaced of leaving) this.#displace(displaced);
      this.#room.add(ticket);
      this.#pump();
    });
  }

  /** The engine took `engineMs` for a call, from its admission. */
  observeEngine(engineMs: number): void {
    this.#engineMs += smoothing * (engineMs - this.#engineMs);
  }

  /** The call has ended, however. Safe to call twice. */
  leave(place: SolverPlace): void {
    this.#leaveComing(place);
    place.state = 'left';
  }

  /** What must be left when a thread begins: `usedMs`, or so much that `budgetMs` is as much. */
  #neededMs(mustFinish: boolean, usedMs: number, nowMs: number): number {
    if (mustFinish) return usedMs;
    return Math.min((usedMs + this.#overrunAt(nowMs)) / solveShare, usedMs / leastSolveShare);
  }

  #overrunAt(nowMs: number): number {
    return this.#overrun.ms * believedAfter(nowMs - this.#cutAtMs);
  }

  #leaveComing(place: SolverPlace): void {
    if (place.state !== 'coming') return;
    this.#comingMs -= place.costMs;
    // What rounding leaves is not work.
    if (this.#comingMs < 1e-6) this.#comingMs = 0;
  }

  #pump(): void {
    const nowMs = this.#options.clock.nowMs();
    if (this.#room.earliestStartByMs <= nowMs) this.#drop(nowMs);
    const { threads } = this.#options;
    const mostSmall = smallPerThread * threads;
    for (const ticket of this.#room.inOrder()) {
      if (this.#small >= mostSmall && this.#large >= threads + 1) return;
      const isSmall = ticket.agents * ticket.tasks <= smallCells;
      if (isSmall ? this.#small < mostSmall : this.#large < this.#lanesFor(ticket.agents, ticket.tasks) + 1) {
        this.#room.take([ticket], ticket.costMs);
        void this.#run(ticket, isSmall);
      }
    }
  }

  async #run(ticket: SolveTicket, isSmall: boolean): Promise<void> {
    const { clock, solver } = this.#options;
    const { place, signal, deadlineMs, costMs } = ticket;
    const startedMs = clock.nowMs();
    const isAlone = isSmall
      ? this.#small < this.#options.threads
      : this.#large < this.#lanesFor(ticket.agents, ticket.tasks);
    place.state = 'solving';
    const solving: Solving = { costMs, isSmall, begunMs: isAlone ? startedMs : null };
    this.#solving.push(solving);
    if (isSmall) this.#small++;
    else this.#large++;
    let result: HardResult | null = null;
    let failure: CoordinatorError | null = null;
    let problem: PosedProblem | null = null;
    try {
      problem = ticket.problem();
      result = await solver.solve(problem, { signal, deadlineMs });
    } catch (thrown) {
      failure = CoordinatorError.from(thrown);
    }
    if (isSmall) this.#small--;
    else this.#large--;
    const endedMs = clock.nowMs();
    this.#endSolving(solving, endedMs);
    const isOver = endedByDeadline(signal, endedMs, deadlineMs);
    const isCut = problem !== null && (result !== null || isOver) && wasCut(problem, result);
    if (isCut) this.#observeCut(problem?.budgetMs ?? null, startedMs, endedMs, deadlineMs);
    // Small ones are answered several together: how long each took is known only of those that had a thread to themselves.
    if (isAlone || (!isSmall && solving.begunMs !== null)) {
      // One that was cut off would have taken longer still.
      const tookMs = endedMs - (solving.begunMs ?? startedMs);
      if (result !== null || tookMs > place.costMs) this.#learn(place.call, tookMs, isCut || result === null, endedMs);
    }
    if (result !== null) {
      // One that began late is cut short, and in time all the same.
      const lateMs = isCut ? Math.max(endedMs, (solving.begunMs ?? startedMs) + ticket.neededMs) : endedMs;
      this.#allowance.observe(lateMs - ticket.predictedMs);
    } else if (isOver) this.#observeMiss(ticket, endedMs);
    this.#pump();
    if (result !== null) ticket.resolve(result);
    else if (failure !== null) ticket.reject(failure);
  }

  /** Thread time that the pool still needs for what it has. */
  #solvingMs(nowMs: number): number {
    let totalMs = 0;
    for (const { costMs, begunMs } of this.#solving)
      totalMs += begunMs === null ? costMs : Math.max(costMs - (nowMs - begunMs), 0);
    return totalMs;
  }

  /** The next of its kind is taken to begin where one ended. */
  #endSolving(ended: Solving, nowMs: number): void {
    this.#solving.splice(this.#solving.indexOf(ended), 1);
    if (ended.begunMs === null) return;
    for (const next of this.#solving) {
      if (next.begunMs !== null || next.isSmall !== ended.isSmall) continue;
      next.begunMs = nowMs;
      return;
    }
  }

  /** Only where the deadline, not the caller, said how long it might take. */
  #observeCut(budgetMs: number | null, startedMs: number, endedMs: number, deadlineMs: number): void {
    if (budgetMs === null || budgetMs < leastSolveShare * (deadlineMs - startedMs)) return;
    this.#overrun.observe(endedMs - startedMs - budgetMs);
    this.#cutAtMs = endedMs;
  }

  /** It was let in on an outlook that did not hold. */
  #observeMiss({ predictedMs }: SolveTicket, nowMs: number): void {
    this.#allowance.observe(Math.max(nowMs - predictedMs, leastMissMs));
  }

  #drop(nowMs: number): void {
    for (const ticket of this.#room.inOrder()) {
      if (ticket.startByMs > nowMs) continue;
      this.#room.remove(ticket);
      this.#observeMiss(ticket, nowMs);
      const isExpired = ticket.deadlineMs <= nowMs;
      this.#count(isExpired ? 'deadline' : 'predicted_late');
      ticket.reject(
        isExpired
          ? new CoordinatorError('DEADLINE_EXPIRED', 'the deadline passed while the request waited for a solver')
          : late(ticket.costMs, ticket.deadlineMs - nowMs),
      );
    }
  }

  #displace(party: Party): void {
    for (const ticket of this.#room.inOrder()) {
      if (ticket.party !== party) continue;
      this.#room.remove(ticket);
      this.#count('displaced');
      ticket.reject(
        this.#queueFull(', and a request that is more urgent or of a tenant with less in it took the place'),
      );
    }
  }

  #queueFull(why = ''): CoordinatorError {
    const retryAfterMs = Math.max(
      1,
      Math.ceil((this.#solvingMs(this.#options.clock.nowMs()) + this.#room.totalCostMs) / this.#options.threads),
    );
    const message = `${this.#room.depth} requests wait for a solver, which is the limit${why}; retry in ${retryAfterMs} ms`;
    return new CoordinatorError('QUEUE_FULL', message, { retryAfterMs });
  }

  #count(reason: ShedReason): void {
    this.#options.metrics.shed.inc({ reason });
  }

  #lanesFor(agentCount: number, taskCount: number): number {
    return Math.max(1, this.#options.solver.threadsFor(agentCount, taskCount));
  }

  /** What a problem of this size takes a thread. */
  #timesOf({ agentCount, taskCount }: SolverCall): { readonly ownMs: number; readonly costMs: number } {
    const known = this.#times.get(classOf(agentCount, taskCount));
    if (known === undefined) {
      const expectedMs = Math.max(this.#options.solver.expectedMs(agentCount, taskCount), leastMs);
      return { ownMs: expectedMs, costMs: expectedMs };
    }
    const believed = believedAfter(this.#options.clock.nowMs() - known.atMs);
    return { ownMs: Math.max(known.typicalMs * believed, leastMs), costMs: Math.max(known.meanMs, leastMs) };
  }

  #learn({ agentCount, taskCount }: SolverCall, ms: number, isCutShort: boolean, nowMs: number): void {
    const code = classOf(agentCount, taskCount);
    const times = this.#times.get(code) ?? { runs: [], whole: [], count: 0, typicalMs: 0, meanMs: 0, atMs: 0 };
    const at = times.count++ % keptSolves;
    times.runs[at] = ms;
    times.whole[at] = isCutShort ? cutFactor * ms : ms;
    times.typicalMs = times.whole.toSorted((a, b) => a - b)[Math.floor((times.whole.length - 1) / 2)]!;
    times.meanMs = times.runs.reduce((sum, each) => sum + each, 0) / times.runs.length;
    times.atMs = nowMs;
    this.#times.delete(code);
    this.#times.set(code, times);
    if (this.#times.size > keptClasses) this.#times.delete(this.#times.keys().next().value!);
  }
}

/** What a call asks of a thread: to the end, or as much of that as is worth having. */
function usedOf(
  { mustFinish, deadlineMs }: Pick<SolverCall, 'mustFinish' | 'deadlineMs'>,
  ownMs: number,
  nowMs: number,
): number {
  return mustFinish ? ownMs : Math.min(ownMs, worthShare * Math.max(deadlineMs - nowMs, 0));
}

/** How much of what was measured so long ago is still believed. */
function believedAfter(ageMs: number): number {
  return ageMs <= believedForMs ? 1 : 2 ** (1 - ageMs / believedForMs);
}

/** Whether an answer, or none at the deadline, is what the solver had when its time was up. */
function wasCut({ solver }: PosedProblem, result: HardResult | null): boolean {
  if (solver !== 'AUTO' && solver !== 'AUCTION') return false;
  if (result === null) return true;
  if (result.solver === 'greedy') return true;
  const { upperBound, objective, changeLimited } = result;
  return result.solver === 'auction' && !changeLimited && upperBound - objective > provenShare * Math.abs(objective);
}

function classOf(agentCount: number, taskCount: number): number {
  const step = (count: number) => Math.ceil(Math.log2(Math.max(count, 1)) * classesPerDoubling);
  return step(agentCount) * 1024 + step(taskCount);
}

function late(neededMs: number, leftMs: number): CoordinatorError {
  const message = `the assignment is expected in ${Math.ceil(neededMs)} ms and ${Math.max(Math.floor(leftMs), 0)} ms are left`;
  return new CoordinatorError('PREDICTED_LATE', message, { retryAfterMs: Math.max(1, Math.ceil(neededMs - leftMs)) });
}

function cancelled(signal: CancelSignal): CoordinatorError {
  return signal.reason instanceof CoordinatorError
    ? signal.reason
    : new CoordinatorError('CANCELLED', 'cancelled before the assignment was solved');
}
