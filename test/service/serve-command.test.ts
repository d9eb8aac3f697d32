/** `tensor-consensus serve` as users start it: the real engine, a home folder of its own, and settings that do not hold. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { packageRoot } from '../../src/package-root.js';
import { rawClient } from './raw-client.js';

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

function spawnServe(flags: readonly string[]): ChildProcess {
  const addresses = ['--grpc-address=127.0.0.1:0', '--admin-address=127.0.0.1:0'];
  return spawn(process.execPath, [join(packageRoot, 'dist/client/cli.js'), 'serve', ...addresses, ...flags], {
    env: { PATH: process.env['PATH'], HOME: home },
  });
}

/** Runs until it ends by itself, or is told to stop once it says `until`. */
function serve(flags: readonly string[], until = '"msg":"ready"'): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawnServe(flags);
    // Behind this process, so that the signal comes soon after the line, whatever else the machine does.
    setPriority(child.pid!, 10);
    let out = '';
    let err = '';
    let told = false;
    child.stdout!.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      if (told || !out.includes(until)) return;
      told = true;
      child.kill('SIGTERM');
    });
    child.stderr!.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.once('close', (code) => resolve({ code, out, err }));
  });
}

test('the engine leaves no device id and no usage data behind', async () => {
  // What it keeps of its own is another matter.
  const { code, out, err } = await serve(['--executable-cache-mb=0']);
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
  [
    ['--pjrt-plugin=/no/such/plugin.so'],
    "--pjrt-plugin: expected a plugin's shared library, received '/no/such/plugin.so', which is no file",
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
  expect(out).toContain(
    '"engine":"onnx cuda","reason":"--onnx-providers: the CUDA library of ONNX Runtime is not installed',
  );
  expect(out).toContain('"device":"cpu"');
});

test.each([
  ['the drain timeout', ['--drain-timeout-ms=0'], 1],
  ['a second signal', [], 2],
] as const)(
  '%s ends it with exit code 1 though the engine is in the middle of a long run',
  async (_, flags, signals) => {
    const child = spawnServe(flags);
    let out = '';
    let err = '';
    child.stdout!.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr!.on('data', (chunk: Buffer) => (err += chunk.toString()));
    const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
    const eventually = { timeout: 60_000 };
    await expect.poll(() => out, eventually).toContain('"msg":"ready"');
    const ready = JSON.parse(out.split('\n').find((line) => line.includes('"ready"'))!) as Record<string, string>;
    const client = rawClient(ready['grpcAddress']!);
    const states = { shape: [2000, 2], data: Buffer.from(new Float32Array(4000).map((_value, i) => i % 977).buffer) };
    // Many seconds of work: the log domain, a thousand times over four million pairs.
    const assignment = { forms: ['TOP_K'], iterations: 1000 };
    const lost = client.coordinate({ agents: states, tasks: states, assignment }).catch((error: unknown) => error);
    const batches = async (): Promise<string> => (await fetch(`http://${ready['adminAddress']}/metrics`)).text();
    await expect.poll(batches, eventually).toContain('coordinate_batch_size_count 1');
    child.kill('SIGTERM');
    await expect.poll(() => out, eventually).toContain('"msg":"draining"');
    if (signals === 2) child.kill('SIGTERM');
    expect(await ended).toEqual({ code: 1, signal: null });
    expect(err).toBe('');
    await lost;
    client.close();
  },
);
