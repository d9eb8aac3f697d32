/** `tensor-consensus serve` as users start it: the real engine, a home folder of its own, and settings that do not hold. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { packageRoot } from '../../src/package-root.js';

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'tensor-consensus-home-'));
});

afterEach(() => {
  rmSync(home, { recursive: true });
});

/** Runs until it ends by itself, or is told to stop once it says `until`. */
function serve(flags: readonly string[], until = '"msg":"ready"'): Promise<Ended> {
  const addresses = ['--grpc-address=127.0.0.1:0', '--admin-address=127.0.0.1:0'];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(packageRoot, 'dist/client/cli.js'), 'serve', ...addresses, ...flags], {
      env: { PATH: process.env['PATH'], HOME: home },
    });
    let out = '';
    let err = '';
    let told = false;
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      if (told || !out.includes(until)) return;
      told = true;
      child.kill('SIGTERM');
    });
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.once('close', (code) => resolve({ code, out, err }));
  });
}

test('the engine leaves no device id and no usage data behind', async () => {
  const { code, out, err } = await serve([]);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toContain('"msg":"closed"');
  expect(readdirSync(home)).toEqual([]);
});

test('a signal during the warm-up ends it cleanly', async () => {
  const { code, out, err } = await serve(['--log-level=debug'], '"msg":"warming"');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toContain('"msg":"closed"');
  expect(out).not.toContain('"msg":"ready"');
});

test.each([
  [['--default-policy=nope'], "--default-policy: expected one of distance, reference, received 'nope'"],
  [
    ['--policy-dir=/no/such/folder'],
    '--policy-dir: policy directory /no/such/folder: ENOENT: no such file or directory',
  ],
  [['--onnx-providers=cuda'], '--onnx-providers: the CUDA library of ONNX Runtime is not installed (see the README)'],
])('%j stops it with one line and exit code 2', async (flags, message) => {
  const { code, err } = await serve(flags);
  expect(code).toBe(2);
  expect(err.startsWith(message), err).toBe(true);
  expect(err.trimEnd()).not.toContain('\n');
});

test('without the CUDA library it says so and runs on the CPU', async () => {
  const { code, out, err } = await serve(['--onnx-providers=cuda,cpu']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toContain('is not installed (see the README): running on the CPU');
  expect(out).toContain('"device":"cpu"');
});
