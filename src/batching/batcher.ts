/**
 * Admits submissions or refuses them at once, keeps them until the policy dispatches them, runs the batches and answers
 * every submission exactly once. All decisions are `decide`'s; this file owns the promises, the timer and the
 * books. Past 400 lines, as all of that changes together: a job is in exactly one place at a time.
 */
import type { CancelSignal } from '../cancellation.js';
import type { Clock } from '../clock.js';
import type { LoadedProgram, RunResult } from '../engine/engine.js';
import { CoordinatorError } from '../errors.js';
import type { DispatchReason, Metrics, ShedReason } from '../metrics.js';
import { bucketName, type Bucket, type TensorData } from '../operators/signature.js';
import {
  Allowance,
  endedByDeadline,
  type JobCost,
  jobCost,
  lateError,
  type Load,
  predictedEndMs,
  type Prospect,
  verdictOn,
} from './admission.js';
import { agentBucket, taskBucket } from './buckets.js';
import { CostModel, keptSpecs } from './cost-model.js';
import { DrainRate } from './drain-rate.js';
import type { Inquiry, Job, JobResult, JobRunner, JobTimings, Submission } from './job.js';
import { checkJob, packBatch, unpackSlot } from './pack.js';
import { type CostedJob, PendingSubmission, type Ticket } from './pending.js';
import { decide, type BatchingView, type BatchLimits, type PlannedBatch } from './policy.js';
import type { ProgramSource, RunFailure } from './program-source.js';
import { leastShare, type Newcomer, type RoomLimits, urgencyOf, WaitingRoom } from './queue.js';
import { holdsNaN } from './run-check.js';
import type { BatchTracer, CallTrace } from '../tracing.js';

/** A submission with many jobs counts once. */
export interface BatcherLimits extends BatchLimits, RoomLimits {}

export interface BatcherOptions {
  /** Calls back once what the event loop has read is dealt with. Absent: every submission is looked at by itself, at once. */
  readonly afterTurn?: (callback: () => void) => void;
  readonly store: ProgramSource;
  readonly clock: Clock;
  readonly metrics: Pick<
    Metrics,
    | 'stageDuration'
    | 'batchSize'
    | 'paddingRatio'
    | 'queueDepth'
    | 'queueBytes'
    | 'tenantEngine'
    | 'shed'
    | 'batchDispatch'
    | 'costModelError'
  >;
  readonly limits: BatcherLimits;
  /** Told of each run with traced calls in it; absent: nobody is. */
  readonly traceBatch?: BatchTracer | undefined;
}

/** A batch may end sooner than expected by this share of its time without the engine running dry. */
const earlyShare = 0.1;
/** Weight of the newest batch in the moving average of the time to pack one. */
const packSmoothing = 0.1;

/** Batches that other engines than the active one may have before nothing more is handed out. */
const batchesElsewhere = 2;

/** A newcomer may have to wait for so much more than for all that waits: what is owed to lower priorities. */
const mostAheadShare = 1 + leastShare;
/** More than what comes after an engine's answer to a call that needs no solver, or finds it idle, and what predictions may be short of. */
const leisureMs = 50;

/** What a prediction is counted to have been short of where the request had to be given up, at least. */
const longestMissMs = 5;

/** A batch that the engine has. */
interface RunningBatch {
  readonly program: LoadedProgram;
  readonly tickets: readonly Ticket[];
  /** Engine time; Infinity where nothing alike was measured. */
  readonly expectedMs: number;
  /** When the engine was free for it; null while it is staged behind others. */
  begunMs: number | null;
  /** Of the members that are not settled. */
  earliestDeadlineMs: number;
}

/** What is told of a run besides how it ended. */
interface TracedRun {
  readonly program: LoadedProgram;
  readonly members: readonly Ticket[];
  readonly reason: DispatchReason;
  readonly dispatchedMs: number;
  readonly sentMs: number;
}

export class Batcher implements JobRunner {
  readonly #options: BatcherOptions;
  readonly #room: WaitingRoom<Ticket>;
  /** Submissions that are not settled. */
  #unsettled = 0;
  /** Whether the last submission found nothing unsettled. */
  #alone = false;
  /** In the order of dispatch. */
  readonly #running: RunningBatch[] = [];
  /** Names of programs without which some job cannot run. */
  readonly #compiling = new Set<string>();
  readonly #drainRate = new DrainRate();
  readonly #costs = new CostModel();
  /** By key and size, until the next measurement. */
  readonly #jobCosts = new Map<string, Map<number, JobCost>>();
  readonly #allowance = new Allowance();
  #packMs = 0;
  #draining = false;
  /** A look after this turn of the event loop is asked for. */
  #lookIsDue = false;
  /** Something was submitted since the last look. */
  #arrived = false;
  #whenEmpty: (() => void)[] = [];
  #timer: { readonly dueMs: number; readonly cancel: () => void } | null = null;

  constructor(options: BatcherOptions) {
    this.#options = options;
    this.#room = new WaitingRoom(options.limits);
  }

  /** Since when the job that waits longest waits; null where none does. Looks at each. */
  get oldestEnqueuedMs(): number | null {
    let oldestMs: number | null = null;
    for (const { enqueuedMs } of this.#room.all())
      if (oldestMs === null || enqueuedMs < oldestMs) oldestMs = enqueuedMs;
    return oldestMs;
  }

  /** Submissions that wait for a batch. */
  get depth(): number {
    return this.#room.depth;
  }

  /** Batches that the engine has and has not answered. */
  get inFlight(): number {
    return this.#running.length;
  }

  submit(submission: Submission): Promise<readonly JobResult[]> {
    const nowMs = this.#options.clock.nowMs();
    let pending: PendingSubmission;
    try {
      pending = this.#admit(submission, nowMs);
    } catch (thrown) {
      return Promise.reject(CoordinatorError.from(thrown));
    }
    const wasAlone = this.#alone;
    this.#alone = ++this.#unsettled === 1;
    for (const ticket of pending.tickets) this.#room.add(ticket);
    if (this.#alone && wasAlone) this.#pump();
    else this.#pumpAfterTurn();
    return pending.promise;
  }

  refusal(inquiry: Inquiry): CoordinatorError | null {
    const nowMs = this.#options.clock.nowMs();
    try {
      const newcomer = newcomerOf(inquiry, nowMs);
      this.#placeFor(newcomer);
      // As if its own run took no time: what is refused would be late whatever it is.
      const { deadlineMs, expectedAfterMs = 0 } = inquiry;
      const prospect: Prospect = { deadlineMs, ownMs: 0, lastRunAtMs: nowMs, afterMs: expectedAfterMs };
      const load = this.#loadFor(newcomer, nowMs);
      if (verdictOn(load, prospect) === 'late') this.#refuseLate(load, prospect);
      return null;
    } catch (thrown) {
      return CoordinatorError.from(thrown);
    }
  }

  mayRefuse(deadlineMs: number, bytes: number): boolean {
    if (!this.#room.hasRoomFor(bytes)) return true;
    if (deadlineMs === Infinity) return false;
    const nowMs = this.#options.clock.nowMs();
    const { concurrency } = this.#options.store;
    const waitMs = this.#busyMs(nowMs) + (this.#room.totalCostMs * mostAheadShare) / concurrency;
    return nowMs + waitMs + leisureMs > deadlineMs;
  }

  /** Refuses what comes from now on and dispatches the rest without holding it back. Resolves when all is answered. */
  drain(): Promise<void> {
    this.#draining = true;
    this.#pump();
    return new Promise((resolve) => {
      if (this.#unsettled === 0) resolve();
      else this.#whenEmpty.push(resolve);
    });
  }

  /** Lets a submission in, at the expense of others where the queue is full of less urgent ones. Throws where it is refused. */
  #admit(submission: Submission, nowMs: number): PendingSubmission {
    const { jobs, deadlineMs, signal, forbidFallback, expectedAfterMs = 0 } = submission;
    if (jobs.length === 0) throw new CoordinatorError('INTERNAL', 'a submission without jobs');
    if (signal.aborted) this.#refuse('cancelled', 'CANCELLED', 'the call was cancelled');
    if (this.#draining) this.#refuse('draining', 'DRAINING', 'the server is shutting down; call another replica');
    if (deadlineMs <= nowMs) this.#refuse('deadline', 'DEADLINE_EXPIRED', 'the deadline had passed on arrival');
    if (forbidFallback === true && this.#options.store.fallingBack) throw fallbackForbidden();
    const newcomer = newcomerOf(submission, nowMs);
    const leaving = this.#placeFor(newcomer);
    const costed = jobs.map((job) => this.#costed(job));
    let mayBeDropped = true;
    let endMs: number | null = null;
    if (deadlineMs !== Infinity) {
      const load = this.#loadFor(newcomer, nowMs);
      const { ownMs, lastRunAtMs } = this.#together(costed);
      const prospect: Prospect = { deadlineMs, ownMs, lastRunAtMs, afterMs: expectedAfterMs };
      const verdict = verdictOn(load, prospect);
      if (verdict === 'late') this.#refuseLate(load, prospect);
      if (ownMs !== null) endMs = predictedEndMs(load, ownMs);
      mayBeDropped = verdict === 'in_time';
    }
    for (const party of leaving) this.#displace(party);
    return new PendingSubmission(
      submission,
      costed,
      { enqueuedMs: nowMs, mayBeDropped, predictedEndMs: endMs },
      (aborted) => this.#abort(aborted, signal, deadlineMs),
    );
  }

  /** Who has to leave for it; throws QUEUE_FULL where it has to. */
  #placeFor(newcomer: Newcomer): readonly PendingSubmission[] {
    const leaving = this.#room.wouldDisplace(newcomer);
    if (leaving !== null) return leaving;
    const retryAfterMs = this.#drainRate.retryAfterMs(this.#room.jobCount);
    const { depth, bytes } = this.#room;
    const message = `${depth} requests (${Math.ceil(bytes / 1024)} KiB) are waiting, which is the limit; retry in ${retryAfterMs} ms`;
    this.#refuse('queue_full', 'QUEUE_FULL', message, retryAfterMs);
  }

  #displace(party: PendingSubmission): void {
    const retryAfterMs = this.#drainRate.retryAfterMs(this.#room.jobCount);
    const message = `the queue is full, and a request that is more urgent or of a tenant with less in it took the place; retry in ${retryAfterMs} ms`;
    this.#fail(party, new CoordinatorError('QUEUE_FULL', message, { retryAfterMs }), 'displaced');
  }

  #costed(job: Job): CostedJob {
    const agents = agentBucket(job.agentCount);
    const tasks = taskBucket(job.taskCount);
    const code = agents * 2 ** 16 + tasks;
    let costs = this.#jobCosts.get(job.key);
    if (costs === undefined) {
      // As many as the cost model keeps at most.
      if (this.#jobCosts.size >= keptSpecs) this.#jobCosts.clear();
      this.#costs.know(job.key, job.spec);
      costs = new Map();
      this.#jobCosts.set(job.key, costs);
    }
    let cost = costs.get(code);
    if (cost === undefined) {
      cost = jobCost(job.key, agents, tasks, this.#options.limits.maxBatch, this.#costs);
      costs.set(code, cost);
    }
    return { job, agents, tasks, cost };
  }

  /** Of the jobs of a submission: the last one runs after the others have. */
  #together(costed: readonly CostedJob[]): { readonly ownMs: number | null; readonly lastRunAtMs: number } {
    let longestMs = 0;
    let sharesMs = 0;
    let lastRunAtMs = Infinity;
    for (const { cost } of costed) {
      if (cost.ownMs === null) return { ownMs: null, lastRunAtMs: -Infinity };
      longestMs = Math.max(longestMs, cost.ownMs);
      sharesMs += cost.shareMs;
      lastRunAtMs = Math.min(lastRunAtMs, cost.lastRunAtMs);
    }
    return { ownMs: Math.max(longestMs, sharesMs / this.#options.store.concurrency), lastRunAtMs };
  }

  #loadFor(newcomer: Newcomer, nowMs: number): Load {
    const { concurrency } = this.#options.store;
    const aheadMs = this.#room.aheadMs(newcomer) / concurrency;
    const isIdle = this.#running.length === 0 && this.#room.jobCount === 0;
    return { nowMs, busyMs: this.#busyMs(nowMs), aheadMs, isIdle, allowanceMs: this.#allowance.ms };
  }

  /** Until the engine has done all that it has. */
  #busyMs(nowMs: number): number {
    let engineMs = 0;
    for (const { begunMs, expectedMs } of this.#running) {
      if (expectedMs !== Infinity)
        engineMs += begunMs === null ? expectedMs : Math.max(begunMs + expectedMs - nowMs, 0);
    }
    return engineMs / this.#options.store.concurrency;
  }

  #refuseLate(load: Load, prospect: Prospect): never {
    this.#options.metrics.shed.inc({ reason: 'predicted_late' });
    throw lateError(load, prospect);
  }

  #refuse(reason: ShedReason, code: CoordinatorError['code'], message: string, retryAfterMs?: number): never {
    this.#options.metrics.shed.inc({ reason });
    throw new CoordinatorError(code, message, retryAfterMs === undefined ? {} : { retryAfterMs });
  }

  /**
   * Requests that the event loop reads together, or in one turn after another, are looked at together: the first of them does not leave alone. Not so where
   * one after the other came alone.
   */
  #pumpAfterTurn(): void {
    const { afterTurn } = this.#options;
    if (afterTurn === undefined) {
      this.#pump();
      return;
    }
    this.#arrived = true;
    if (this.#lookIsDue) return;
    this.#lookIsDue = true;
    const look = (): void => {
      // While this is true, `#pump` holds back what an idle engine could have.
      this.#lookIsDue = this.#arrived;
      this.#arrived = false;
      this.#pump();
      const { store } = this.#options;
      this.#lookIsDue &&= this.#room.jobCount > 0 && this.#inFlightFor(store) < store.concurrency;
      if (this.#lookIsDue) afterTurn(look);
    };
    afterTurn(look);
  }

  /** How long an idle engine may wait for more: as long as what waits would take it, and not so long that any of that would be late. */
  #gatherUntilMs(): number {
    if (!this.#lookIsDue) return -Infinity;
    const { totalCostMs, earliestStartByMs } = this.#room;
    return Math.min((this.oldestEnqueuedMs ?? -Infinity) + totalCostMs, earliestStartByMs - totalCostMs);
  }

  /** Does what there is to do now and sets the timer for what comes next. Called after whatever may change the decision. */
  #pump(): void {
    const { clock, store, limits, metrics } = this.#options;
    for (;;) {
      const nowMs = clock.nowMs();
      const runningUntilMs = this.#expireRunning(nowMs);
      const view: BatchingView<Ticket> = {
        waiting: this.#room,
        inFlight: this.#inFlightFor(store),
        concurrency: store.concurrency,
        ...this.#engineFree(nowMs),
        gatherUntilMs: this.#gatherUntilMs(),
        draining: this.#draining,
      };
      const decision = decide(view, nowMs, limits, this.#costs);
      if (decision.kind === 'wait') {
        this.#wakeAt(Math.min(decision.untilMs, runningUntilMs));
        break;
      }
      if (decision.kind === 'drop') {
        for (const { party } of decision.expired) this.#expire(party);
        for (const { party } of decision.late) this.#dropLate(party);
      } else this.#dispatch(decision.batch, decision.reason);
    }
    metrics.queueDepth.set(this.#room.depth);
    metrics.queueBytes.set(this.#room.bytes);
  }

  /** Batches of the engine that takes work; those that another one has keep it busy only beyond a few. */
  #inFlightFor(store: ProgramSource): number {
    let active = 0;
    for (const { program } of this.#running) if (store.isActive(program)) active++;
    return Math.max(active, this.#running.length - batchesElsewhere);
  }

  /**
   * When the first of the batches that the engine executes is expected to be answered, and when the next one is packed to be there
   * by then.
   */
  #engineFree(nowMs: number): Pick<BatchingView<Ticket>, 'stageAtMs' | 'freeAtMs'> {
    let stageAtMs = Infinity;
    let freeAtMs = Infinity;
    let places = this.#options.store.concurrency;
    for (const batch of this.#running) {
      if (!this.#options.store.isActive(batch.program)) continue;
      if (places-- <= 0) break;
      batch.begunMs ??= nowMs;
      stageAtMs = Math.min(stageAtMs, batch.begunMs + (1 - earlyShare) * batch.expectedMs);
      freeAtMs = Math.min(freeAtMs, batch.begunMs + batch.expectedMs);
    }
    return { stageAtMs: stageAtMs - this.#packMs, freeAtMs };
  }

  /** Rejects what ran past its deadline; the batch goes on for the others. Returns the next deadline of a running job. */
  #expireRunning(nowMs: number): number {
    let nextMs = Infinity;
    for (const batch of this.#running) {
      if (batch.earliestDeadlineMs <= nowMs) {
        for (const { party, deadlineMs } of batch.tickets) if (deadlineMs <= nowMs) this.#expire(party);
        batch.earliestDeadlineMs = earliestDeadline(batch.tickets);
      }
      nextMs = Math.min(nextMs, batch.earliestDeadlineMs);
    }
    return nextMs;
  }

  /** One timer. It may fire earlier than needed: that costs a look, where moving it at every change would cost more. */
  #wakeAt(untilMs: number): void {
    if (untilMs !== Infinity && this.#timer !== null && this.#timer.dueMs <= untilMs) return;
    this.#timer?.cancel();
    this.#timer = null;
    if (untilMs === Infinity) return;
    const cancel = this.#options.clock.after(Math.max(untilMs - this.#options.clock.nowMs(), 0), () => {
      this.#timer = null;
      this.#pump();
    });
    this.#timer = { dueMs: untilMs, cancel };
  }

  #dispatch(batch: PlannedBatch<Ticket>, reason: DispatchReason): void {
    try {
      const found = this.#programFor(batch);
      if (found === null) return;
      const tickets = this.#allowed(found);
      if (tickets.length === 0) return;
      const { program } = found;
      const { key } = tickets[0]!.job;
      const expectedMs = this.#costs.isMeasured(key, program.bucket)
        ? this.#costs.runMs(key, program.bucket)
        : Infinity;
      const earliestDeadlineMs = earliestDeadline(tickets);
      void this.#run({ program, tickets, expectedMs, begunMs: null, earliestDeadlineMs }, reason);
    } catch (thrown) {
      for (const { party } of batch.jobs) this.#fail(party, CoordinatorError.from(thrown));
    }
  }

  /**
   * A ready program and as many of the jobs as it takes. The planned one, or a larger one in its place; while that is being
   * compiled, the program of the first job's own bucket; null where that is not ready either, and the jobs of that bucket
   * wait for it.
   */
  #programFor({ jobs, bucket }: PlannedBatch<Ticket>): Pick<RunningBatch, 'program' | 'tickets'> | null {
    const { store } = this.#options;
    const lead = jobs[0]!;
    const { failedOn } = lead;
    const { spec, key, parameters } = lead.job;
    const { agents, tasks } = lead;
    const own = { batch: 1, agents, tasks };
    let program = store.ready(spec, key, bucket, parameters, failedOn);
    if (program === null && bucket.batch > 1) program = store.ready(spec, key, own, parameters, failedOn);
    if (program === null) {
      void this.#compile(lead, own);
      return null;
    }
    const slots = program.bucket;
    const fitting = jobs.filter((job) => job.agents <= slots.agents && job.tasks <= slots.tasks);
    return { program, tickets: fitting.slice(0, slots.batch) };
  }

  /** The jobs that may run on the program; those that forbid a fallback are refused where it is one. */
  #allowed({ program, tickets }: Pick<RunningBatch, 'program' | 'tickets'>): readonly Ticket[] {
    if (!this.#options.store.isFallback(program)) return tickets;
    for (const { party } of tickets) if (party.forbidFallback) this.#fail(party, fallbackForbidden());
    return tickets.filter(({ party }) => !party.settled);
  }

  /** Sets aside the jobs of this key and bucket until their program is ready; without it, they fail with its error. */
  async #compile({ job, key, agents, tasks, failedOn }: Ticket, bucket: Bucket): Promise<void> {
    const name = `n${agents} m${tasks} ${key}`;
    for (const other of this.#room.inOrder()) {
      if (other.key === key && other.agents === agents && other.tasks === tasks) other.compiling = name;
    }
    if (this.#compiling.has(name)) return;
    this.#compiling.add(name);
    let failure: CoordinatorError | null = null;
    try {
      await this.#options.store.prepare(job.spec, job.key, bucket, job.parameters, failedOn);
    } catch (thrown) {
      failure = CoordinatorError.from(thrown);
    }
    this.#compiling.delete(name);
    for (const ticket of this.#room.inOrder()) {
      // A new program may serve smaller buckets of its key as well: they are looked at again, too.
      if (failure === null && ticket.key === key) ticket.compiling = null;
      if (failure !== null && ticket.compiling === name) this.#fail(ticket.party, failure);
    }
    this.#pump();
  }

  /** Never rejects. Up to the first wait it runs within `#pump`, so the batch is packed and counted as in flight at once. */
  async #run(batch: RunningBatch, reason: DispatchReason): Promise<void> {
    const { clock, metrics } = this.#options;
    const { program } = batch;
    this.#charge(batch);
    for (const { party } of batch.tickets) party.begin();
    const dispatchedMs = clock.nowMs();
    const { members, inputs } = this.#pack(batch);
    if (members.length === 0) return;
    this.#running.push(batch);
    metrics.batchDispatch.inc({ reason });
    metrics.batchSize.observe(members.length);
    metrics.paddingRatio.observe(paddingRatio(program.bucket, members));
    const sentMs = clock.nowMs();
    this.#packMs += packSmoothing * (sentMs - dispatchedMs - this.#packMs);
    const traced = { program, members, reason, dispatchedMs, sentMs };
    let result: RunResult;
    try {
      result = await program.run(inputs, this.#unsettled === 1 && !members[0]!.party.solvesBeside);
    } catch (thrown) {
      const error = CoordinatorError.from(thrown);
      this.#trace(traced, null, error);
      this.#recover(batch, members, error, 'execution_failed');
      return;
    }
    if (holdsNaN(result.outputs)) {
      const error = new CoordinatorError('INTERNAL', `program ${program.fingerprint} gave NaN`);
      this.#trace(traced, result, error);
      this.#recover(batch, members, error, 'not_finite');
      return;
    }
    this.#options.store.succeeded(program);
    const answeredMs = clock.nowMs();
    this.#running.splice(this.#running.indexOf(batch), 1);
    this.#drainRate.observe(members.length, dispatchedMs, answeredMs);
    this.#learn(batch, result, sentMs, answeredMs);
    // The engine is given its next batch before this one's answers are made.
    this.#pump();
    this.#trace(traced, result, null, answeredMs);
    this.#answer(batch, members, result, { dispatchedMs, sentMs, answeredMs });
    // Of a batch of one, an answer may hold the engine's own arrays.
    if (program.bucket.batch > 1) result.release?.();
  }

  /** Takes the batch's jobs out of the queue, at the expense of their tenants. */
  #charge({ program, tickets, expectedMs }: RunningBatch): void {
    const { key } = tickets[0]!.job;
    const engineMs = expectedMs === Infinity ? this.#costs.runMs(key, program.bucket) : expectedMs;
    const shareSeconds = engineMs / tickets.length / 1000;
    for (const [{ label }, count] of this.#room.take(tickets, engineMs)) {
      this.#options.metrics.tenantEngine.inc({ tenant: label }, shareSeconds * count);
    }
  }

  /** A batch that was staged behind another took the engine only the time since its turn came, whatever the engine counts as its run. */
  #learn(
    { program, tickets, expectedMs, begunMs }: RunningBatch,
    run: RunResult,
    sentMs: number,
    answeredMs: number,
  ): void {
    const ownMs = run.transferInMs + run.executeMs + run.transferOutMs;
    const ranMs = Math.min(ownMs, answeredMs - Math.max(begunMs ?? sentMs, sentMs));
    this.#jobCosts.clear();
    this.#costs.observe(program, tickets[0]!.job.key, ranMs, answeredMs, this.#options.store.isActive(program));
    if (expectedMs !== Infinity) this.#options.metrics.costModelError.observe(ranMs / expectedMs);
  }

  /**
   * A batch failed. Where another engine can run its jobs, each goes back to its place in the queue, once; the others are
   * answered with the error. Jobs that forbid a fallback are refused rather than run elsewhere.
   */
  #recover(batch: RunningBatch, members: readonly Ticket[], error: CoordinatorError, failure: RunFailure): void {
    const { clock, store } = this.#options;
    this.#running.splice(this.#running.indexOf(batch), 1);
    const elsewhere = store.failed(batch.program, error, failure);
    const nowMs = clock.nowMs();
    const again: Ticket[] = [];
    for (const ticket of members) {
      const { party } = ticket;
      if (party.settled) continue;
      if (!elsewhere || ticket.failedOn !== null) this.#fail(party, error);
      else if (party.forbidFallback) this.#fail(party, fallbackForbidden(error));
      else if (ticket.deadlineMs <= nowMs) this.#expire(party);
      else again.push(ticket);
    }
    // A submission may have failed with one job after another of its jobs was to go back.
    const back = again.filter(({ party }) => !party.settled);
    for (const ticket of back) {
      ticket.failedOn = batch.program;
      // Those that failed on another program must not be led by them to where they come from.
      ticket.key = `again after ${batch.program.fingerprint} ${ticket.job.key}`;
      this.#costs.know(ticket.key, ticket.job.spec);
    }
    this.#room.restore(back);
    this.#pump();
  }

  /** The batch's inputs and the jobs in its slots. A job whose inputs are not what the signature says fails alone. */
  #pack({ program, tickets }: RunningBatch): { members: readonly Ticket[]; inputs: TensorData[] } {
    const { signature, bucket } = program;
    let members = tickets;
    try {
      return { members, inputs: packBatch(signature, bucket, jobsOf(members), program.takeInputs?.()) };
    } catch {
      members = tickets.filter(({ job, party }) => {
        try {
          checkJob(signature, bucket, job);
          return true;
        } catch (thrown) {
          this.#fail(party, CoordinatorError.from(thrown));
          return false;
        }
      });
    }
    try {
      return { members, inputs: members.length === 0 ? [] : packBatch(signature, bucket, jobsOf(members)) };
    } catch (thrown) {
      for (const { party } of members) this.#fail(party, CoordinatorError.from(thrown));
      return { members: [], inputs: [] };
    }
  }

  #answer(
    { program }: RunningBatch,
    members: readonly Ticket[],
    run: RunResult,
    times: { readonly dispatchedMs: number; readonly sentMs: number; readonly answeredMs: number },
  ): void {
    const { clock } = this.#options;
    const { signature, bucket, fingerprint, engine } = program;
    const { transferInMs, executeMs, transferOutMs, device } = run;
    // What the run took beyond its own stages it spent staged behind another batch: that is waiting, too.
    const stagedMs = Math.max(times.answeredMs - times.sentMs - transferInMs - executeMs - transferOutMs, 0);
    for (const [slot, { party, job, index, enqueuedMs }] of members.entries()) {
      if (party.settled) continue;
      try {
        const outputs = unpackSlot(signature, bucket, run.outputs, slot, job);
        const timings: JobTimings = {
          queueMs: times.dispatchedMs - enqueuedMs + stagedMs,
          packMs: times.sentMs - times.dispatchedMs,
          transferInMs,
          executeMs,
          transferOutMs: transferOutMs + clock.nowMs() - times.answeredMs,
        };
        this.#observeStages(timings);
        const batchSize = members.length;
        const result = { outputs, bucket, batchSize, engine, device, fingerprint, timings };
        if (party.complete(index, result)) {
          if (party.predictedEndMs !== null) this.#allowance.observe(times.answeredMs - party.predictedEndMs);
          this.#forgetOne();
        }
      } catch (thrown) {
        this.#fail(party, CoordinatorError.from(thrown));
      }
    }
  }

  /** Before any of the members is answered. `run` and `error`: as in BatchReport. */
  #trace(
    { program, members, ...report }: TracedRun,
    run: RunResult | null,
    error: CoordinatorError | null,
    endedMs = this.#options.clock.nowMs(),
  ): void {
    const { traceBatch } = this.#options;
    if (traceBatch === undefined) return;
    const calls: CallTrace[] = [];
    for (const { party } of members) if (party.trace !== null) calls.push(party.trace);
    if (calls.length === 0) return;
    const { engine, fingerprint } = program;
    const bucket = bucketName(program.bucket);
    traceBatch({ ...report, calls, size: members.length, bucket, engine, fingerprint, endedMs, run, error });
  }

  #observeStages({ queueMs, packMs, transferInMs, executeMs, transferOutMs }: JobTimings): void {
    const { stageDuration } = this.#options.metrics;
    stageDuration.observe({ stage: 'queue' }, queueMs / 1000);
    stageDuration.observe({ stage: 'pack' }, packMs / 1000);
    stageDuration.observe({ stage: 'transfer_in' }, transferInMs / 1000);
    stageDuration.observe({ stage: 'execute' }, executeMs / 1000);
    stageDuration.observe({ stage: 'transfer_out' }, transferOutMs / 1000);
  }

  #dropLate(pending: PendingSubmission): void {
    const message =
      'others went first for so long that by measured times the answer could no longer be ready before the deadline';
    const retryAfterMs = this.#drainRate.retryAfterMs(this.#room.jobCount);
    this.#observeMiss(pending);
    this.#fail(pending, new CoordinatorError('PREDICTED_LATE', message, { retryAfterMs }), 'predicted_late');
  }

  /** It was let in on a prediction that did not hold. */
  #observeMiss({ predictedEndMs: endMs, settled }: PendingSubmission): void {
    if (endMs !== null && !settled)
      this.#allowance.observe(Math.max(this.#options.clock.nowMs() - endMs, longestMissMs));
  }

  /** A caller whose deadline passed goes away like any other, earlier than it passes here. */
  #abort(pending: PendingSubmission, signal: CancelSignal, deadlineMs: number): void {
    if (endedByDeadline(signal, this.#options.clock.nowMs(), deadlineMs)) this.#observeMiss(pending);
    this.#fail(pending, new CoordinatorError('CANCELLED', 'the call was cancelled'), 'cancelled');
  }

  #expire(pending: PendingSubmission): void {
    this.#observeMiss(pending);
    const where = pending.started ? 'while the request was executed' : 'while the request waited for a batch';
    this.#fail(pending, new CoordinatorError('DEADLINE_EXPIRED', `the deadline passed ${where}`), 'deadline');
  }

  /** Rejects a submission, unless it is settled, and takes what is left of it out of the queue. `shed`: counted where nothing of it ran. */
  #fail(pending: PendingSubmission, error: CoordinatorError, shed?: ShedReason): void {
    if (!pending.fail(error)) return;
    for (const ticket of pending.tickets) this.#room.remove(ticket);
    if (shed !== undefined && !pending.started) this.#options.metrics.shed.inc({ reason: shed });
    this.#options.metrics.queueDepth.set(this.#room.depth);
    this.#options.metrics.queueBytes.set(this.#room.bytes);
    this.#forgetOne();
  }

  /** Once for each submission, when it settles. */
  #forgetOne(): void {
    if (--this.#unsettled > 0) return;
    const whenEmpty = this.#whenEmpty;
    this.#whenEmpty = [];
    for (const resolve of whenEmpty) resolve();
  }
}

function newcomerOf(
  { tenant = '', priority, bytes = 0, deadlineMs, expectedAfterMs = 0 }: Inquiry,
  nowMs: number,
): Newcomer {
  return { tenant, priority, bytes, urgencyMs: urgencyOf(nowMs, deadlineMs - expectedAfterMs) };
}

function fallbackForbidden(cause?: CoordinatorError): CoordinatorError {
  const message = 'the preferred engine is down or cannot run this, and forbid_fallback is set';
  return new CoordinatorError('FALLBACK_FORBIDDEN', message, cause === undefined ? {} : { cause });
}

function jobsOf(tickets: readonly Ticket[]): Job[] {
  return tickets.map(({ job }) => job);
}

function earliestDeadline(tickets: readonly Ticket[]): number {
  let earliestMs = Infinity;
  for (const { party, deadlineMs } of tickets) if (!party.settled) earliestMs = Math.min(earliestMs, deadlineMs);
  return earliestMs;
}

/** Share of the batch's cells (N x M) that no job covers, empty slots included. */
function paddingRatio({ batch, agents, tasks }: Bucket, members: readonly Ticket[]): number {
  let covered = 0;
  for (const { job } of members) covered += job.agentCount * (tasks === 0 ? 1 : job.taskCount);
  return 1 - covered / (batch * agents * Math.max(tasks, 1));
}
