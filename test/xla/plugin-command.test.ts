/** The commands `plugin install` and `plugin list` as processes, with the installed CPU plugin, the real pip, and no network. */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { packageRoot } from '../../src/package-root.js';
import { pluginDirectory } from '../../src/pjrt/plugins.js';

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'tensor-consensus-plugin-command-'))));
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function plugin(argv: readonly string[], env: NodeJS.ProcessEnv = {}, started?: (pid: number) => void): Promise<Ended> {
  return new Promise((resolve) => {
    const cli = join(packageRoot, 'dist/client/cli.js');
    const child = spawn(process.execPath, [cli, 'plugin', ...argv], { env: { ...process.env, ...env } });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.once('close', (code) => resolve({ code, out, err }));
    started?.(child.pid!);
  });
}

/** A folder whose python3 is this shell script. */
function pythonThat(script: string): string {
  const bin = mkdtempSync(join(folder, 'bin-'));
  writeFileSync(join(bin, 'python3'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, 'python3'), 0o755);
  return bin;
}

it('lists the CPU plugin as ready, with its devices and its version of PJRT', async () => {
  const ended = await plugin(['list', '--output', 'json']);
  expect(ended).toMatchObject({ code: 0, err: '' });
  const { plugins } = JSON.parse(ended.out) as { plugins: { name: string; devices: string[] }[] };
  const cpu = plugins.find(({ name }) => name === 'cpu');
  expect(cpu).toMatchObject({ state: 'ready', path: inject('cpuPlugin'), pjrt: '0.81', platform: 'cpu', why: null });
  expect(new Set(cpu?.devices)).toEqual(new Set(['cpu']));
  const table = await plugin(['list', '--output', 'table']);
  expect(table.out).toMatch(/^cpu +0\.0\.1 +ready +0\.81 +cpu +\d+ x cpu /m);
});

it('keeps an installed plugin and sees that it works, without Python', async () => {
  const ended = await plugin(['install', 'cpu'], { PATH: '/nowhere' });
  expect(ended.code).toBe(0);
  expect(ended.out.split('\n')).toEqual([
    `cpu 0.0.1 was already installed: ${inject('cpuPlugin')}`,
    expect.stringMatching(/^cpu 0\.0\.1 ready, PJRT 0\.81, \d+ x cpu$/),
    '',
  ]);
});

it('says in one line that the index has no such wheel, and leaves nothing', async () => {
  const directory = join(folder, 'unreachable');
  // pip itself reads these variables, as it would a configuration file.
  const ended = await plugin(['install', 'cpu', '--plugin-dir', directory], {
    PIP_NO_INDEX: '1',
    PIP_FIND_LINKS: folder,
  });
  expect(ended).toMatchObject({ code: 1, out: '' });
  expect(ended.err).toMatch(/^tensor-consensus: plugin cpu: the package index has no such wheel.*\n$/m);
  expect(readdirSync(directory)).toEqual([]);
});

it('does not take a wheel of another hash', async () => {
  const directory = join(folder, 'other-hash');
  const wheels = join(folder, 'wheels');
  mkdirSync(wheels);
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  writeFileSync(join(wheels, `xla_cpu_pjrt-0.0.1-py3-none-manylinux_2_27_${machine}.whl`), 'not the pinned file');
  const ended = await plugin(['install', 'cpu', '--plugin-dir', directory], {
    PIP_NO_INDEX: '1',
    PIP_FIND_LINKS: wheels,
  });
  expect(ended.code).toBe(1);
  expect(ended.err).toContain('plugin cpu: the package index sent another file than the pinned one');
  expect(readdirSync(directory)).toEqual([]);
});

it('says that Python or its pip is missing', async () => {
  const argv = ['install', 'cpu', '--plugin-dir', join(folder, 'no-python')];
  expect((await plugin(argv, { PATH: '/nowhere' })).err).toContain('plugin cpu: python3 is not on the PATH');
  const bin = pythonThat('echo "$0: No module named pip" >&2; exit 1');
  expect((await plugin(argv, { PATH: `${bin}:/usr/bin:/bin` })).err).toContain('plugin cpu: python3 has no pip');
});

it('ends with 130 at Ctrl-C, stops pip and leaves nothing', async () => {
  const directory = join(folder, 'interrupted');
  const running = join(folder, 'pip-runs');
  const bin = pythonThat(`echo $$ > ${running}; exec sleep 600`);
  let pid = 0;
  const installing = plugin(
    ['install', 'cpu', '--plugin-dir', directory],
    { PATH: `${bin}:/usr/bin:/bin` },
    (started) => (pid = started),
  );
  await expect.poll(() => existsSync(running), { timeout: 20_000 }).toBe(true);
  process.kill(pid, 'SIGINT');
  const ended = await installing;
  expect(ended.code).toBe(130);
  expect(ended.err).toContain('interrupted; nothing of the unfinished install is left');
  expect(readdirSync(directory)).toEqual([]);
});

it('was installed where the server will look for it', () => {
  expect(inject('cpuPlugin').startsWith(pluginDirectory(process.env, homedir()))).toBe(true);
});
