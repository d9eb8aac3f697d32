import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type InstallOptions, type InstallProgress, installPlugin } from '../../client/plugins/install.js';
import { listPlugins, type Probe } from '../../client/plugins/list.js';
import { pipFailure } from '../../client/plugins/pip-failure.js';
import { progressLines } from '../../client/plugins/progress-lines.js';
import type { PythonCall, PythonEnd } from '../../client/plugins/python.js';
import {
  installedPlugin,
  type KnownPlugin,
  knownPlugins,
  type KnownPlugins,
  type PluginLookup,
} from '../../src/pjrt/plugins.js';

const library = Buffer.from('not really a shared library\n'.repeat(1000));
const host = 'linux-x64';

const plugin: KnownPlugin = {
  distribution: 'xla-cpu-pjrt',
  version: '0.0.1',
  library: 'xla_plugins/xla_cpu_pjrt.so',
  builds: {
    [host]: {
      wheelPlatform: 'manylinux_2_27_x86_64',
      wheelPython: null,
      wheelBytes: 10,
      bytes: library.length,
      sha256: createHash('sha256').update(library).digest('hex'),
    },
  },
};
const tpuBuild = { ...plugin.builds[host]!, wheelPython: { version: '3.11', abi: 'cp311' } };
const known: KnownPlugins = { ...knownPlugins, cpu: plugin, tpu: { ...plugin, builds: { [host]: tpuBuild } } };

let directory: string;
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'tensor-consensus-plugins-'))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A Python whose pip fetches `packed` as the library, and fails as told. */
class FakePython {
  readonly calls: PythonCall[] = [];
  packed: Buffer = library;
  pipEnds: PythonEnd = { exitCode: 0, output: '' };
  unzipEnds: PythonEnd = { exitCode: 0, output: '' };
  wheels = ['xla_cpu_pjrt-0.0.1-py3-none-manylinux_2_27_x86_64.whl'];

  readonly run = (call: PythonCall): Promise<PythonEnd> => {
    this.calls.push(call);
    const { args } = call;
    if (args[1] === 'pip') {
      const destination = args[args.indexOf('--dest') + 1]!;
      for (const wheel of this.wheels) writeFileSync(join(destination, wheel), 'a wheel');
      return Promise.resolve(this.pipEnds);
    }
    const target = join(args.at(-1)!, plugin.library);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, this.packed);
    return Promise.resolve(this.unzipEnds);
  };
}

function options(python: FakePython, more: Partial<InstallOptions> = {}): InstallOptions {
  return { directory, host, known, requirements: '/pinned', runPython: python.run, ...more };
}

const libraryPath = (): string => join(directory, 'cpu', '0.0.1', host, 'xla_cpu_pjrt.so');

describe('installing a plugin', () => {
  it('puts the one library of the wheel into its place and leaves nothing else', async () => {
    const python = new FakePython();
    const installed = await installPlugin('cpu', options(python));
    expect(installed).toEqual({ name: 'cpu', version: '0.0.1', path: libraryPath(), reused: false });
    expect(readFileSync(libraryPath()).equals(library)).toBe(true);
    expect(readdirSync(directory)).toEqual(['cpu']);
    expect(readdirSync(dirname(libraryPath()))).toEqual(['xla_cpu_pjrt.so']);
    expect(installedPlugin('cpu', { directory, host, known })).toEqual({
      name: 'cpu',
      version: '0.0.1',
      path: libraryPath(),
    });
    expect(installedPlugin('tpu', { directory, host, known })).toBeNull();
  });

  it('asks pip for the pinned wheel of the host, by hash and without dependencies', async () => {
    const python = new FakePython();
    await installPlugin('cpu', options(python));
    const args = python.calls[0]!.args;
    expect(args.slice(0, 3)).toEqual(['-m', 'pip', 'download']);
    expect(args).toEqual(expect.arrayContaining(['--no-deps', '--require-hashes', '--only-binary=:all:']));
    expect(args.slice(args.indexOf('--platform'))).toContain('manylinux_2_27_x86_64');
    expect(args.slice(-2)).toEqual(['-r', '/pinned/cpu.txt']);
    expect(args).not.toContain('--python-version');
    expect(python.calls[0]!.temporaryFolder.startsWith(directory)).toBe(true);
  });

  it('asks for the pinned CPython wheel whatever Python runs pip, where wheels differ by CPython', async () => {
    const python = new FakePython();
    await installPlugin('tpu', options(python));
    expect(python.calls[0]!.args.join(' ')).toContain('--implementation cp --python-version 3.11 --abi cp311');
  });

  it('keeps what is installed without a Python', async () => {
    await installPlugin('cpu', options(new FakePython()));
    const second = new FakePython();
    expect(await installPlugin('cpu', options(second))).toMatchObject({ path: libraryPath(), reused: true });
    expect(second.calls).toEqual([]);
  });

  it('replaces a library that was changed or cut off', async () => {
    await installPlugin('cpu', options(new FakePython()));
    const changed = Buffer.from(library);
    changed[17]! ^= 1;
    writeFileSync(libraryPath(), changed);
    expect(await installPlugin('cpu', options(new FakePython()))).toMatchObject({ reused: false });
    expect(readFileSync(libraryPath()).equals(library)).toBe(true);
    truncateSync(libraryPath(), 5);
    expect(installedPlugin('cpu', { directory, host, known })).toBeNull();
    expect(await installPlugin('cpu', options(new FakePython()))).toMatchObject({ reused: false });
  });

  it('refuses a library of another hash, and keeps nothing of it', async () => {
    const python = new FakePython();
    python.packed = Buffer.concat([library.subarray(1), Buffer.from('x')]);
    await expect(installPlugin('cpu', options(python))).rejects.toThrow(
      /^cpu: xla_plugins\/xla_cpu_pjrt\.so of .*\.whl: expected SHA-256 [0-9a-f]{64}, received [0-9a-f]{64}$/,
    );
    expect(readdirSync(directory)).toEqual([]);
  });

  it('says in one line why pip failed, and keeps nothing', async () => {
    const python = new FakePython();
    python.pipEnds = { exitCode: 1, output: 'ERROR: Something new\nmore\n' };
    await expect(installPlugin('cpu', options(python))).rejects.toThrow(/^cpu: pip: Something new$/);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('refuses more than one wheel, none, and one that cannot be unpacked', async () => {
    const several = new FakePython();
    several.wheels = ['a.whl', 'b.whl'];
    await expect(installPlugin('cpu', options(several))).rejects.toThrow(
      'expected one wheel of xla-cpu-pjrt, received 2',
    );
    const none = new FakePython();
    none.wheels = [];
    await expect(installPlugin('cpu', options(none))).rejects.toThrow('expected one wheel of xla-cpu-pjrt, received 0');
    const broken = new FakePython();
    broken.unzipEnds = { exitCode: 1, output: 'Traceback\nzipfile.BadZipFile: Bad magic number\n' };
    await expect(installPlugin('cpu', options(broken))).rejects.toThrow(
      /unpacked: zipfile\.BadZipFile: Bad magic number$/,
    );
  });

  it('says which hosts there are builds for', async () => {
    const python = new FakePython();
    await expect(installPlugin('cpu', options(python, { host: 'darwin-arm64' }))).rejects.toThrow(
      'cpu: there is no build for darwin-arm64, only for linux-x64',
    );
    expect(python.calls).toEqual([]);
  });

  it('says that Python is missing', async () => {
    const runPython = (): Promise<never> =>
      Promise.reject(Object.assign(new Error('spawn python3'), { code: 'ENOENT' }));
    await expect(installPlugin('cpu', options(new FakePython(), { runPython }))).rejects.toThrow(
      /^cpu: python3 is not on the PATH/,
    );
  });

  it('leaves nothing when it is interrupted while pip runs, and rejects with the reason', async () => {
    const interrupt = new AbortController();
    const python = new FakePython();
    const runPython = (call: PythonCall): Promise<PythonEnd> => {
      interrupt.abort(new Error('Ctrl-C'));
      return python.run(call).then(() => ({ exitCode: null, output: '' }));
    };
    const installing = installPlugin('cpu', options(python, { runPython, signal: interrupt.signal }));
    await expect(installing).rejects.toThrow('Ctrl-C');
    expect(readdirSync(directory)).toEqual([]);
  });

  it('gives the same library to installs that run side by side', async () => {
    await Promise.all([1, 2, 3].map(() => installPlugin('cpu', options(new FakePython()))));
    expect(readFileSync(libraryPath()).equals(library)).toBe(true);
    expect(readdirSync(directory)).toEqual(['cpu']);
  });

  it('removes what a killed install left a day ago, and nothing younger', async () => {
    const old = join(directory, '.installing-old');
    const young = join(directory, '.installing-young');
    for (const folder of [old, young]) mkdirSync(folder);
    const longAgo = new Date(Date.now() - 2 * 24 * 60 * 60 * 1000);
    utimesSync(old, longAgo, longAgo);
    await installPlugin('cpu', options(new FakePython()));
    expect([existsSync(old), existsSync(young)]).toEqual([false, true]);
  });

  it('reports each phase up to its end', async () => {
    const seen: InstallProgress[] = [];
    await installPlugin('cpu', options(new FakePython(), { onProgress: (progress) => seen.push(progress) }));
    expect([...new Set(seen.map(({ phase }) => phase))]).toEqual(['download', 'unpack', 'verify']);
    expect(seen.at(-1)).toEqual({ phase: 'verify', doneBytes: library.length, totalBytes: library.length });
    expect(seen.every(({ doneBytes, totalBytes }) => doneBytes <= totalBytes)).toBe(true);
  });
});

describe('listing plugins', () => {
  const lookup = (): PluginLookup => ({ directory, host, known });
  const works: Probe = () => Promise.resolve({ pjrt: '0.81', platform: 'cpu', devices: ['cpu'], why: null });

  it('says where a plugin is and what it can do, or how to get it', async () => {
    await installPlugin('cpu', options(new FakePython()));
    const [cpu, tpu] = await listPlugins(lookup(), works);
    const found = { pjrt: '0.81', platform: 'cpu', devices: ['cpu'], why: null };
    expect(cpu).toEqual({ name: 'cpu', version: '0.0.1', state: 'ready', path: libraryPath(), ...found });
    expect(tpu).toMatchObject({ state: 'missing', why: 'not installed: tensor-consensus plugin install tpu' });
  });

  it('says why a plugin that is installed cannot be used', async () => {
    await installPlugin('cpu', options(new FakePython()));
    const fails: Probe = () => Promise.resolve({ pjrt: null, platform: null, devices: [], why: 'no device' });
    const [cpu] = await listPlugins(lookup(), fails);
    expect(cpu).toMatchObject({ state: 'installed', path: libraryPath(), why: 'no device' });
  });

  it('tells a damaged library, another version and a host without builds apart', async () => {
    const why = async (at: number, more: Partial<PluginLookup> = {}): Promise<string | null> =>
      (await listPlugins({ ...lookup(), ...more }, works))[at]!.why;
    await installPlugin('cpu', options(new FakePython()));
    truncateSync(libraryPath(), 5);
    expect(await why(0)).toMatch(/^damaged, 5 of 28000 bytes: /);
    mkdirSync(join(directory, 'tpu', '0.0.9'), { recursive: true });
    expect(await why(1)).toMatch(/^installed as 0\.0\.9, needed as 0\.0\.1: /);
    expect(await why(0, { host: 'win32-x64' })).toBe('no build for win32-x64, only for linux-x64');
  });
});

describe("pip's failures", () => {
  it.each([
    ['/usr/bin/python3: No module named pip', 'python3 has no pip'],
    [
      'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.',
      'sent another file than the pinned one',
    ],
    [
      "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\nERROR: No matching distribution found for x",
      'cannot be reached',
    ],
    ['ERROR: Could not find a version\nERROR: No matching distribution found for libtpu==0.0.51', 'no such wheel'],
    ['ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED]', 'certificate is not trusted'],
    ['ERROR: HTTP error 403\n403 Client Error: Forbidden for url', 'refused access'],
    ["ProxyError('Cannot connect to proxy.', NewConnectionError('...'))", 'the proxy refused'],
    ['ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device', 'no space left'],
    ['ERROR: first\nERROR: second\n', 'pip: second'],
    ['', 'pip failed and did not say why'],
  ])('are told from its output: %j', (output, told) => {
    expect(pipFailure(output)).toContain(told);
    expect(pipFailure(output)).not.toContain('\n');
  });
});

describe('progress', () => {
  const shown = (isTerminal: boolean): string => {
    let text = '';
    const lines = progressLines('cpu', isTerminal, (part) => (text += part));
    for (const megabytes of [0, 5, 10, 50, 55, 100]) {
      lines.show({ phase: 'download', doneBytes: megabytes * 1e6, totalBytes: 100e6 });
    }
    lines.show({ phase: 'unpack', doneBytes: 0, totalBytes: 200e6 });
    lines.clear();
    return text;
  };

  it('is one rewritten line on a terminal, gone at the end', () => {
    expect(shown(true)).not.toContain('\n');
    expect(shown(true).endsWith('\r\u001b[2K')).toBe(true);
  });

  it('is a few whole lines elsewhere', () => {
    expect(shown(false).split('\n')).toEqual([
      'cpu: downloading 0 of 100 MB (0%)',
      'cpu: downloading 50 of 100 MB (50%)',
      'cpu: downloading 100 of 100 MB (100%)',
      'cpu: unpacking 0 of 200 MB (0%)',
      '',
    ]);
  });
});
