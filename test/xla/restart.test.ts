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

interface Served {
  readonly child: ChildProcess;
  readonly grpcAddress: string;
  readonly adminAddress: string;
  /** From the start of the process. */
  readonly readyMs: number;
  /** What it found on disk until it was SERVING. */
  readonly results: Readonly<Record<string, number>>;
  /** See `answerOf`. */
  readonly answer: string;
}

/** Resolves when the server is SERVING. */
async function serve(): Promise<Served> {
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
    const addresses = { grpcAddress: grpcAddress!, adminAddress: adminAddress! };
    const results = await diskResults(addresses.adminAddress);
    return { child, ...addresses, readyMs, results, answer: await answerOf(addresses.grpcAddress) };
  }
  throw new Error(`the server ended before it was ready: ${lines.join('\n')}`);
}

async function withClient<T>(address: string, use: (client: CoordinatorClient) => Promise<T>): Promise<T> {
  const client = new CoordinatorClient(address, { deadlineMs: 60_000 });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

const states = Float32Array.from({ length: 100 }, (_, index) => Math.sin(index));
const problem = {
  agents: { data: states, shape: [50, 2] },
  tasks: { data: states.slice().reverse(), shape: [50, 2] },
};

/** What a caller gets for one problem, bit for bit, and which program gave it. */
function answerOf(address: string): Promise<string> {
  return withClient(address, async (client) => {
    const { assignment, consensus, execution } = await client.coordinate(problem);
    const { engine, executableFingerprint } = execution!;
    const weights = Array.from(consensus!.weights.data);
    return JSON.stringify([engine, executableFingerprint, Array.from(assignment!.taskOfAgent), weights]);
  });
}

/** Look-ups of executables on disk so far. */
async function diskResults(adminAddress: string): Promise<Record<string, number>> {
  const text = await (await fetch(`http://${adminAddress}/metrics`)).text();
  const found = text.matchAll(/^coordinate_executable_cache_total\{result="(disk_\w+)"\} ([1-9]\d*)$/gm);
  return Object.fromEntries(Array.from(found, ([, result, count]) => [result!, Number(count)]));
}

async function cached(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.endsWith('.tcx')).map((name) => join(folder, name));
}

it('serves from the cache after it was killed: compiles nothing, answers with the same bits, and knows what was used', async () => {
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

  // A program outside the warm set; the fourth start loads it before anybody asks.
  await withClient(third.grpcAddress, (client) => client.coordinate({ ...problem, assignment: { forms: ['PLAN'] } }));
  expect(await diskResults(third.adminAddress)).toMatchObject({ disk_miss: 1 });
  const ended = once(third.child, 'close');
  third.child.kill('SIGTERM');
  await ended;
  const fourth = await serve();
  expect(fourth.answer).toBe(first.answer);
  await expect.poll(() => diskResults(fourth.adminAddress), { timeout: 20_000 }).toEqual({ disk_hit: programs + 1 });
}, 300_000);
