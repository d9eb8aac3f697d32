import { createHash, randomUUID } from 'node:crypto';
import { appendFile, chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Registry } from 'prom-client';
import { afterAll, describe, expect, it } from 'vitest';
import { ExecutableCache, executableCacheDirectory } from '../../src/engine/executable-cache.js';
import { loweringDigest } from '../../src/engine/lowering-digest.js';
import { pluginDigest } from '../../src/engine/plugin-digest.js';
import { createMetrics } from '../../src/metrics.js';
import { packageRoot } from '../../src/package-root.js';

const scratch: string[] = [];

afterAll(async () => {
  for (const folder of scratch) await rm(folder, { recursive: true, force: true });
});

async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'executables-'));
  scratch.push(made);
  return made;
}

function open(directory: string, limitBytes = 1_000_000) {
  const metrics = createMetrics(new Registry());
  const logged: string[] = [];
  const cache = new ExecutableCache({ directory, limitBytes, metrics, log: (message) => logged.push(message) });
  const results = async (): Promise<Record<string, number>> =>
    Object.fromEntries(
      (await metrics.executableCache.get()).values
        .filter(({ value }) => value > 0)
        .map(({ labels, value }) => [String(labels.result), value]),
    );
  return { cache, logged, results };
}

const keyOf = (text: string): string => createHash('sha256').update(text).digest('hex');
const payloadOf = (length: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (index * 7 + seed) % 251);

describe('executable cache', () => {
  it('gives another process what was written, and nothing under other keys', async () => {
    const directory = join(await folder(), 'made', 'when', 'needed');
    await open(directory).cache.write(keyOf('a'), payloadOf(1000));
    const { cache, results } = open(directory);
    expect(Buffer.from((await cache.read(keyOf('a')))!).equals(payloadOf(1000))).toBe(true);
    expect(await cache.read(keyOf('b'))).toBeNull();
    expect(await results()).toEqual({ disk_hit: 1, disk_miss: 1 });
    expect(await readdir(directory)).toEqual([`${keyOf('a')}.tcx`]);
  });

  it('refuses, deletes and counts a file with any byte changed, cut short or with more at its end', async () => {
    const directory = await folder();
    const { cache, results } = open(directory);
    const path = join(directory, `${keyOf('a')}.tcx`);
    await cache.write(keyOf('a'), payloadOf(40));
    const whole = await readFile(path);
    const broken: Buffer[] = [Buffer.concat([whole, Buffer.alloc(1)])];
    for (let at = 0; at < whole.length; at++) {
      const changed = Buffer.from(whole);
      changed[at] = changed[at]! ^ 0x10;
      broken.push(changed, whole.subarray(0, at));
    }
    for (const file of broken) {
      await writeFile(path, file);
      expect(await cache.read(keyOf('a'))).toBeNull();
      expect(await readdir(directory)).toEqual([]);
    }
    expect(await results()).toEqual({ disk_refused: broken.length });
    await writeFile(path, whole);
    expect(await cache.read(keyOf('a'))).toHaveLength(40);
  });

  it('refuses a whole file that stands under the name of another key', async () => {
    const directory = await folder();
    const { cache, results, logged } = open(directory);
    await cache.write(keyOf('a'), payloadOf(40));
    await writeFile(join(directory, `${keyOf('b')}.tcx`), await readFile(join(directory, `${keyOf('a')}.tcx`)));
    expect(await cache.read(keyOf('b'))).toBeNull();
    expect(await results()).toEqual({ disk_refused: 1 });
    expect(logged).toHaveLength(1);
    expect(await cache.read(keyOf('a'))).toHaveLength(40);
  });

  it('stays within its limit: what was not used for longest goes, what was read last stays', async () => {
    const directory = await folder();
    const { cache } = open(directory, 10_000);
    for (let index = 0; index < 8; index++) {
      await cache.write(keyOf(`${index}`), payloadOf(1000));
      const used = new Date(1_700_000_000_000 + index * 1000);
      await utimes(join(directory, `${keyOf(`${index}`)}.tcx`), used, used);
    }
    await cache.read(keyOf('0'));
    await expect.poll(() => readdir(directory)).toHaveLength(8);
    for (let index = 8; index < 12; index++) await cache.write(keyOf(`${index}`), payloadOf(1000));
    const left = new Set(await readdir(directory));
    const has = (index: number): boolean => left.has(`${keyOf(`${index}`)}.tcx`);
    expect(left.size).toBe(9); // each takes 1080 bytes
    expect([has(0), has(1), has(2), has(3), has(4)]).toEqual([true, false, false, false, true]);
    expect(has(11)).toBe(true);
    await cache.write(keyOf('too large'), payloadOf(10_001));
    expect(await cache.read(keyOf('too large'))).toBeNull();
  });

  it('holds whole entries however many processes write the same and other keys', async () => {
    const directory = await folder();
    const writers = Array.from({ length: 6 }, () => open(directory).cache);
    const work = writers.flatMap((cache, writer) =>
      Array.from({ length: 10 }, async (_, index) => {
        const key = keyOf(`${index % 5}`);
        await cache.write(key, payloadOf(20_000, index % 5));
        const found = await writers[(writer + 1) % writers.length]!.read(key);
        expect(Buffer.from(found!).equals(payloadOf(20_000, index % 5))).toBe(true);
      }),
    );
    await Promise.all(work);
    expect(await readdir(directory)).toHaveLength(5);
  });

  it('warns once where nothing can be written, and once where nothing can be read, and goes on', async () => {
    const blocked = join(await folder(), 'file');
    await writeFile(blocked, 'not a folder');
    const { cache, logged, results } = open(join(blocked, 'cache'));
    for (let index = 0; index < 3; index++) {
      await cache.write(keyOf('a'), payloadOf(10));
      expect(await cache.read(keyOf('a'))).toBeNull();
    }
    expect(logged).toEqual([
      expect.stringContaining('cannot be written') as string,
      expect.stringContaining('cannot be read') as string,
    ]);
    expect(await results()).toEqual({ disk_miss: 3 });
  });

  it('reads from a folder that it may not write to', async () => {
    const directory = await folder();
    await open(directory).cache.write(keyOf('a'), payloadOf(10));
    await chmod(directory, 0o500);
    const { cache, logged } = open(directory);
    expect(await cache.read(keyOf('a'))).toHaveLength(10);
    await cache.write(keyOf('b'), payloadOf(10));
    await chmod(directory, 0o700);
    // The superuser may write everywhere.
    const written = (await readdir(directory)).includes(`${keyOf('b')}.tcx`);
    expect(logged).toHaveLength(written ? 0 : 1);
  });

  it('removes what a process left half written, once it is old, and nothing that is not its own', async () => {
    const directory = await folder();
    const [old, fresh] = [`${randomUUID()}.tmp`, `${randomUUID()}.tmp`];
    for (const name of [old, fresh, 'notes.tmp', 'notes.tcx']) await writeFile(join(directory, name), 'half');
    for (const name of [old, 'notes.tmp', 'notes.tcx']) await utimes(join(directory, name), 1, 1);
    await open(directory).cache.write(keyOf('a'), payloadOf(10));
    expect((await readdir(directory)).sort()).toEqual([`${keyOf('a')}.tcx`, fresh, 'notes.tmp', 'notes.tcx'].sort());
  });

  it('lies in the cache folder of the user, and ignores a relative one', () => {
    expect(executableCacheDirectory({}, '/home/a')).toBe('/home/a/.cache/tensor-consensus/executables');
    expect(executableCacheDirectory({ XDG_CACHE_HOME: '/c' }, '/home/a')).toBe('/c/tensor-consensus/executables');
    expect(executableCacheDirectory({ XDG_CACHE_HOME: 'c' }, '/home/a')).toBe(
      '/home/a/.cache/tensor-consensus/executables',
    );
  });
});

describe('what an executable was made with', () => {
  it("is the plugin's content: remembered for the file as it stands, hashed again when it changed", async () => {
    const directory = await folder();
    const path = join(directory, 'plugin.so');
    const { cache, results } = open(join(directory, 'cache'));
    await writeFile(path, 'build 1');
    const first = await pluginDigest(path, cache);
    expect(first).toBe(keyOf('build 1'));
    expect(await pluginDigest(path, cache)).toBe(first);
    expect(await readdir(join(directory, 'cache'))).toHaveLength(1);
    await writeFile(path, 'build 2');
    expect(await pluginDigest(path, cache)).toBe(keyOf('build 2'));
    expect(await results(), 'the metric counts executables only').toEqual({});
  });

  it('is the code that lowers, with everything that it imports, and nothing else', async () => {
    const directory = await folder();
    await mkdir(join(directory, 'rules'));
    const write = (name: string, code: string) => writeFile(join(directory, name), code);
    await write('entry.js', "import { a } from './rules/a.js';\nexport const entry = a;\n");
    await write('rules/a.js', "export { b as a } from '../b.js';\n");
    await write('b.js', 'export const b = 1;\n');
    await write('other.js', 'export const other = 1;\n');
    const entry = pathToFileURL(join(directory, 'entry.js'));
    const first = loweringDigest(entry);
    await write('other.js', 'export const other = 2;\n');
    expect(loweringDigest(entry)).toBe(first);
    await write('b.js', 'export const b = 2;\n');
    expect(loweringDigest(entry)).not.toBe(first);
    await rm(join(directory, 'b.js'));
    expect(() => loweringDigest(entry)).toThrow('ENOENT');
  });

  it('changes with the operators and with the rules that lower them, as they are compiled', async () => {
    const copy = await folder();
    await cp(join(packageRoot, 'dist', 'src'), copy, { recursive: true });
    const entry = pathToFileURL(join(copy, 'engine', 'lowering-worker.js'));
    const seen = new Set([loweringDigest(entry)]);
    const files = [
      'operators/consensus.js',
      'operators/signature.js',
      'compiler/stablehlo-rules.js',
      'compiler/trace.js',
    ];
    for (const file of files) {
      await appendFile(join(copy, file), '// changed');
      seen.add(loweringDigest(entry));
    }
    expect(seen.size).toBe(1 + files.length);
  });
});
