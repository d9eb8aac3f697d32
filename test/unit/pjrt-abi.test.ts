/** The PJRT bridge without a plugin: layouts, encodings, ownership and refusals. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CoordinatorError } from '../../src/errors.js';
import { apiFunctions, apiOffsets, fieldBytes, structs, type FieldKind } from '../../src/pjrt/abi.js';
import { PjrtApi } from '../../src/pjrt/call.js';
import { encodeCompileOptions } from '../../src/pjrt/compile-options.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { encodeNamedValues, readNamedValues } from '../../src/pjrt/named-values.js';
import { addressOf, allocateAligned, hostAlignmentBytes, NativeStruct } from '../../src/pjrt/native-memory.js';
import { freedInBackground, livePjrtObjects, PjrtObject } from '../../src/pjrt/ownership.js';

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function refusal(attempt: () => unknown): CoordinatorError {
  try {
    attempt();
  } catch (error) {
    if (error instanceof CoordinatorError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('the table of facts', () => {
  test.each(Object.entries(structs))(
    '%s ends where its newest struct_size says',
    (_, { newestSize, offsets, kinds }) => {
      const ends = Object.entries(offsets).map(
        ([name, offset]) => offset + fieldBytes[(kinds as Record<string, FieldKind>)[name]!],
      );
      expect(Math.max(16, ...ends)).toBe(newestSize);
    },
  );

  test('every argument struct belongs to a function of the table, but for the structs that arguments point to', () => {
    const others = Object.keys(structs).filter((name) => !(apiFunctions as readonly string[]).includes(name));
    expect(others).toEqual(['Program', 'ExecuteOptions', 'MemoryLayout', 'NamedValue']);
    expect(new Set(apiFunctions).size).toBe(apiFunctions.length);
  });

  test('a struct declares its size with slack for newer plugins, and keeps what was set', () => {
    const args = new NativeStruct('Client_BufferFromHostBuffer');
    args.set('type', 11);
    args.set('numDims', 3);
    args.set('data', 2n ** 63n + 5n);
    expect([args.number('type'), args.number('numDims'), args.pointer('data')]).toEqual([11, 3, 2n ** 63n + 5n]);
    expect(args.pointer('buffer')).toBe(0n);
    const event = new NativeStruct('Event_IsReady');
    expect(event.flag('isReady')).toBe(false);
    event.set('isReady', true);
    expect(event.flag('isReady')).toBe(true);
  });
});

describe('compile options', () => {
  // Field 3 (build options): device ordinal -1, one replica, one partition.
  const build = '08ffffffffffffffffff0120012801';

  test('default to one replica and one partition on any device', () => {
    expect(hex(encodeCompileOptions())).toBe(`1a0f${build}`);
  });

  test('say portable, and override flags in the order of their names whatever order they came in', () => {
    const portable = encodeCompileOptions({ portable: true, overrides: { b: false, a: 'x' } });
    expect(hex(portable)).toBe(`1a0f${build}2001` + '3a080a0161120' + '30a0178' + '3a070a0162' + '12021000');
    expect(encodeCompileOptions({ portable: true, overrides: { a: 'x', b: false } })).toEqual(portable);
  });

  test('name the devices of a partitioned program and ask for Shardy', () => {
    const bytes = hex(encodeCompileOptions({ partitions: 2, devices: [3, 200] }));
    // Assignment: 1 replica, 2 computations, device lists [3] and [200] (varint c8 01).
    expect(bytes).toContain(
      '08ffffffffffffffffff01' +
        '2001' +
        '2802' +
        '3001' +
        '4a0f' +
        '08011002' +
        '1a030a0103' +
        '1a040a02c801' +
        '980101',
    );
  });

  test.each([
    [{ partitions: 0 }, /partitions: expected a positive integer, received 0/],
    [{ partitions: 2, devices: [1] }, /devices: expected one per partition \(2\), received 1/],
    [{ partitions: 2, portable: true }, /portable: expected one partition/],
  ])('refuse %j', (options, message) => {
    expect(() => encodeCompileOptions(options)).toThrow(message);
  });
});

test('named values come back as they were written', () => {
  const values = {
    text: 'zwölf',
    count: 12,
    big: -(2 ** 40),
    ratio: 0.5,
    yes: true,
    no: false,
    list: [1, -2, 3],
    none: '',
  };
  const list = encodeNamedValues(values);
  expect(Object.fromEntries(readNamedValues(addressOf(list.memory!), list.count))).toEqual(values);
  expect(encodeNamedValues({})).toEqual({ memory: null, count: 0, kept: [] });
});

test('aligned memory starts on the boundary that zero-copy needs, whatever its size', () => {
  for (const bytes of [0, 1, 63, 64, 65, 4096, 1_000_003]) {
    const memory = allocateAligned(bytes);
    expect(memory.length).toBe(bytes);
    expect(addressOf(memory.buffer) + BigInt(memory.byteOffset)).toSatisfy(
      (at: bigint) => at % BigInt(hostAlignmentBytes) === 0n,
    );
  }
});

describe('ownership', () => {
  class Thing extends PjrtObject {
    readonly #freed: string[];
    readonly #name: string;
    constructor(name: string, freed: string[], owner: PjrtObject | null = null) {
      super(name, 1n, owner);
      this.#name = name;
      this.#freed = freed;
    }
    protected override free(): void {
      this.#freed.push(this.#name);
    }
  }

  test('an object is freed once however often it is disposed, and throws when used afterwards', () => {
    const freed: string[] = [];
    const thing = new Thing('thing', freed);
    expect(livePjrtObjects()).toBe(1);
    thing.dispose();
    thing.dispose();
    thing[Symbol.dispose]();
    expect(freed).toEqual(['thing']);
    expect(livePjrtObjects()).toBe(0);
    expect(() => thing.handle).toThrow('thing was used after it was disposed');
    expect(() => thing.hold()).toThrow('thing was used after it was freed');
  });

  test('an owner is freed after all that was made out of it, in whatever order they are disposed', () => {
    const freed: string[] = [];
    const owner = new Thing('owner', freed);
    const first = new Thing('first', freed, owner);
    const second = new Thing('second', freed, owner);
    owner.dispose();
    second.dispose();
    expect(freed).toEqual(['second']);
    first.dispose();
    expect(freed).toEqual(['second', 'first', 'owner']);
    expect(livePjrtObjects()).toBe(0);
  });

  test('what is freed in the background is live until that is done, and its owner is freed after it', async () => {
    const freed: string[] = [];
    let finish: () => void = () => undefined;
    class Slow extends PjrtObject {
      protected override async free(): Promise<void> {
        freed.push('begun');
        await new Promise<void>((resolve) => (finish = resolve));
        freed.push('slow');
      }
    }
    class SlowThing extends Slow {
      constructor(owner: PjrtObject) {
        super('slow', 2n, owner);
      }
    }
    const owner = new Thing('owner', freed);
    const slow = new SlowThing(owner);
    owner.dispose();
    slow.dispose();
    slow.dispose();
    expect(freed).toEqual(['begun']);
    expect(livePjrtObjects()).toBe(2);
    expect(() => slow.hold()).toThrow('slow was used after it was freed');
    finish();
    await freedInBackground();
    expect(freed).toEqual(['begun', 'slow', 'owner']);
    expect(livePjrtObjects()).toBe(0);
  });

  test('a call in flight puts off freeing', () => {
    const freed: string[] = [];
    const thing = new Thing('thing', freed);
    thing.hold();
    thing.dispose();
    expect(freed).toEqual([]);
    expect(livePjrtObjects()).toBe(1);
    thing.unhold();
    expect(freed).toEqual(['thing']);
    expect(livePjrtObjects()).toBe(0);
  });
});

describe('loading refuses with PLUGIN_INCOMPATIBLE', () => {
  const fullSize = apiOffsets.firstFunction + apiFunctions.length * 8;

  function table(structSize: number, major: number, minor: number): BigUint64Array {
    const bytes = new BigUint64Array(fullSize / 8);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(apiOffsets.structSize, BigInt(structSize), true);
    view.setInt32(apiOffsets.majorVersion, major, true);
    view.setInt32(apiOffsets.minorVersion, minor, true);
    return bytes;
  }

  test.each([
    ['another major version', fullSize, 1, 100, /expected PJRT 0\.81 or newer of major version 0, received 1\.100/],
    ['a version older than the facts', fullSize, 0, 80, /received 0\.80/],
    [
      'a table too short for its version',
      fullSize - 8,
      0,
      90,
      /expected a PJRT_Api of at least \d+ bytes, received \d+ \(version 0\.90\)/,
    ],
  ])('%s', (_, structSize, major, minor, message) => {
    const memory = table(structSize, major, minor);
    const error = refusal(() => new PjrtApi(addressOf(memory), '/some/plugin.so'));
    expect(error.code).toBe('PLUGIN_INCOMPATIBLE');
    expect(error.message).toMatch(message);
    expect(error.message).toContain('/some/plugin.so');
  });

  test('a function that the plugin lacks is UNIMPLEMENTED when called, not a crash', () => {
    const memory = table(fullSize, 0, 116);
    const api = new PjrtApi(addressOf(memory), '/some/plugin.so');
    expect(api.version).toEqual({ major: 0, minor: 116 });
    expect(() => api.call(new NativeStruct('Client_Create'))).toThrow(
      'PJRT_Client_Create: UNIMPLEMENTED: /some/plugin.so does not have it',
    );
  });

  test('a missing file, a file that is no library, a library that is no plugin', () => {
    const folder = mkdtempSync(join(tmpdir(), 'tc-plugin-'));
    try {
      const text = join(folder, 'text.so');
      writeFileSync(text, 'not a library');
      for (const path of [join(folder, 'missing.so'), text, 'libm.so.6']) {
        const error = refusal(() => loadPlugin(path));
        expect(error.code).toBe('PLUGIN_INCOMPATIBLE');
        expect(error.message).toContain(`${path}: expected a PJRT plugin, received: `);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
