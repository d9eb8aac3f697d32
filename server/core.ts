/** The working parts behind the RPCs, put together: policies, engine, program store, batcher, solvers, coordinator. */
import { Batcher } from '../src/batching/batcher.js';
import { maxBatch, widthLadder } from '../src/batching/buckets.js';
import { ConfigError } from '../src/config.js';
import { Coordinator } from '../src/coordinator.js';
import { createSolverPool } from '../src/assignment/solver-pool.js';
import { Ladder } from '../src/engine/ladder.js';
import type { ProgramRequest } from '../src/engine/engine.js';
import { ReducedPrograms } from '../src/engine/reduced-programs.js';
import { ProgramStore } from '../src/engine/program-store.js';
import { ProgramUsage, type UsedProgram } from '../src/engine/program-usage.js';
import type { RungOptions } from '../src/engine/rung.js';
import { warmRequests } from '../src/engine/warmup.js';
import { createLargeSolver } from '../src/large/large-solver.js';
import { bucketName, specKey } from '../src/operators/signature.js';
import { bilinearBound } from '../src/planning/bilinear-bound.js';
import { parametersOf } from '../src/planning/job-inputs.js';
import { defaultSpecs } from '../src/planning/spec.js';
import type { Policy, PolicySource } from '../src/policies/policy.js';
import { PolicyRegistry, type PolicyEvent } from '../src/policies/registry.js';
import type { PolicyInfoMessage } from '../src/wire/messages.js';
import { decodeRequest } from '../src/wire/request.js';
import { coreTimes } from './core-times.js';
import { rungsFor } from './engine-choice.js';
import { openExecutableCache } from './executable-folder.js';
import type { Logger } from './log.js';
import type { CoreContext, RunnableCore } from './start.js';
import { keepTelemetryOff } from './telemetry.js';

const bytesPerMiB = 1024 * 1024;

/**
 * Rejects with ConfigError where a setting does not hold (policy directory, default policy, plugins, CUDA), and where no engine
 * starts. `rungs`: the engines, best first; by default as the settings say and what is installed.
 */
export async function createCore(context: CoreContext, rungs?: readonly RungOptions[]): Promise<RunnableCore> {
  const { config, clock, metrics, log } = context;
  keepTelemetryOff();
  /** Once the server serves, the programs of new and changed policies are loaded beside the traffic. */
  let warmAgain = (): void => undefined;
  const registry = await PolicyRegistry.open({
    directory: config.policyDir,
    pollMs: config.policyPollMs,
    clock,
    onEvent(event) {
      logPolicyEvent(log, event);
      if (event.kind === 'loaded') warmAgain();
    },
  }).catch((error: unknown) => {
    throw new ConfigError(`--policy-dir: ${error instanceof Error ? error.message : String(error)}`);
  });
  const policies: PolicySource = {
    defaultName: config.defaultPolicy,
    get: (name) => registry.get(name),
    list: () => registry.list(),
  };
  if (!policies.list().some(({ name }) => name === policies.defaultName)) {
    registry.close();
    const known = policies.list().map(({ name }) => name);
    throw new ConfigError(`--default-policy: expected one of ${known.join(', ')}, received '${policies.defaultName}'`);
  }

  let ladder: Ladder;
  try {
    ladder = new Ladder({
      rungs: rungs ?? rungsFor(context),
      createStore: (engine) =>
        new ProgramStore({
          engine,
          memoryLimitBytes: config.engineMemoryMb * bytesPerMiB,
          clock,
          metrics,
          log: (message, fields) => log.error(fields, message),
          cores: coreTimes,
        }),
      clock,
      metrics,
      log: (message, fields) => log.warn(fields, message),
    });
    metrics.watchEngineFallback(() => (ladder.fallingBack ? 1 : 0));
    metrics.watchUsableEngines(() => ladder.usable());
    await ladder.start();
  } catch (error) {
    registry.close();
    throw error;
  }
  /** Null without a cache to keep it in, and on engines whose programs are not cached. */
  let usage: Promise<ProgramUsage | null> = Promise.resolve(null);
  const roomLimits = {
    maxQueue: config.maxQueue,
    maxQueueBytes: config.maxQueueMb * bytesPerMiB,
    tenantWeights: config.tenantWeights,
  };
  const batcher = new Batcher({
    afterTurn: afterQuietTurns,
    store: ladder,
    clock,
    metrics,
    traceBatch: context.traceBatch,
    limits: {
      maxBatch: config.maxBatch,
      maxQueueDelayMs: config.maxQueueDelayMs,
      maxPaddingWaste: config.maxPaddingWaste,
      ...roomLimits,
    },
  });
  metrics.watchOldestWaitingSeconds(() => {
    const oldestMs = batcher.oldestEnqueuedMs;
    return oldestMs === null ? 0 : Math.max(clock.nowMs() - oldestMs, 0) / 1000;
  });
  metrics.solverThreads.set(config.solverThreads);
  const solver = createSolverPool({ threads: config.solverThreads, clock });
  const reduced = new ReducedPrograms(ladder);
  const large = createLargeSolver({ clock });
  const coordinator = new Coordinator({
    runner: batcher,
    solver,
    solverThreads: config.solverThreads,
    limits: roomLimits,
    large,
    clock,
    metrics,
    reduced,
    engine: ladder,
  });
  const maxMessageBytes = config.maxMessageMb * bytesPerMiB;
  const limits = {
    maxAgents: config.maxSwarm,
    maxTasks: config.maxSwarm,
    maxWidth: Math.min(widthLadder.at(-1)!, config.maxWidth),
    maxIterations: config.maxIterations,
    // A tensor's bytes are checked against its shape before anything is allocated; one byte an element is the least.
    maxTensorElements: maxMessageBytes,
    maxMessageBytes,
  };

  return {
    get engine() {
      return ladder.name;
    },
    get device() {
      return ladder.device;
    },
    decode: (message) => decodeRequest(message, { policies, limits }),
    mayRefuse: (deadlineMs, requestBytes) => coordinator.mayRefuse(deadlineMs, requestBytes),
    refusal: ({ policy, isHard, ...inquiry }) =>
      coordinator.refusal({ ...inquiry, isHard: isHard ?? isHardByDefault(policies, policy) }),
    coordinate: (problem, context) => coordinator.coordinate(problem, context),
    listPolicies: () => ({ policies: policies.list().map(describe) }),
    async warmUp() {
      await warm();
      warmAgain = () => void warm();
      if (ladder.name === 'xla') usage = loadWhatWasUsed();
      ladder.standBy();
    },
    async close() {
      registry.close();
      await batcher.drain();
      await (await usage)?.close();
      await Promise.all([solver.close(), large.close(), ladder.close()]);
    },
  };

  /** Failures of single programs are logged by the store. */
  function warm(): Promise<void> {
    for (const { utility } of policies.list()) if (utility?.kind === 'bilinear') bilinearBound(utility.weight);
    const requests = warmRequests(policies.list(), {
      defaultSpecs,
      parametersOf,
      largestBatch: (agents, tasks) => maxBatch(agents, tasks, config.maxBatch),
    });
    return ladder.warm(requests, (done, total) => log.debug({ done, total }, 'warming'));
  }

  /** Beside the traffic. */
  async function loadWhatWasUsed(): Promise<ProgramUsage | null> {
    const cache = openExecutableCache(config, metrics, log);
    if (cache === null) return null;
    try {
      const opened = await ProgramUsage.open({ cache, clock, used: () => ladder.used() });
      void ladder.loadAhead(requestsOf(opened.last));
      return opened;
    } catch (err) {
      log.warn({ err }, 'what the last run used is not known');
      return null;
    }
  }

  /** With the weights of today's policies; programs of policies that are gone are left out. */
  function requestsOf(programs: readonly UsedProgram[]): ProgramRequest[] {
    return programs.flatMap(({ spec, bucket }): ProgramRequest[] => {
      if (spec.parameters === '') return [{ spec, bucket, parameters: new Map() }];
      const policy = policies.list().find(({ fingerprint }) => fingerprint === spec.parameters);
      return policy === undefined ? [] : [{ spec, bucket, parameters: parametersOf(policy) }];
    });
  }

  function describe(policy: Policy): PolicyInfoMessage {
    const { name, version, fingerprint, projection, utility, defaults } = policy;
    const bilinear = utility?.kind === 'bilinear' ? utility.weight : null;
    return {
      name,
      version,
      isDefault: name === policies.defaultName,
      agentWidth: projection?.weight.rows ?? bilinear?.rows ?? 0,
      taskWidth: bilinear?.columns ?? 0,
      resourceKinds: projection?.weight.columns ?? 0,
      utility: utility?.kind ?? '',
      temperature: defaults.temperature,
      iterations: defaults.iterations,
      ...(defaults.sigma === null ? {} : { sigma: defaults.sigma }),
      start: defaults.start,
      forms: [...defaults.forms],
      buckets: defaultSpecs(policy).flatMap((spec) => ladder.loadedBuckets(specKey(spec)).map(bucketName)),
      engine: ladder.name,
      device: ladder.device,
      fingerprint,
    };
  }
}

/** Whether a policy's assignments are hard where the request does not say. */
function isHardByDefault(policies: PolicySource, name: string): boolean {
  try {
    return policies.get(name === '' ? policies.defaultName : name).defaults.forms.includes('HARD');
  } catch {
    // Decoding says which policy there is not.
    return false;
  }
}

function logPolicyEvent(log: Logger, event: PolicyEvent): void {
  const { kind, ...fields } = event;
  if (kind === 'refused') log.error(fields, 'policy refused');
  else log.info(fields, kind === 'loaded' ? 'policy loaded' : 'policy removed');
}

/**
 * Turns of the event loop that a look at what waits is put off by: a turn may bring nothing but a piece of a request, above all over TLS, which is
 * read 16 KB at a time, and a batch that leaves between two pieces is small. A turn that finds nothing takes microseconds.
 */
const quietTurns = 3;

function afterQuietTurns(callback: () => void): void {
  let left = quietTurns;
  const turn = (): void => {
    if (--left === 0) callback();
    else setImmediate(turn);
  };
  setImmediate(turn);
}
