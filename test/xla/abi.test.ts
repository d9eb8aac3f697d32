/** Our table of facts against what plugins say of themselves. */
import { expect, inject, test } from 'vitest';
import { apiFunctions, fieldBytes, structs, type CallName, type FieldKind } from '../../src/pjrt/abi.js';
import { PjrtError, type PjrtApi } from '../../src/pjrt/call.js';
import { koffi } from '../../src/pjrt/ffi.js';
import { loadPlugin } from '../../src/pjrt/library.js';
import { NativeStruct } from '../../src/pjrt/native-memory.js';
import { aheadOfTimeEnvironment } from '../../src/pjrt/topology.js';

Object.assign(process.env, aheadOfTimeEnvironment);

/** Functions that check no size, that do nothing with a null object, or that this platform answers with UNIMPLEMENTED before it looks. */
const unchecked = /^Error_|_Destroy$/;

/** `struct_size` that the plugin wants, by its refusal of a struct of one byte; null where it does not look. */
function sizeWanted(api: PjrtApi, name: CallName): number | null {
  const args = new NativeStruct(name, 0);
  koffi.encode(args.address, 'uint64_t', 1);
  try {
    api.call(args);
  } catch (error) {
    if (!(error instanceof PjrtError)) throw error;
    const found = /expected (\d+), got 1/.exec(error.message);
    return found === null ? null : Number(found[1]);
  }
  throw new Error(`${name} took a struct of one byte`);
}

const plugins = [inject('cpuPlugin'), inject('tpuPlugin')].filter((path) => path !== null);

test.each(plugins)('every struct size that %s asks for is the end of a field of ours', (path) => {
  const api = loadPlugin(path);
  const names = Object.keys(structs).filter((name): name is CallName =>
    (apiFunctions as readonly string[]).includes(name),
  );
  let checked = 0;
  for (const name of names) {
    if (unchecked.test(name)) continue;
    const wanted = sizeWanted(api, name);
    if (wanted === null) continue;
    const { offsets, kinds, newestSize } = structs[name];
    const ends = Object.entries(offsets).map(
      ([field, offset]) => offset + fieldBytes[(kinds as Record<string, FieldKind>)[field]!],
    );
    expect([16, ...ends], `${name}: ${wanted}`).toContain(wanted);
    expect(newestSize, name).toBeGreaterThanOrEqual(wanted);
    checked++;
  }
  expect(checked).toBeGreaterThan(25);
});
