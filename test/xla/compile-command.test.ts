/** The command `compile` as a process: libtpu, a folder, and what goes wrong. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { CompileReport } from '../../client/compile/report.js';
import { packageRoot } from '../../src/package-root.js';

const tpuPlugin = inject('tpuPlugin');

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function compile(argv: readonly string[], seen?: (err: string, pid: number) => void): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(packageRoot, 'dist/client/cli.js'), 'compile', ...argv]);
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString();
      seen?.(err, child.pid!);
    });
    child.once('close', (code) => resolve({ code, out, err }));
  });
}

function reportOf(directory: string): CompileReport {
  return JSON.parse(readFileSync(join(directory, 'report.json'), 'utf8')) as CompileReport;
}

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), 'tensor-consensus-compile-'))));
afterAll(() => rmSync(folder, { recursive: true }));

describe.runIf(tpuPlugin !== null)('compile', () => {
  it('writes text, executable and report of each program, and ends with 0', async () => {
    const directory = join(folder, 'whole');
    const ended = await compile(['--out', directory, '--policy', 'distance', '--buckets', 'b1,n16,m16']);
    expect(ended.err).toContain('compiling 2 programs for 1 x TPU v5 lite');
    expect(ended.err).toMatch(/^\[2\/2\] distance-\w+-b1-n16-m16: [\d.]+ s, XLA estimates [\d.]+ us a run$/m);
    expect(ended.code).toBe(0);
    const names = ['distance-hard-b1-n16-m0', 'distance-topk-b1-n16-m16'];
    const files = names.flatMap((name) => [`${name}.executable`, `${name}.hlo`]);
    expect(readdirSync(directory).sort()).toEqual([...files, 'report.json', 'report.md'].sort());
    expect(readFileSync(join(directory, `${names[1]!}.hlo`), 'utf8')).toMatch(/^module @program \{/);
    const report = reportOf(directory);
    expect(report).toMatchObject({ topology: 'v5e:1x1', device: 'TPU v5 lite', chips: 1, interrupted: false });
    expect(report.programs.map(({ name }) => name)).toEqual(names);
    for (const program of report.programs) {
      expect(program.wholeCost!.seconds).toBeGreaterThan(program.cost.seconds!);
      expect(program.loops!.length).toBeGreaterThan(0);
      expect(readFileSync(join(directory, `${program.name}.executable`)).length).toBe(program.executableBytes);
      expect(readFileSync(join(directory, 'report.md'), 'utf8')).toContain(
        `| ${program.policy} ${program.forms[0]!} |`,
      );
    }
    expect(ended.out.split('\n').filter((line) => line.includes('b1 n16 m'))).toHaveLength(2);
  });

  it('keeps what was compiled when it is interrupted, and ends with 130', async () => {
    const directory = join(folder, 'interrupted');
    let signalled = false;
    const ended = await compile(['--out', directory, '--parallel', '1', '--buckets', 'n16,n1024'], (err, pid) => {
      if (signalled || !err.includes('[1/')) return;
      signalled = true;
      process.kill(pid, 'SIGINT');
    });
    expect(ended.code).toBe(130);
    expect(ended.err).toContain('interrupted; what was compiled is kept');
    const report = reportOf(directory);
    expect(report.interrupted).toBe(true);
    expect(report.programs.length).toBeGreaterThan(0);
    expect(report.failures).toEqual([]);
    for (const { name } of report.programs) expect(existsSync(join(directory, `${name}.executable`))).toBe(true);
  });

  it('says that the topology is unknown, in the words of the plugin', async () => {
    const ended = await compile(['--out', join(folder, 'unknown'), '--topology', 'v5e:nonsense', '--buckets', 'n16']);
    expect(ended).toMatchObject({ code: 1, out: '' });
    expect(ended.err).toMatch(/^tensor-consensus: compile for v5e:nonsense: .*INVALID_ARGUMENT.*\n$/m);
    expect(existsSync(join(folder, 'unknown', 'report.json'))).toBe(false);
  });
});

it('says what to type where the plugin is not installed', async () => {
  const ended = await compile(['--out', join(folder, 'none'), '--plugin-dir', join(folder, 'no-plugins')]);
  expect(ended).toMatchObject({ code: 1, out: '' });
  expect(ended.err).toContain('type: tensor-consensus plugin install tpu');
});

it('says that a file is no plugin', async () => {
  const path = join(folder, 'plugin.so');
  writeFileSync(path, 'no library');
  const ended = await compile(['--out', join(folder, 'no-plugin'), '--pjrt-plugin', path, '--buckets', 'n16']);
  expect(ended).toMatchObject({ code: 1, out: '' });
  expect(ended.err).toContain(`${path}: expected a PJRT plugin`);
});

it.each([
  [['--buckets', 'n16'], '--out: expected a folder'],
  [['--out', 'x', '--policy', 'nobody'], '--policy: policy: expected one of distance, reference, received "nobody"'],
  [
    ['--out', 'x', '--buckets', 'n100'],
    '--buckets: n100: expected one of the sizes that requests are padded to: 16, 32',
  ],
  [['--out', 'x', '--buckets', 'b3,n16'], '--buckets: b3,n16,m16: expected a batch of 1, 2, 4, 8, 16, 32'],
  [['--out', 'x', '--buckets', 'large'], '--buckets: expected default, a size like n128'],
  [['--out', 'x', '--buckets', ''], 'received nothing'],
  [['--out', 'x', '--policy-dir', '/nowhere'], '/nowhere'],
  [['--out', 'x', '--parallel', '0'], '--parallel: expected a whole number from 1 to 16'],
  [['--out', 'x', '--pjrt-plugin', '/nowhere.so'], "--pjrt-plugin: expected a file, received '/nowhere.so'"],
  [['--out', '/dev/null/x', '--pjrt-plugin', join(packageRoot, 'package.json')], '--out: '],
])('refuses %j as wrong use', async (argv, message) => {
  const ended = await compile(argv);
  expect(ended).toMatchObject({ code: 2, out: '' });
  expect(ended.err).toContain(message);
  expect(ended.err.trim().split('\n').at(-1)).toMatch(/^tensor-consensus: /);
});
