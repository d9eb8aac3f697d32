/** A server that dies without a word and is started again, as whatever looks after it does: real processes, one cache folder. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, expect, inject, it } from 'vitest';
import { CoordinatorClient } from '../../client/client.js';
import { packageRoot } from '../../src/package-root.js';

let folder = '';
const running: ChildProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'restart-'));
});

afterEach(async () => {
  await Promise.all(running.splice(0).map(kill));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'close');
  child.kill('SIGKILL');
  await ended;
}

/** Resolves when the server is SERVING. */
async function serve(): Promise<{
  child: ChildProcess;
  readyMs: number;
  results: Record<string, number>;
  answer: string;
}> {
  const startedMs = performance.now();
  const child = spawn(
    process.execPath,
    [
      join(packageRoot, 'dist', 'client', 'cli.js'),
      'serve',
      '--engine',
      'xla',
      '--max-batch',
      '1',
      '--log-format',
      'json',
    ],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        PATH: process.env['PATH'],
        TC_GRPC_ADDRESS: '127.0.0.1:0',
        TC_ADMIN_ADDRESS: '127.0.0.1:0',
        TC_PJRT_PLUGIN: inject('cpuPlugin'),
        TC_EXECUTABLE_CACHE_DIR: folder,
      },
    },
  );
  running.push(child);
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    const { msg, grpcAddress, adminAddress } = JSON.parse(line) as Record<string, string>;
    if (msg !== 'ready') continue;
    const readyMs = performance.now() - startedMs;
    const text = await (await fetch(`http://${adminAddress!}/metrics`)).text();
    const found = text.matchAll(/^coordinate_executable_cache_total\{result="(disk_\w+)"\} (\d+)$/gm);
    const results = Object.fromEntries(Array.from(found, ([, result, count]) => [result!, Number(count)]));
    return { child, readyMs, results, answer: await answerOf(grpcAddress!) };
  }
  throw new Error(`the server ended before it was ready: ${lines.join('\n')}`);
}

/** What a caller gets for one problem, bit for bit, and which program gave it. */
async function answerOf(address: string): Promise<string> {
  const client = new CoordinatorClient(address, { deadlineMs: 30_000 });
  try {
    const states = Float32Array.from({ length: 100 }, (_, index) => Math.sin(index));
    const { assignment, consensus, execution } = await client.coordinate({
      agents: { data: states, shape: [50, 2] },
      tasks: { data: states.slice().reverse(), shape: [50, 2] },
    });
    const { engine, executableFingerprint } = execution!;
    const weights = consensus!.weights.data;
    return JSON.stringify([engine, executableFingerprint, Array.from(assignment!.taskOfAgent), Array.from(weights)]);
  } finally {
    client.close();
  }
}

async function cached(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.endsWith('.tcx')).map((name) => join(folder, name));
}

it('serves from the cache after it was killed: compiles nothing, and answers with the same bits', async () => {
  const first = await serve();
  const programs = first.results['disk_miss']!;
  expect(first.results).toEqual({ disk_miss: programs });
  expect(programs).toBeGreaterThanOrEqual(8);
  // One file a program, and one that remembers the plugin's hash.
  await expect.poll(async () => (await cached()).length, { timeout: 20_000 }).toBe(programs + 1);
  await kill(first.child);

  const second = await serve();
  expect(second.results).toEqual({ disk_hit: programs });
  expect(second.answer).toBe(first.answer);
  await kill(second.child);
  console.log(`SERVING after ${Math.round(first.readyMs)} ms, and ${Math.round(second.readyMs)} ms once killed`);

  const sizes = await Promise.all((await cached()).map(async (path) => ({ path, bytes: (await stat(path)).size })));
  const largest = sizes.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  await appendFile(largest.path, 'x');
  const third = await serve();
  expect(third.results).toEqual({ disk_hit: programs - 1, disk_refused: 1 });
  expect(third.answer).toBe(first.answer);
}, 300_000);
