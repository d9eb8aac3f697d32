/**
 * A coverage-guided fuzzer: changes inputs that reached new places at random, keeps those that reach more, and ends with the first that
 * breaks a promise, made as short as it gets.
 */
import { coverageBytes } from './coverage.js';
import { mutated, type Random } from './mutation.js';
import type { Target } from './target.js';

export interface FuzzOptions {
  readonly random: Random;
  /** Beside the target's seeds. */
  readonly corpus: readonly Buffer[];
  /** `performance.now()` at which it ends; and after so many runs. */
  readonly endMs: number;
  readonly mostRuns: number;
  /** Called with each input before it runs, so that whoever watches knows what hangs or crashes the process. */
  readonly announce?: (input: Buffer) => void;
}

export interface FuzzResult {
  readonly runs: number;
  readonly accepted: number;
  /** Places reached, and inputs kept for reaching one more or one more often. */
  readonly places: number;
  readonly kept: number;
  readonly slowestMs: number;
  /** Few inputs that together reach every place. */
  readonly corpus: readonly Buffer[];
  readonly failure: { readonly input: Buffer; readonly error: unknown } | null;
}

interface Kept {
  readonly input: Buffer;
  readonly places: readonly number[];
}

/** Null where the code is not compiled with counters: then every input is as good as any other. */
function coverage(): Uint8Array | null {
  return ((globalThis as Record<string, unknown>)['__tcCoverage'] as Uint8Array | undefined) ?? null;
}

/** How often a place was reached, roughly: once, twice, three times, up to 7, 15, 31, 127, more. One bit each. */
function bucketBit(count: number): number {
  if (count <= 3) return 1 << (count - 1);
  if (count < 8) return 8;
  if (count < 16) return 16;
  if (count < 32) return 32;
  return count < 128 ? 64 : 128;
}

const mostMinimisingRuns = 2000;

export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzResult> {
  const { random, endMs, mostRuns, announce } = options;
  const counters = coverage();
  const words = new Uint32Array(counters?.buffer ?? new ArrayBuffer(0));
  const seen = new Uint8Array(coverageBytes);
  const kept: Kept[] = [];
  let [runs, accepted, slowestMs, places] = [0, 0, 0, 0];

  /** The places of this run where some are new; null where none are. */
  const news = (): number[] | null => {
    if (counters === null) return null;
    const touched: number[] = [];
    let isNew = false;
    for (let word = 0; word < words.length; word++) {
      if (words[word] === 0) continue;
      for (let i = 4 * word; i < 4 * word + 4; i++) if (counters[i] !== 0) touched.push(i);
    }
    for (const i of touched) {
      const count = counters[i]!;
      const bit = target.isTimed === true ? 1 : bucketBit(count);
      if ((seen[i]! & bit) !== 0) continue;
      if (seen[i] === 0) places++;
      seen[i] = seen[i]! | bit;
      isNew = true;
    }
    return isNew ? touched : null;
  };
  const run = async (input: Buffer): Promise<unknown> => {
    announce?.(input);
    counters?.fill(0);
    const startMs = performance.now();
    runs++;
    try {
      const outcome = target.check(Buffer.from(input));
      if (typeof outcome === 'boolean' ? outcome : await outcome) accepted++;
      return null;
    } catch (error) {
      return error ?? new Error('nothing was thrown');
    } finally {
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
    }
  };
  const done = (failure: FuzzResult['failure']): FuzzResult => {
    const corpus = counters === null ? [] : smallestCover(kept);
    return { runs, accepted, places, kept: kept.length, slowestMs, corpus, failure };
  };
  const failed = async (input: Buffer, error: unknown): Promise<FuzzResult> => {
    return done({ input: await shortest(input, String(error), run), error });
  };

  for (const input of [...target.seeds, ...options.corpus]) {
    const error = await run(input);
    if (error !== null) return failed(input, error);
    const touched = news();
    if (touched !== null || counters === null) kept.push({ input, places: touched ?? [] });
  }
  while (runs < mostRuns && (runs % 64 !== 0 || performance.now() < endMs)) {
    // What was found last is changed more often than what all runs began with.
    const base = kept[Math.floor(kept.length * (1 - random() ** 1.5) * 0.999999)]!;
    const other = kept[Math.floor(random() * kept.length)]!;
    const input = mutated(base.input, other.input, random, target.mostBytes);
    const error = await run(input);
    if (error !== null) return failed(input, error);
    const touched = news();
    if (touched !== null) kept.push({ input: Buffer.from(input), places: touched });
    // Lets timers and messages of threads through where the target itself never waits.
    if (runs % 4096 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return done(null);
}

/** Leaves parts out for as long as the same goes wrong. */
async function shortest(input: Buffer, error: string, run: (input: Buffer) => Promise<unknown>): Promise<Buffer> {
  let best = input;
  let left = mostMinimisingRuns;
  for (let size = Math.ceil(best.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.length && left > 0; left--) {
      const shorter = Buffer.concat([best.subarray(0, at), best.subarray(at + size)]);
      if (String(await run(shorter)) === error) best = shorter;
      else at += size;
    }
  }
  return best;
}

/** Greedy: short inputs first, each that reaches a place that none before it does. */
function smallestCover(kept: readonly Kept[]): Buffer[] {
  const covered = new Set<number>();
  const cover: Buffer[] = [];
  for (const { input, places } of [...kept].sort((a, b) => a.input.length - b.input.length)) {
    if (places.every((place) => covered.has(place))) continue;
    for (const place of places) covered.add(place);
    cover.push(input);
  }
  return cover;
}
