import { describe, expect, it } from 'vitest';
import type { ProgramRequest } from '../../src/engine/engine.js';
import { ReducedPrograms } from '../../src/engine/reduced-programs.js';
import { type Bucket, specKey } from '../../src/operators/signature.js';
import { givenSpec } from '../fake-programs.js';

const full = givenSpec(50);
const reduced = givenSpec(10);
const size = { agentCount: 100, taskCount: 20 };
const at = (batch: number, agents = 128, tasks = 32): Bucket => ({ batch, agents, tasks });

/** Loads when told to. */
class Shelf {
  readonly asked: ProgramRequest[] = [];
  readonly #loaded: [string, Bucket][] = [];
  #finish: (() => void)[] = [];

  loadedBuckets(key: string): Bucket[] {
    return this.#loaded.filter(([other]) => other === key).map(([, bucket]) => bucket);
  }

  loadAhead(requests: readonly ProgramRequest[]): Promise<void> {
    this.asked.push(...requests);
    return new Promise((resolve) => this.#finish.push(resolve));
  }

  put(spec: typeof full, bucket: Bucket): void {
    this.#loaded.push([specKey(spec), bucket]);
  }

  async finish(): Promise<void> {
    for (const resolve of this.#finish) resolve();
    this.#finish = [];
    await new Promise(setImmediate);
  }
}

describe('programs with fewer iterations', () => {
  it('are used once they are loaded in every batch size of the full one, and are loaded meanwhile', async () => {
    const shelf = new Shelf();
    const programs = new ReducedPrograms(shelf);
    const isReady = () => programs.isReady(reduced, full, size, new Map());
    shelf.put(full, at(1));
    shelf.put(full, at(32));
    shelf.put(full, at(8, 64, 64));
    expect(isReady()).toBe(false);
    expect(shelf.asked.map(({ spec, bucket }) => [spec, bucket])).toEqual([
      [reduced, at(1)],
      [reduced, at(32)],
    ]);
    shelf.put(reduced, at(1));
    expect(isReady()).toBe(false);
    shelf.put(reduced, at(32));
    expect(isReady()).toBe(true);
    await shelf.finish();
    expect(shelf.asked).toHaveLength(2);
  });

  it('are asked for once while they are being loaded, and again where that came to nothing', async () => {
    const shelf = new Shelf();
    const programs = new ReducedPrograms(shelf);
    shelf.put(full, at(1));
    for (let tick = 0; tick < 3; tick += 1) programs.isReady(reduced, full, size, new Map());
    expect(shelf.asked).toHaveLength(1);
    await shelf.finish();
    expect(programs.isReady(reduced, full, size, new Map())).toBe(false);
    expect(shelf.asked).toHaveLength(2);
  });

  it('wait for the full one, which is what is loaded first', () => {
    const shelf = new Shelf();
    expect(new ReducedPrograms(shelf).isReady(reduced, full, size, new Map())).toBe(false);
    expect(shelf.asked).toEqual([]);
  });
});
