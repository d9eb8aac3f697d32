/** What the books of open calls and streams keep from dying young. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { Roster, type Seated } from '../../src/roster.js';
import { StreamTable } from '../../src/stream-table.js';

type Collect = (options?: { readonly type: 'minor' }) => void;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as Collect;
const requestBytes = 50_000;
const openAtOnce = 32;

/** Opens and closes calls, `openAtOnce` at a time, and says how many requests are left of those that have ended after a full collection and some scavenges. */
function requestsLeftOf(open: (id: number, request: ArrayBuffer) => () => void): number {
  const closers: (() => void)[] = [];
  const run = (calls: number): void => {
    for (let call = 0; call < calls; call++) {
      closers.push(open(call, new ArrayBuffer(requestBytes)));
      if (closers.length > openAtOnce) closers.shift()!();
    }
  };
  run(100);
  // From here on what is open lies in the old generation. The second one waits until what the first one found is freed.
  collect();
  collect();
  const beforeBytes = process.memoryUsage().arrayBuffers;
  for (let scavenge = 0; scavenge < 10; scavenge++) {
    run(100);
    collect({ type: 'minor' });
  }
  return (process.memoryUsage().arrayBuffers - beforeBytes) / requestBytes;
}

interface Call extends Seated {
  readonly request: ArrayBuffer;
}

describe('requests of calls that have ended', () => {
  it('die young where calls are in a roster', () => {
    const roster = new Roster<Call>();
    const left = requestsLeftOf((_id, request) => {
      const call: Call = { request, seat: -1 };
      roster.add(call);
      return () => roster.delete(call);
    });
    expect(left).toBeLessThan(200);
  });

  it('die young where streams are in a table', () => {
    const table = new StreamTable<Pick<Call, 'request'>>();
    let next = 1;
    const left = requestsLeftOf((_id, request) => {
      const id = (next += 2);
      table.set(id, { request });
      return () => table.delete(id);
    });
    expect(left).toBeLessThan(200);
  });
});

describe('a roster', () => {
  it('holds who came and did not leave', () => {
    const roster = new Roster<{ readonly name: string; seat: number }>();
    const [a, b, c] = ['a', 'b', 'c'].map((name) => ({ name, seat: -1 })) as [Named, Named, Named];
    for (const each of [a, b, c]) roster.add(each);
    expect(roster.delete(a)).toBe(true);
    expect(roster.delete(a)).toBe(false);
    expect([roster.has(a), roster.has(b), roster.has(c), roster.size]).toEqual([false, true, true, 2]);
    expect(roster.members.map(({ name }) => name).sort()).toEqual(['b', 'c']);
    roster.add(a);
    for (const each of [c, b, a]) expect(roster.delete(each)).toBe(true);
    expect(roster.size).toBe(0);
  });
});

describe('a table of streams', () => {
  it('is what Node asks of its Map', () => {
    const table = new StreamTable<string>();
    for (const id of [1, 3, 5]) table.set(id, `stream ${id}`);
    table.set(3, 'again');
    expect([table.size, table.get(3), table.get(7), table.has(5), table.has(7)]).toEqual([
      3,
      'again',
      undefined,
      true,
      false,
    ]);
    expect([table.delete(1), table.delete(1), table.size]).toEqual([true, false, 2]);
    expect([...table]).toEqual([...table.entries()]);
    expect([[...table.keys()], [...table.values()]]).toEqual([
      [3, 5],
      ['again', 'stream 5'],
    ]);
    table.clear();
    expect([table.size, [...table]]).toEqual([0, []]);
  });

  it('can be emptied while it is gone through, as a session that is destroyed does', () => {
    const table = new StreamTable<string>();
    for (let id = 1; id < 20; id += 2) table.set(id, `${id}`);
    const seen: number[] = [];
    table.forEach((_stream, id) => {
      seen.push(id);
      table.delete(id);
      table.delete(id + 2);
    });
    expect(seen).toEqual([1, 5, 9, 13, 17]);
    expect(table.size).toBe(0);
  });
});

type Named = Seated & { readonly name: string };
