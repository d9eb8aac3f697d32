/** The demo as a process: with a server of its own, with a running one, without any, and interrupted. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.js';

const eventually = { timeout: 60_000 };

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** `atLine`: called with every line of standard output and a way to send a signal. */
function demo(
  argv: readonly string[],
  atLine: (line: string, kill: (signal: NodeJS.Signals) => void) => void = () => undefined,
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(packageRoot, 'dist/client/cli.js'), 'demo', ...argv], {
      // Whatever plugins are installed.
      env: { ...process.env, TC_ENGINE: 'onnx' },
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      for (const line of chunk.toString().split('\n')) atLine(line, (signal) => child.kill(signal));
    });
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.once('close', (code) => resolve({ code, out, err }));
  });
}

function serverAddress(out: string): string {
  return /serving on (\S+) after/.exec(out)?.[1] ?? '';
}

it('runs a swarm against a server of its own, answers every call and says so', async () => {
  const { code, out, err } = await demo(['--seconds', '4', '--agents', '60', '--sites', '25', '--seed', '3']);
  expect(err).toBe('');
  expect(out).toContain('ok      every call answered: 40 of 40');
  expect(out).toContain('ok      certified gap: worst 0.0000 %');
  expect(out).toContain('ok      server stopped cleanly: exit code 0');
  expect(out.match(/of 25 served/g)?.length).toBeGreaterThanOrEqual(4);
  // No escape codes where there is no terminal.
  expect(out).not.toContain('\x1b');
  expect(out).toMatch(/all checks passed\n$/);
  expect(code).toBe(0);
});

it('uses a running server and leaves it running', async () => {
  let address = '';
  let stopOuter = (): void => undefined;
  let ticksAfter = 0;
  const state = { innerEnded: false };
  const outer = demo(['--seconds', '600', '--agents', '20', '--sites', '10'], (line, kill) => {
    address ||= serverAddress(line);
    stopOuter = () => kill('SIGINT');
    if (state.innerEnded && /\d+ \/ 6000 s/.test(line)) ticksAfter++;
  });
  await expect.poll(() => address, eventually).not.toBe('');
  const inner = await demo(['--seconds', '1', '--agents', '20', '--sites', '10', '--address', address]);
  expect(inner.err).toBe('');
  expect(inner.out).toContain('every call answered: 10 of 10');
  expect(inner.out).not.toContain('server stopped');
  expect(inner.code).toBe(0);
  state.innerEnded = true;
  // The other swarm goes on with the server that was left running.
  await expect.poll(() => ticksAfter, eventually).toBeGreaterThan(1);
  stopOuter();
  expect((await outer).code).toBe(130);
});

it('exits with 3 and one line where no server is', async () => {
  const { code, err } = await demo(['--address', '127.0.0.1:1']);
  expect(code).toBe(3);
  expect(err).toMatch(/^127\.0\.0\.1:1 is not ready after 5000 ms .*\n$/);
});

it('stops its server and exits with 130 when it is interrupted', async () => {
  const { code, out } = await demo(['--seconds', '30', '--agents', '20', '--sites', '10'], (line, kill) => {
    if (line.includes('20 / 300 s')) kill('SIGINT');
  });
  expect(code).toBe(130);
  expect(out).toContain('interrupted');
  await expect(fetch(`http://${serverAddress(out)}/`)).rejects.toThrow();
});
