/** The priority of a process that starts, and of one that serves, each in a process of its own. */
import { execFileSync, spawn } from 'node:child_process';
import { getPriority, platform } from 'node:os';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.js';

const file = (path: string): string => join(packageRoot, 'dist', path);

/** Niceness of each thread before, while and after the process yields, and of one that was started meanwhile and moved to 10. */
const script = `
  import { readdirSync } from 'node:fs';
  import { getPriority, setPriority } from 'node:os';
  import { Worker } from 'node:worker_threads';
  import { yieldWhileStarting, endYielding } from ${JSON.stringify(file('server/start-priority.js'))};
  const threads = () => readdirSync('/proc/self/task').map((thread) => getPriority(Number(thread)));
  const own = getPriority();
  let allowed = false;
  try { setPriority(own - 1); setPriority(own); allowed = true; } catch {}
  const before = threads();
  yieldWhileStarting();
  const during = threads();
  const code = 'import { setPriority } from "node:os"; import { parentPort } from "node:worker_threads"; setPriority(10); parentPort.on("message", () => {}); parentPort.postMessage(0);';
  const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(code)));
  await new Promise((resolve) => worker.once('message', resolve));
  const late = threads();
  endYielding();
  const after = threads();
  endYielding();
  console.log(JSON.stringify({ own, allowed, before, during, late, after, again: threads() }));
  process.exit(0);
`;

interface Seen {
  readonly own: number;
  readonly allowed: boolean;
  readonly before: readonly number[];
  readonly during: readonly number[];
  readonly late: readonly number[];
  readonly after: readonly number[];
  readonly again: readonly number[];
}

describe.runIf(platform() === 'linux')('priority of a start', () => {
  it('is behind all who serve where the process may come back, and its own again afterwards; threads that chose theirs keep it', () => {
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    const { own, allowed, before, during, late, after, again } = JSON.parse(out) as Seen;
    const others = (niceness: readonly number[]): Set<number> => new Set(niceness.filter((value) => value !== 10));
    const yielded = allowed && own < 12 ? 12 : own;
    expect(new Set(before)).toEqual(new Set([own]));
    expect(new Set(during)).toEqual(new Set([yielded]));
    expect(late).toContain(10);
    for (const seen of [after, again]) {
      expect(seen).toContain(10);
      expect(others(seen)).toEqual(others([own]));
    }
  });

  it('is over once the server serves', async () => {
    const child = spawn(process.execPath, [
      file('client/cli.js'),
      'serve',
      '--engine=onnx',
      '--grpc-address=127.0.0.1:0',
      '--admin-address=127.0.0.1:0',
    ]);
    try {
      const lines = createInterface({ input: child.stdout });
      await new Promise<void>((resolve) => lines.on('line', (line) => line.includes('"msg":"ready"') && resolve()));
      await expect.poll(() => getPriority(child.pid)).toBe(getPriority());
    } finally {
      child.kill('SIGKILL');
    }
  }, 120_000);
});
