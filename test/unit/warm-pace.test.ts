import { describe, expect, it } from 'vitest';
import { WarmPace } from '../../src/engine/warm-pace.js';
import { settle, VirtualClock } from '../virtual-clock.js';

/** A pace, a way to load a program for `tookMs` of which threads waited for cores for `waitedMs`, and what it then waited. */
function setUp() {
  const clock = new VirtualClock();
  let [waited, used] = [1234, 567];
  const pace = new WarmPace({ clock, cores: { waitedMs: () => waited, usedMs: () => used } });
  const load = async (tookMs: number, waitedMs: number, usedMs = 0): Promise<number> => {
    const loaded = pace.begin();
    clock.advance(tookMs);
    waited += waitedMs;
    used += usedMs;
    const endedMs = clock.nowMs();
    const state = { mayGoOn: false };
    void loaded().then(() => (state.mayGoOn = true));
    await settle();
    while (!state.mayGoOn) await clock.advanceAsync(1);
    return clock.nowMs() - endedMs;
  };
  return { clock, load };
}

describe('the pace of a warm-up', () => {
  it('loses no time where no thread waited for a core', async () => {
    const { load } = setUp();
    for (let i = 0; i < 5; i++) expect(await load(80, 0)).toBe(0);
  });

  it('loses no time where its own threads had a core all the while and waited for each other, or where it waited for a disk', async () => {
    const { load } = setUp();
    expect(await load(80, 50, 85)).toBe(0);
    expect(await load(80, 0, 20)).toBe(0);
  });

  it('waits twice as long as others had the core that it wanted', async () => {
    const { load } = setUp();
    expect(await load(80, 30)).toBe(60);
    expect(await load(80, 60, 65)).toBe(30);
    expect(await load(50, 200)).toBe(100);
  });

  it('waits for no longer after one program, and in all, than a start may take for the sake of others', async () => {
    const { load } = setUp();
    expect(await load(5000, 5000)).toBe(250);
    let total = 250;
    for (let i = 0; i < 40; i++) total += await load(100, 100);
    expect(total).toBe(3000);
    expect(await load(100, 100)).toBe(0);
  });

  it('takes a count that fell, as it does when a thread ends, for none', async () => {
    const { load } = setUp();
    expect(await load(80, -500)).toBe(0);
  });
});
