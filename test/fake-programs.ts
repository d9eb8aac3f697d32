/** Programs that run on a virtual clock, and a store of them that compiles as slowly as a test wants. */
import type { Job, JobTensor } from '../src/batching/job.js';
import type { ProgramSource, RunFailure } from '../src/batching/program-source.js';
import type { Clock } from '../src/clock.js';
import type { LoadedProgram, Parameters, RunResult } from '../src/engine/engine.js';
import type { CoordinatorError } from '../src/errors.js';
import {
  bucketName,
  programSignature,
  specKey,
  type Bucket,
  type ProgramSpec,
  type TensorData,
} from '../src/operators/signature.js';

/** Given utilities, the plan out. `iterations` tells keys apart. The fake's plan is utility times temperature. */
export function givenSpec(iterations = 10): ProgramSpec {
  return {
    parameters: '',
    projection: null,
    utility: { source: 'given' },
    utilityOut: false,
    soft: { form: 'log', iterations, bias: false, slack: false, plan: true, topK: 0, potentials: false },
    consensus: null,
  };
}

/** A job of N x M whose plan is `expectedPlan(job)`; `mark` makes it unlike others. */
export function givenJob(agentCount: number, taskCount: number, mark = 1, spec = givenSpec()): Job {
  const utility = new Float32Array(agentCount * taskCount);
  for (let i = 0; i < utility.length; i++) utility[i] = mark + i / 1024;
  const inputs = new Map<string, JobTensor>([
    ['agent_mask', vector(new Float32Array(agentCount).fill(1))],
    ['utility', { rows: agentCount, columns: taskCount, data: utility }],
    ['task_mask', vector(new Float32Array(taskCount).fill(1))],
    ['temperature', vector(Float32Array.of(2))],
    ['row_mass', vector(new Float32Array(agentCount).fill(1))],
    ['column_mass', vector(new Float32Array(taskCount).fill(1))],
    ['initial_column_potential', vector(new Float32Array(taskCount))],
  ]);
  return { spec, key: specKey(spec), parameters: new Map(), agentCount, taskCount, inputs };
}

export function expectedPlan(job: Job): Float32Array {
  return Float32Array.from(job.inputs.get('utility')!.data, (value) => value * 2);
}

export interface FakeRun {
  readonly key: string;
  readonly bucket: Bucket;
  /** When it was handed over; it may have been staged behind another. */
  readonly startedMs: number;
  /** The first utility of each slot: the job's `mark`, or 0 where the slot is empty. */
  readonly marks: readonly number[];
  /** Whether it was said to be for the only call there is. */
  readonly alone: boolean;
}

export interface FakeProgramsOptions {
  readonly clock: Clock;
  /** Called as a batch is handed over. */
  readonly onRun?: (run: FakeRun) => void;
  readonly concurrency?: number;
  readonly runMs?: (bucket: Bucket, run: number) => number;
  /** Null: the run succeeds. */
  readonly failure?: (run: number) => Error | null;
  /** Whether a run's plan is NaN throughout. */
  readonly givesNaN?: (run: number) => boolean;
  /** Whether a program is there from the start; default: all are. */
  readonly isWarm?: (spec: ProgramSpec, bucket: Bucket) => boolean;
  readonly compileMs?: (spec: ProgramSpec, bucket: Bucket) => number;
  /** Null: the compilation succeeds. */
  readonly compileFailure?: (spec: ProgramSpec, bucket: Bucket) => Error | null;
  /** Whether another engine runs what failed: programs asked for in place of a failed one are its, and fallbacks. Default false. */
  readonly hasFallback?: boolean;
}

const fallbackEngine = 'xla';

interface Waiter {
  readonly spec: ProgramSpec;
  readonly wanted: Bucket;
  readonly resolve: (program: LoadedProgram) => void;
  readonly reject: (error: Error) => void;
}

/** Runs at most `concurrency` batches at a time, in order, as a real engine does. */
export class FakePrograms implements ProgramSource {
  readonly runs: FakeRun[] = [];
  /** Programs whose compilation was started by `ready` or `prepare`. */
  readonly compiled: string[] = [];
  /** Batches that are executing now, staged ones not counted. */
  executing = 0;
  /** Whether the preferred engine is down, and all programs are fallbacks. */
  fallingBack = false;
  /** What the batcher reported, in order. */
  readonly reports: ('succeeded' | RunFailure)[] = [];
  readonly #options: FakeProgramsOptions;
  readonly #loaded = new Map<string, LoadedProgram[]>();
  readonly #compiling = new Set<string>();
  readonly #waiters = new Set<Waiter>();
  readonly #staged: (() => void)[] = [];

  constructor(options: FakeProgramsOptions) {
    this.#options = options;
  }

  get concurrency(): number {
    return this.#options.concurrency ?? 1;
  }

  /** Whether `ready` would give a program now; starts nothing. */
  isReady(spec: ProgramSpec, wanted: Bucket): boolean {
    return this.#find(spec, wanted) !== null;
  }

  ready(
    spec: ProgramSpec,
    _key: string,
    wanted: Bucket,
    _parameters: Parameters,
    avoid: LoadedProgram | null,
  ): LoadedProgram | null {
    const found = this.#find(spec, wanted);
    if (found === null) this.#compile(spec, wanted);
    return found === null || avoid === null ? found : { ...found, engine: fallbackEngine };
  }

  isActive(): boolean {
    return true;
  }

  isFallback({ engine }: LoadedProgram): boolean {
    return this.fallingBack || engine === fallbackEngine;
  }

  succeeded(): void {
    this.reports.push('succeeded');
  }

  failed({ engine }: LoadedProgram, _error: CoordinatorError, failure: RunFailure): boolean {
    this.reports.push(failure);
    return this.#options.hasFallback === true && engine !== fallbackEngine;
  }

  /** Resolves with the first program that can serve, or rejects when the wanted one cannot be compiled. */
  prepare(spec: ProgramSpec, _key: string, wanted: Bucket): Promise<LoadedProgram> {
    const found = this.#find(spec, wanted);
    if (found !== null) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      this.#waiters.add({ spec, wanted, resolve, reject });
      this.#compile(spec, wanted);
    });
  }

  #find(spec: ProgramSpec, wanted: Bucket): LoadedProgram | null {
    if (this.#options.isWarm?.(spec, wanted) !== false) return this.#program(spec, wanted);
    const { batch, agents, tasks } = wanted;
    const serving = (this.#loaded.get(specKey(spec)) ?? []).filter(
      ({ bucket }) => bucket.batch >= batch && bucket.agents >= agents && bucket.tasks >= tasks,
    );
    serving.sort((a, b) => cells(a.bucket) - cells(b.bucket));
    return serving[0] ?? null;
  }

  #compile(spec: ProgramSpec, bucket: Bucket): void {
    const name = nameOf(spec, bucket);
    if (this.#compiling.has(name)) return;
    this.#compiling.add(name);
    this.compiled.push(name);
    this.#options.clock.after(this.#options.compileMs?.(spec, bucket) ?? 0, () => {
      this.#compiling.delete(name);
      const failure = this.#options.compileFailure?.(spec, bucket) ?? null;
      if (failure === null) {
        const family = this.#loaded.get(specKey(spec)) ?? [];
        this.#loaded.set(specKey(spec), [...family, this.#program(spec, bucket)]);
      }
      for (const waiter of this.#waiters) {
        const found = this.#find(waiter.spec, waiter.wanted);
        if (found !== null) waiter.resolve(found);
        else if (failure !== null && nameOf(waiter.spec, waiter.wanted) === name) waiter.reject(failure);
        else continue;
        this.#waiters.delete(waiter);
      }
    });
  }

  #program(spec: ProgramSpec, bucket: Bucket): LoadedProgram {
    const signature = programSignature(spec);
    return {
      engine: 'onnx',
      spec,
      bucket,
      signature,
      fingerprint: bucketName(bucket),
      residentBytes: 0,
      run: (inputs, alone = false) => this.#run(specKey(spec), bucket, inputs, alone),
    };
  }

  #run(key: string, bucket: Bucket, inputs: readonly TensorData[], alone: boolean): Promise<RunResult> {
    const { clock, concurrency = 1, runMs = () => 1, failure = () => null, givesNaN, onRun } = this.#options;
    const index = this.runs.length;
    const slot = bucket.agents * bucket.tasks;
    const marks = Array.from({ length: bucket.batch }, (_, i) => inputs[1]![i * slot]!);
    const run = { key, bucket, startedMs: clock.nowMs(), marks, alone };
    this.runs.push(run);
    onRun?.(run);
    return new Promise((resolve, reject) => {
      const start = () => {
        this.executing++;
        const executeMs = runMs(bucket, index);
        clock.after(executeMs, () => {
          this.executing--;
          this.#staged.shift()?.();
          const thrown = failure(index);
          if (thrown !== null) reject(thrown);
          else
            resolve({
              outputs: givesNaN?.(index) === true ? [new Float32Array(slot).fill(NaN)] : outputsOf(bucket, inputs),
              device: 'cpu',
              transferInMs: 0,
              executeMs,
              transferOutMs: 0,
            });
        });
      };
      if (this.executing < concurrency) start();
      else this.#staged.push(start);
    });
  }
}

/** plan = utility * temperature of the slot; both errors 0. */
function outputsOf(bucket: Bucket, inputs: readonly TensorData[]): TensorData[] {
  const [, utility, , temperature] = inputs;
  const slot = bucket.agents * bucket.tasks;
  const plan = new Float32Array(bucket.batch * slot);
  for (let i = 0; i < plan.length; i++) plan[i] = utility![i]! * temperature![Math.floor(i / slot)]!;
  const errors = () => new Float32Array(bucket.batch);
  return [plan, errors(), errors(), new Float32Array(bucket.batch * bucket.tasks)];
}

function nameOf(spec: ProgramSpec, bucket: Bucket): string {
  return `${bucketName(bucket)} ${specKey(spec)}`;
}

function cells({ batch, agents, tasks }: Bucket): number {
  return batch * agents * Math.max(tasks, 1);
}

function vector(data: Float32Array): JobTensor {
  return { rows: 1, columns: data.length, data };
}
