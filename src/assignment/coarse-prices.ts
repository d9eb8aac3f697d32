/**
 * Prices for a large problem from a sample of it. Where rows are much alike, as agents are that start in one place, what a column must
 * cost is decided by all of them together, and a hundred rows and columns show it to within a fraction of a percent. Where every row
 * has its own few columns a sample says nothing.
 */
import { solveExact } from './exact.js';
import type { Reduction } from './reduction.js';

/** Of so many rows and columns one is in the sample, of more where that would be more than these rows, or a few more: some milliseconds. */
const leastStretch = 16;
const mostSampled = 128;
/** Smaller problems are solved nearly as soon as their sample. */
const leastRows = 512;
const leastColumns = 256;
/** Rows that prices are compared by. */
const trialSize = 128;
/** What half a sample proves differs from what the whole one does by this share of what is gained, at most. */
const steady = 0.1;
/** Rows by which prices are chosen are not those of the sample. */
const sampleSeed = 1;
const trialSeed = 2;

/**
 * [m] prices that prove more than `price` [m], as far as a few rows can tell, and nearly as much with half the sample; null where there are none, where the
 * problem is small, where not everybody may and must have a place and every place is taken, or where it was stopped. O(m).
 */
export function betterBySample(
  reduction: Reduction,
  price: Float64Array,
  shouldStop: () => boolean,
): Float64Array | null {
  const { capacities, dense, idleAllowed } = reduction;
  const rows = reduction.agents.length;
  let places = 0;
  for (const capacity of capacities) places += capacity;
  if (!dense || idleAllowed || places !== rows || rows < leastRows || capacities.length < leastColumns) return null;
  const stretch = Math.max(leastStretch, Math.floor(rows / mostSampled));
  const whole = pricesOfSample(reduction, stretch, shouldStop);
  if (whole === null) return null;
  const proven = provenByTrial(reduction, whole);
  const gain = proven - provenByTrial(reduction, price);
  if (!(gain > 0)) return null;
  const half = pricesOfSample(reduction, 2 * stretch, shouldStop);
  if (half === null || Math.abs(provenByTrial(reduction, half) - proven) > steady * gain) return null;
  return whole;
}

/** [m] the least prices at which no sampled row is better off than in the best assignment of the sample, but for a shift that makes the lowest 0; null where stopped. */
function pricesOfSample(reduction: Reduction, stretch: number, shouldStop: () => boolean): Float64Array | null {
  const { cost } = reduction;
  const width = reduction.tasks.length;
  const rows = sampleOf(reduction.agents.length, stretch, sampleSeed);
  const sample = sampled(reduction, rows, sampleOf(width, stretch, sampleSeed));
  const { columnPrice, complete } = solveExact(sample, null, shouldStop);
  if (!complete) return null;
  const price = new Float64Array(width).fill(-Infinity);
  for (let at = 0; at < rows.length; at++) {
    const pays = leastOf(sample, at, columnPrice);
    const base = rows[at]! * width;
    for (let column = 0; column < width; column++) {
      const value = pays - cost[base + column]!;
      if (value > price[column]!) price[column] = value;
    }
  }
  let lowest = Infinity;
  for (const value of price) lowest = Math.min(lowest, value);
  for (let column = 0; column < width; column++) price[column]! -= lowest;
  return price;
}

/** About how low a cost `price` [m] proves to be out of reach. */
function provenByTrial(reduction: Reduction, price: Float64Array): number {
  const { capacities } = reduction;
  const rows = reduction.agents.length;
  const trial = sampleOf(rows, Math.floor(rows / trialSize), trialSeed);
  let least = 0;
  for (const row of trial) least += leastOf(reduction, row, price);
  let total = 0;
  for (let column = 0; column < price.length; column++) total += capacities[column]! * price[column]!;
  return (least * rows) / trial.length - total;
}

/** Ascending indices below `count`, one of each `stretch`: not at equal distances, as data may be. */
function sampleOf(count: number, stretch: number, seed: number): Int32Array {
  const sample = new Int32Array(Math.floor(count / stretch));
  let state = seed;
  for (let at = 0; at < sample.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    sample[at] = stretch * at + Math.floor((stretch * state) / 2 ** 32);
  }
  return sample;
}

function sampled(reduction: Reduction, rows: Int32Array, columns: Int32Array): Reduction {
  const width = reduction.tasks.length;
  const cost = new Float64Array(rows.length * columns.length);
  let to = 0;
  for (const row of rows) for (const column of columns) cost[to++] = reduction.cost[row * width + column]!;
  const capacities = Int32Array.from(columns, (column) => reduction.capacities[column]!);
  return { ...reduction, agents: rows, tasks: columns, capacities, cost };
}

/** What `row` pays at least. */
function leastOf({ cost }: Reduction, row: number, price: Float64Array): number {
  const base = row * price.length;
  let least = Infinity;
  for (let column = 0; column < price.length; column++) {
    const value = cost[base + column]! + price[column]!;
    if (value < least) least = value;
  }
  return least;
}
