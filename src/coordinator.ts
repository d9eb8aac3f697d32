/**
 * One Coordinate call between decoding and encoding: plans the programs, has them run in batches, makes the assignment
 * hard, and reports what happened. Holds no state between calls.
 */
import type { HardResult, HardSolver } from './assignment/hard.js';
import type { JobResult, JobRunner } from './batching/job.js';
import type { RoomLimits } from './batching/queue.js';
import { SolverStage, type SolverPlace } from './batching/solver-stage.js';
import { Cancellation, type CancelSignal } from './cancellation.js';
import type { Clock } from './clock.js';
import { CoordinatorError } from './errors.js';
import { answerLargeCall } from './large/large-call.js';
import { isLarge } from './large/large-messages.js';
import type { LargeSolver } from './large/large-solver.js';
import type { Metrics } from './metrics.js';
import { bucketName, type ProgramSpec } from './operators/signature.js';
import type { ReducedPrograms } from './engine/reduced-programs.js';
import { consensusFrom } from './planning/consensus-answer.js';
import { groupedConsensus, planGroups, type GroupPlan } from './planning/groups.js';
import { churnOf, hardAnswerOf, hardProblemOf } from './planning/hard-problem.js';
import { jobOf, parametersOf } from './planning/job-inputs.js';
import { outputOf } from './planning/outputs.js';
import { sinkhornEnd, softAnswerOf } from './planning/soft-answer.js';
import { specOf, withAllIterations } from './planning/spec.js';
import type { CallTrace } from './tracing.js';
import { tickStateOf } from './warm-start.js';
import type {
  Answer,
  ConsensusAnswer,
  ExecutionReport,
  HardAnswer,
  Priority,
  Problem,
  SoftAnswer,
  StageName,
} from './problem.js';

export interface CallContext {
  /** On the clock's scale; Infinity where the caller set none. */
  readonly deadlineMs: number;
  /** Aborted where the caller goes away. */
  readonly signal: CancelSignal;
  readonly decodeMs: number;
  /** As the caller names itself in its metadata; '' where it does not. */
  readonly tenant?: string;
  /** Of the request message. */
  readonly requestBytes?: number;
  /** Null or absent: it is not traced. */
  readonly trace?: CallTrace | null;
  /** Called once work has begun that is not taken back: until then the call may still be superseded. */
  readonly onBegun?: () => void;
}

export interface CoordinatorOptions {
  readonly runner: JobRunner;
  readonly solver: HardSolver;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Says whether programs with fewer iterations may run; absent: always. */
  readonly reduced?: Pick<ReducedPrograms, 'isReady'>;
  /** Answers what is beyond every bucket; absent: nothing is. */
  readonly large?: LargeSolver;
  /** What the answer names where no program had to run. */
  readonly engine: { readonly name: string; readonly device: string };
  /** Of the solver; default 1. */
  readonly solverThreads?: number;
  /** Of what waits for the solver; default: none. */
  readonly limits?: RoomLimits;
}

/** What is known of a call before its request is decoded. */
export interface CallInquiry {
  readonly tenant: string;
  readonly priority: Priority;
  readonly deadlineMs: number;
  readonly requestBytes: number;
  /** Whether a hard assignment is asked for. */
  readonly isHard: boolean;
}

/** Encoding an answer, and its way to the caller. */
const wayBackMs = 1;

export class Coordinator {
  readonly #options: CoordinatorOptions;
  readonly #solving: SolverStage;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    const { solver, clock, metrics, solverThreads = 1, limits = { maxQueue: Infinity } } = options;
    this.#solving = new SolverStage({ solver, clock, metrics, threads: solverThreads, limits });
    metrics.watchSolverWaiting(() => this.#solving.depth);
    metrics.watchSolverRunning(() => this.#solving.inPool);
  }

  /** False: `refusal` would refuse no call of so many bytes and with that deadline. Costs little. */
  mayRefuse(deadlineMs: number, requestBytes: number): boolean {
    return !this.#solving.isCalm || this.#options.runner.mayRefuse?.(deadlineMs, requestBytes) !== false;
  }

  /** Why a call would be refused now whatever its request holds, which is counted as a refusal; null where it may be let in. */
  refusal({ tenant, priority, deadlineMs, requestBytes, isHard }: CallInquiry): CoordinatorError | null {
    const call = { tenant, priority, deadlineMs, bytes: requestBytes };
    if (isHard) {
      const full = this.#solving.full(call);
      if (full !== null) {
        this.#options.metrics.shed.inc({ reason: 'queue_full' });
        return full;
      }
    }
    const expectedAfterMs = isHard ? this.#solving.afterMs(call, 0) : 0;
    return this.#options.runner.refusal?.({ ...call, expectedAfterMs }) ?? null;
  }

  /** Answers `problem`, or rejects with a CoordinatorError. */
  async coordinate(problem: Problem, context: CallContext): Promise<Answer> {
    const { large } = this.#options;
    if (large !== undefined && isLarge(problem)) return answerLargeCall(problem, context, { ...this.#options, large });
    const place = this.#placeFor(problem, context);
    try {
      return await this.#answer(problem, context, place);
    } finally {
      if (place !== null) this.#solving.leave(place);
    }
  }

  /** Its claim on the solver; null where it needs none. */
  #placeFor(problem: Problem, { tenant = '', requestBytes = 0, deadlineMs }: CallContext): SolverPlace | null {
    const { assignment, agentCount, taskCount, priority } = problem;
    if (assignment?.forms.has('HARD') !== true) return null;
    const mustFinish = assignment.solver === 'EXACT';
    const bytes = requestBytes + agentCount * taskCount * Float32Array.BYTES_PER_ELEMENT;
    try {
      return this.#solving.admit({ agentCount, taskCount, tenant, priority, deadlineMs, bytes, mustFinish });
    } catch (thrown) {
      this.#options.metrics.shed.inc({ reason: 'queue_full' });
      throw thrown;
    }
  }

  async #answer(problem: Problem, context: CallContext, place: SolverPlace | null): Promise<Answer> {
    const { clock } = this.#options;
    const stages = new StageTimes();
    stages.add('decode', context.decodeMs);
    const spec = this.#specOf(problem, context.deadlineMs);
    const main = spec === null ? null : jobOf(problem, spec);
    const groups = planGroupsOf(problem);
    const jobs = [...(main === null ? [] : [main]), ...(groups?.jobs ?? [])];
    const { deadlineMs, signal, onBegun, tenant = '', requestBytes = 0, trace = null } = context;
    const { priority, forbidFallback } = problem;
    if (jobs.length === 0) {
      if (place !== null) this.#solving.assertInTime(place);
      onBegun?.();
    }
    const begun = onBegun === undefined ? {} : { onBegun };
    const expectedAfterMs = place?.afterMs ?? wayBackMs;
    const bytes = requestBytes;
    const solvesBeside = jobs.length > 0 && this.#maySolveBeside(spec, place);
    const terms = { priority, forbidFallback, deadlineMs, tenant, bytes, solvesBeside, expectedAfterMs, trace };
    const beside = solvesBeside ? this.#solveBeside(problem, context, place) : null;
    // A solver's problem is sent in a microtask: its thread wakes while the event loop packs and starts the batch.
    if (beside !== null) await Promise.resolve();
    const submittedMs = clock.nowMs();
    const running = jobs.length === 0 ? [] : this.#options.runner.submit({ jobs, ...terms, signal, ...begun });
    let results: readonly JobResult[];
    try {
      results = await running;
    } catch (thrown) {
      beside?.cancel(thrown);
      throw thrown;
    }
    if (place !== null) this.#solving.observeEngine(clock.nowMs() - submittedMs);
    const mainResult = main === null ? null : results[0]!;
    const groupResults = main === null ? results : results.slice(1);
    stages.addSlowest(results);

    const soft = mainResult !== null && spec?.soft != null ? softAnswerOf(problem, spec.soft, mainResult) : null;
    const consensus = this.#consensusOf(problem, mainResult, groups, groupResults);
    const assignStart = clock.nowMs();
    const solved = await (beside?.solved ?? this.#solve(problem, mainResult, context, place));
    const hard = solved === null ? null : hardAnswerOf(problem, solved);
    if (hard !== null) {
      const assignMs = clock.nowMs() - assignStart;
      stages.add('assign', assignMs);
      this.#options.metrics.stageDuration.observe({ stage: 'assign' }, assignMs / 1000);
    }
    const churn = hard === null ? 0 : churnOf(problem, hard.taskOfAgent);
    this.#observe(problem, soft, hard, consensus, churn);
    const sinkhorn = mainResult !== null && spec?.soft != null ? sinkhornEnd(spec.soft, mainResult) : null;
    const warmStartUsed = main?.warmStartUsed === true || solved?.warmStartUsed === true;
    return {
      requestId: problem.requestId,
      resources: resourcesOf(problem, mainResult),
      assignment: problem.assignment === null ? null : { hard, soft, churn, warmStartUsed },
      consensus,
      rejectedAgents: problem.rejectedAgents,
      execution: this.#report(problem, results, stages),
      tick: tickStateOf({ hard, sinkhorn, consensus }, problem),
    };
  }

  /** A program with fewer iterations only where it is loaded: a tick never waits for its compilation. */
  #specOf(problem: Problem, deadlineMs: number): ProgramSpec | null {
    const spec = specOf(problem, { exactBudgetMs: this.#exactBudgetMs(problem, deadlineMs) });
    const full = spec === null ? null : withAllIterations(spec, problem);
    if (spec === null || full === null || spec === full) return spec;
    const { reduced } = this.#options;
    return reduced?.isReady(spec, full, problem, parametersOf(problem.policy)) === false ? full : spec;
  }

  /** Milliseconds that AUTO may spend on the exact solver from now: the request's, else from its deadline, else null. */
  #exactBudgetMs(problem: Problem, deadlineMs: number): number | null {
    const requested = problem.assignment?.solveBudgetMs ?? null;
    if (deadlineMs === Infinity) return requested;
    const fromDeadline = this.#solving.budgetMs(deadlineMs);
    return requested === null ? fromDeadline : Math.min(requested, fromDeadline);
  }

  /** Where the solver has nothing to do and needs nothing that the engine computes, it works while the engine does. */
  #maySolveBeside(spec: ProgramSpec | null, place: SolverPlace | null): boolean {
    const takesResults = spec?.utilityOut === true || spec?.soft?.potentials === true;
    return place !== null && !takesResults && this.#solving.isIdle;
  }

  #solveBeside(
    problem: Problem,
    context: CallContext,
    place: SolverPlace | null,
  ): { readonly solved: Promise<HardResult | null>; cancel(reason: unknown): void } {
    const cancellation = new Cancellation(context.signal);
    const solved = this.#solve(problem, null, { ...context, signal: cancellation }, place).finally(() =>
      cancellation.release(),
    );
    // Where the engine fails first, nobody asks how this ends.
    solved.catch(() => undefined);
    // With its error as the reason: what the engine was late for is not counted against the solver.
    return { solved, cancel: (reason) => cancellation.abort(reason) };
  }

  async #solve(
    problem: Problem,
    result: JobResult | null,
    context: CallContext,
    place: SolverPlace | null,
  ): Promise<HardResult | null> {
    if (place === null) return null;
    if (context.signal.aborted) throw new CoordinatorError('CANCELLED', 'the call was cancelled');
    // Made when its turn comes: waiting shortens the budget.
    const hardProblem = () => hardProblemOf(problem, result, this.#exactBudgetMs(problem, context.deadlineMs));
    const hard = await this.#solving.solve(place, hardProblem, context.signal);
    if (this.#options.clock.nowMs() > context.deadlineMs) {
      throw new CoordinatorError('DEADLINE_EXPIRED', 'the deadline passed while the assignment was solved');
    }
    return hard;
  }

  #consensusOf(
    problem: Problem,
    result: JobResult | null,
    groups: GroupPlan | null,
    groupResults: readonly JobResult[],
  ): ConsensusAnswer | null {
    const { consensus, responses, rejectedAgents } = problem;
    if (consensus === null || responses === null) return null;
    if (groups !== null) return groupedConsensus(groups, groupResults, responses, rejectedAgents);
    if (result === null) throw new CoordinatorError('INTERNAL', 'consensus was asked for but no program ran');
    return consensusFrom(result, responses.columns, rejectedAgents);
  }

  #observe(
    problem: Problem,
    soft: SoftAnswer | null,
    hard: HardAnswer | null,
    consensus: ConsensusAnswer | null,
    churn: number,
  ): void {
    const { metrics } = this.#options;
    if (soft !== null) metrics.marginalError.observe(Math.max(soft.rowError, soft.columnError));
    if (hard !== null) {
      metrics.assignmentGap.observe(hard.gap);
      metrics.assignmentSolver.inc({ solver: hard.solver });
      if (problem.assignment?.previous != null) metrics.churnRatio.observe(churn);
    }
    if (consensus !== null) metrics.outlierRatio.observe(consensus.outliers.length / problem.agentCount);
  }

  #report(problem: Problem, results: readonly JobResult[], stages: StageTimes): ExecutionReport {
    const first = results[0];
    return {
      engine: first?.engine ?? this.#options.engine.name,
      device: first?.device ?? this.#options.engine.device,
      bucket: first === undefined ? '' : bucketName(first.bucket),
      batchSize: first?.batchSize ?? 1,
      policyVersion: problem.policy.version,
      executableFingerprint: first?.fingerprint ?? '',
      stages: stages.list(),
    };
  }
}

class StageTimes {
  readonly #stages: { readonly stage: StageName; readonly microseconds: number }[] = [];

  /** Each stage once. */
  add(stage: StageName, ms: number): void {
    this.#stages.push({ stage, microseconds: Math.max(ms, 0) * 1000 });
  }

  /** A call with several jobs waits for its slowest one, which is the one reported. */
  addSlowest(results: readonly JobResult[]): void {
    let slowest: JobResult | undefined;
    let longestMs = -1;
    for (const result of results) {
      const { queueMs, packMs, transferInMs, executeMs, transferOutMs } = result.timings;
      const totalMs = queueMs + packMs + transferInMs + executeMs + transferOutMs;
      if (totalMs > longestMs) {
        longestMs = totalMs;
        slowest = result;
      }
    }
    if (slowest === undefined) return;
    const { queueMs, packMs, transferInMs, executeMs, transferOutMs } = slowest.timings;
    this.add('queue', queueMs);
    this.add('pack', packMs);
    this.add('transfer_in', transferInMs);
    this.add('execute', executeMs);
    this.add('transfer_out', transferOutMs);
  }

  list(): ExecutionReport['stages'] {
    return this.#stages;
  }
}

function planGroupsOf(problem: Problem): GroupPlan | null {
  const { consensus, responses, agentActive } = problem;
  if (consensus === null || responses === null || consensus.groups === null) return null;
  return planGroups(responses, agentActive, consensus, consensus.groups);
}

function resourcesOf(problem: Problem, result: JobResult | null): Answer['resources'] {
  if (problem.projection === null || result === null) return null;
  const columns = problem.projection.resourceMax.length;
  return { rows: problem.agentCount, columns, data: outputOf(result, 'resources') };
}
