/**
 * How long the engine takes for one run of a program: measured, kept up to date, and estimated where nothing was measured.
 *
 * A measured batch size costs the lower quartile of its last runs: what the run takes when little else disturbs it. One slow
 * run (a first one, a busy machine) changes nothing; an engine that became slower is believed after a few runs.
 * Other batch sizes of the same N and M lie on a line between or beyond the measured ones (a fixed part and a part for each
 * slot). Where no batch size was measured, the program's work is taken, at the speed that the engine's other programs show.
 */
import type { EngineName } from '../engine/engine.js';
import { longestRunMs } from '../engine/longest-run.js';
import type { Bucket, ProgramSpec } from '../operators/signature.js';

/** What the policy asks. */
export interface RunCosts {
  /** Expected engine time of one run, transfers included, in milliseconds; more than 0. `key` is `specKey(spec)`. */
  runMs(key: string, bucket: Bucket): number;
}

/** Specs come from requests: the least recently used are forgotten beyond this. */
export const keptSpecs = 128;
const keptRuns = 8;
/** A size that was not run for so long is estimated from those that were, so that one wrongly held dear is tried again. */
const staleAfterMs = 30_000;
/** Weight of the newest run in the engine's speed. */
const smoothing = 0.1;
/** Handing a batch over and back costs this before anything was measured; the rest is work, as `longestRunMs` estimates it. */
const unmeasuredFixedMs = 0.1;
const unmeasuredShareOfLongest = 0.1;
/** So that costs can be divided by. */
const leastMs = 0.001;

interface SizeCosts {
  readonly batch: number;
  /** The last runs, in no order: the oldest is overwritten. */
  readonly runs: number[];
  count: number;
  ms: number;
  lastRunAtMs: number;
}

interface SpecCosts {
  readonly spec: ProgramSpec;
  /** By N and M; batch sizes ascending. As many entries at most as the ladder has buckets. */
  readonly shapes: Map<number, SizeCosts[]>;
}

interface EngineCosts {
  /** What runs take over what their work alone lets expect; null before anything was measured. */
  slowness: number | null;
  readonly specs: Map<string, SpecCosts>;
}

export class CostModel implements RunCosts {
  readonly #engines = new Map<EngineName, EngineCosts>();
  /** Of the engine that ran last. */
  #current: EngineCosts = newEngineCosts();
  /** When the last run ended. */
  #nowMs = 0;

  /** Tells the model what a key stands for, before its cost is asked. */
  know(key: string, spec: ProgramSpec): void {
    specCostsOf(this.#current, key, spec);
  }

  /** Whether a run with this N and M was measured on the engine that ran last, with whatever batch size. */
  isMeasured(key: string, bucket: Bucket): boolean {
    return this.#current.specs.get(key)?.shapes.has(shapeCode(bucket)) === true;
  }

  /** When a run with this N and M, of whatever batch size, ended last on the engine that ran last; -Infinity where there was none. */
  lastRunAtMs(key: string, bucket: Bucket): number {
    let lastMs = -Infinity;
    const sizes = this.#current.specs.get(key)?.shapes.get(shapeCode(bucket));
    if (sizes !== undefined) for (const { lastRunAtMs } of sizes) if (lastRunAtMs > lastMs) lastMs = lastRunAtMs;
    return lastMs;
  }

  runMs(key: string, bucket: Bucket): number {
    const { specs, slowness } = this.#current;
    const known = specs.get(key);
    if (known === undefined) return leastMs;
    const sizes = known.shapes.get(shapeCode(bucket)) ?? [];
    const isFresh = ({ lastRunAtMs }: SizeCosts) => this.#nowMs - lastRunAtMs < staleAfterMs;
    const fresh = sizes.every(isFresh) ? sizes : sizes.filter(isFresh);
    const ms = fromSizes(fresh.length > 0 ? fresh : sizes, bucket, known.spec);
    return Math.max(ms ?? (slowness ?? 1) * unmeasuredMs(known.spec, bucket), leastMs);
  }

  /**
   * A run of `program` took the engine `ms`, transfers included, and ended at `nowMs`. Where that engine takes work (`isActive`),
   * `runMs` speaks of it from then on. Returns what `runMs` would have expected of this run.
   */
  observe(program: MeasuredProgram, key: string, ms: number, nowMs: number, isActive = true): number {
    const { engine, spec, bucket } = program;
    let costs = this.#engines.get(engine);
    if (costs === undefined) {
      costs = newEngineCosts();
      this.#engines.set(engine, costs);
    }
    if (isActive) this.#current = costs;
    this.#nowMs = nowMs;
    const { shapes } = specCostsOf(costs, key, spec);
    const expectedMs = this.runMs(key, bucket);
    const measuredMs = Math.max(ms, leastMs);
    const slowness = measuredMs / unmeasuredMs(spec, bucket);
    costs.slowness = costs.slowness === null ? slowness : costs.slowness * (slowness / costs.slowness) ** smoothing;
    const code = shapeCode(bucket);
    const sizes = shapes.get(code) ?? [];
    shapes.set(code, sizes);
    const size = sizeCostsOf(sizes, bucket.batch);
    size.runs[size.count++ % keptRuns] = measuredMs;
    size.ms = lowerQuartile(size.runs);
    size.lastRunAtMs = nowMs;
    return expectedMs;
  }
}

/** What a loaded program says of itself. */
export interface MeasuredProgram {
  readonly engine: EngineName;
  readonly spec: ProgramSpec;
  readonly bucket: Bucket;
}

/** From the batch sizes that were measured, ascending; null where none was. */
function fromSizes(sizes: readonly SizeCosts[], bucket: Bucket, spec: ProgramSpec): number | null {
  const { batch } = bucket;
  const above = sizes.findIndex((size) => size.batch >= batch);
  if (sizes.length === 0) return null;
  if (above > 0 || sizes[above]?.batch === batch) {
    const right = sizes[above]!;
    const left = sizes[above - 1] ?? right;
    return left === right || right.batch === batch ? right.ms : onLine(left, right, batch);
  }
  const [near, far] = above === 0 ? [sizes[0]!, sizes[1]] : [sizes.at(-1)!, sizes.at(-2)];
  const expected =
    far === undefined
      ? (near.ms * unmeasuredMs(spec, bucket)) / unmeasuredMs(spec, { ...bucket, batch: near.batch })
      : onLine(near, far, batch);
  // A run is neither all slots nor all fixed.
  const perSlot = (near.ms * batch) / near.batch;
  return Math.min(Math.max(expected, Math.min(near.ms, perSlot)), Math.max(near.ms, perSlot));
}

function onLine(a: SizeCosts, b: SizeCosts, batch: number): number {
  return a.ms + ((b.ms - a.ms) * (batch - a.batch)) / (b.batch - a.batch);
}

function unmeasuredMs(spec: ProgramSpec, bucket: Bucket): number {
  return unmeasuredFixedMs + unmeasuredShareOfLongest * longestRunMs(spec, bucket);
}

function newEngineCosts(): EngineCosts {
  return { slowness: null, specs: new Map() };
}

/** Moves the spec to the end of its map, whose first entry is the least recently used. */
function specCostsOf({ specs }: EngineCosts, key: string, spec: ProgramSpec): SpecCosts {
  const known = specs.get(key) ?? { spec, shapes: new Map<number, SizeCosts[]>() };
  specs.delete(key);
  specs.set(key, known);
  if (specs.size > keptSpecs) specs.delete(specs.keys().next().value!);
  return known;
}

function sizeCostsOf(sizes: SizeCosts[], batch: number): SizeCosts {
  const found = sizes.find((size) => size.batch === batch);
  if (found !== undefined) return found;
  const made = { batch, runs: [], count: 0, ms: 0, lastRunAtMs: 0 };
  sizes.push(made);
  sizes.sort((a, b) => a.batch - b.batch);
  return made;
}

function shapeCode({ agents, tasks }: Bucket): number {
  return agents * 2 ** 16 + tasks;
}

function lowerQuartile(runs: readonly number[]): number {
  const ascending = runs.toSorted((a, b) => a - b);
  return ascending[Math.floor((ascending.length - 1) / 4)]!;
}
