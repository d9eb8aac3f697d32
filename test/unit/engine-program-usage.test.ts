import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ExecutableCache } from '../../src/engine/executable-cache.js';
import { ProgramUsage, type UsedProgram } from '../../src/engine/program-usage.js';
import { createMetrics } from '../../src/metrics.js';
import { givenSpec } from '../fake-programs.js';
import { VirtualClock } from '../virtual-clock.js';

let directory = '';

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'usage-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

const used = (iterations: number, uses: number): UsedProgram => ({
  spec: givenSpec(iterations),
  bucket: { batch: 1, agents: 16, tasks: 16 },
  uses,
});

async function run(programs: readonly UsedProgram[], clock = new VirtualClock()) {
  const cache = new ExecutableCache({ directory, limitBytes: 1e6, metrics: createMetrics(new Registry()) });
  return ProgramUsage.open({ cache, clock, used: () => programs });
}

describe('program usage', () => {
  it('tells the next run what was used, the most used first, and forgets by halves what is used no more', async () => {
    const first = await run([used(1, 3), used(2, 9), used(3, 0)]);
    expect(first.last).toEqual([]);
    await first.close();
    const second = await run([used(1, 8)]);
    expect(second.last).toEqual([used(2, 9), used(1, 3)]);
    await second.close();
    const third = await run([]);
    expect(third.last).toEqual([used(1, 9), used(2, 4)]);
    await third.close();
    for (let index = 0; index < 4; index++) await (await run([])).close();
    expect((await run([])).last).toEqual([]);
  });

  it('is saved while the process runs, so that one that is killed has told it', async () => {
    const clock = new VirtualClock();
    await run([used(1, 3)], clock);
    clock.advance(60_000);
    await expect.poll(async () => (await run([])).last).toEqual([used(1, 3)]);
  });

  it('keeps the 64 programs used most', async () => {
    const many = Array.from({ length: 100 }, (_, index) => used(index + 1, index + 1));
    await (await run(many)).close();
    const { last } = await run([]);
    expect(last).toHaveLength(64);
    expect(last[0]).toEqual(used(100, 100));
  });

  it('knows nothing where its file is broken', async () => {
    await (await run([used(1, 3)])).close();
    for (const name of await readdir(directory)) await writeFile(join(directory, name), 'broken');
    expect((await run([])).last).toEqual([]);
  });
});
