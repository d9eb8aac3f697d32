/** Which programs `tensor-consensus compile` compiles: policies, forms, buckets and partitions, out of the command line. */
import { batchSizes, largestBatch, maxBatch, sizeLadder } from '../../src/batching/buckets.js';
import { hasTaskAxis, specKey, type Bucket, type ProgramSpec } from '../../src/operators/signature.js';
import { defaultSpecs } from '../../src/planning/spec.js';
import type { Policy } from '../../src/policies/policy.js';
import type { AssignmentForm } from '../../src/problem.js';
import { UsageError } from '../usage.js';

/** Plain data: it is sent to the process that compiles. */
export interface PlannedProgram {
  /** Unique in a plan, and what its files are called. */
  readonly name: string;
  readonly policy: string;
  readonly forms: readonly AssignmentForm[];
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
  /** Chips that run it together, each on its part of the agents. */
  readonly partitions: number;
}

const bucketPattern = /(default|(?:b(\d+))?n(\d+)(?:m(\d+))?)/y;

/**
 * Reads a list of buckets: `default` (every square size, at batch 1 and at the largest batch), `n128` (that square size,
 * likewise), `b8,n128,m64` (one bucket). Commas and spaces may stand anywhere. Each bucket comes once, in order.
 *
 * @throws UsageError for what is no bucket, and for sizes that the server has no bucket of
 */
export function parseBuckets(text: string): Bucket[] {
  const packed = text.replace(/[\s,]+/g, '');
  const buckets = new Map<string, Bucket>();
  const add = (batch: number, agents: number, tasks: number): void =>
    void buckets.set(`${batch} ${agents} ${tasks}`, { batch, agents, tasks });
  const addBoth = (agents: number, tasks: number): void => {
    add(1, agents, tasks);
    add(maxBatch(agents, tasks, largestBatch), agents, tasks);
  };
  bucketPattern.lastIndex = 0;
  while (bucketPattern.lastIndex < packed.length || packed === '') {
    const at = bucketPattern.lastIndex;
    const match = bucketPattern.exec(packed);
    if (match === null) {
      const received = packed === '' ? 'nothing' : `'${packed.slice(at)}'`;
      throw new UsageError(
        `--buckets: expected default, a size like n128 or a bucket like b8,n128,m64, received ${received}`,
      );
    }
    const [, whole, batch, agents, tasks = agents] = match;
    if (whole === 'default') {
      for (const size of sizeLadder) addBoth(size, size);
      continue;
    }
    const [n, m] = [ladderSize('n', agents!), ladderSize('m', tasks!)];
    if (batch === undefined) addBoth(n, m);
    else add(batchSize(batch, n, m), n, m);
  }
  return [...buckets.values()];
}

function ladderSize(axis: string, text: string): number {
  const size = sizeLadder.find((rung) => rung === Number(text));
  if (size === undefined) {
    throw new UsageError(
      `--buckets: ${axis}${text}: expected one of the sizes that requests are padded to: ${sizeLadder.join(', ')}`,
    );
  }
  return size;
}

function batchSize(text: string, agents: number, tasks: number): number {
  const sizes = batchSizes(agents, tasks, largestBatch);
  const size = sizes.find((candidate) => candidate === Number(text));
  if (size === undefined) {
    throw new UsageError(`--buckets: b${text},n${agents},m${tasks}: expected a batch of ${sizes.join(', ')}`);
  }
  return size;
}

/** The programs of the policies' default forms, and of TOP_K, in each bucket. */
export function planPrograms(policies: readonly Policy[], buckets: readonly Bucket[]): PlannedProgram[] {
  const programs = new Map<string, PlannedProgram>();
  for (const policy of policies) {
    const seen = new Set<string>();
    for (const forms of [policy.defaults.forms, ['TOP_K'] as const]) {
      const specs = defaultSpecs({ ...policy, defaults: { ...policy.defaults, forms } });
      specs.forEach((spec, index) => {
        if (seen.has(specKey(spec))) return;
        seen.add(specKey(spec));
        const label = [policy.name, ...forms.map(formLabel), ...(index === 0 ? [] : [String(index + 1)])].join('-');
        for (const { batch, agents, tasks } of buckets) {
          const bucket = { batch, agents, tasks: hasTaskAxis(spec) ? tasks : 0 };
          const name = `${label}-b${batch}-n${agents}-m${bucket.tasks}`;
          programs.set(name, { name, policy: policy.name, forms, spec, bucket, partitions: 1 });
        }
      });
    }
  }
  return [...programs.values()];
}

/** The same programs over `chips` chips, where each gets as many agents; several problems at a time go to one chip each instead. */
export function shardedPrograms(programs: readonly PlannedProgram[], chips: number): PlannedProgram[] {
  return programs
    .filter(({ bucket }) => bucket.batch === 1 && bucket.agents % chips === 0)
    .map((program) => ({ ...program, name: `${program.name}-sharded${chips}`, partitions: chips }));
}

function formLabel(form: AssignmentForm): string {
  return form.toLowerCase().replaceAll('_', '');
}
