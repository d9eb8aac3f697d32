/** The real `serve` command as a process that scenarios start, kill and start again. */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { serverNodeFlags } from '../../src/node-flags.js';
import { packageRoot } from '../../src/package-root.js';

export interface ServerOptions {
  readonly flags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Before the command: modules to preload, for one. */
  readonly nodeArguments?: readonly string[];
  /** In place of the `serve` command: a module that calls `serve` with parts of its own. */
  readonly entry?: string;
  /** Largest file that the process may write, in bytes; a longer write fails. */
  readonly largestFileBytes?: number;
  /** Default: any free ports. */
  readonly grpcAddress?: string;
}

export interface ChaosServer {
  readonly pid: number;
  readonly grpcAddress: string;
  readonly adminAddress: string;
  /** From the start of the process to its line `ready`. */
  readonly readyMs: number;
  /** Every line of its log so far. */
  readonly log: readonly Readonly<Record<string, unknown>>[];
  /** The exit code, null where a signal ended it. */
  readonly exited: Promise<number | null>;
  kill(signal: NodeJS.Signals): void;
}

const readyLimitMs = 120_000;
const running = new Set<ChaosServer>();

/** Resolves when it is SERVING; rejects with its last words where it ends before. */
export async function startChaosServer(options: ServerOptions = {}): Promise<ChaosServer> {
  const startedMs = performance.now();
  const command = [
    ...serverNodeFlags,
    ...(options.nodeArguments ?? []),
    ...(options.entry === undefined ? [join(packageRoot, 'dist/client/cli.js'), 'serve'] : [options.entry]),
    ...(options.flags ?? []),
  ];
  const limit = options.largestFileBytes;
  // The shell counts in blocks of 512 bytes, and becomes the server.
  const [file, parameters] =
    limit === undefined
      ? [process.execPath, command]
      : ['/bin/sh', ['-c', `ulimit -f ${Math.floor(limit / 512)}; exec "$0" "$@"`, process.execPath, ...command]];
  const child = spawn(file, parameters, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      TC_GRPC_ADDRESS: options.grpcAddress ?? '127.0.0.1:0',
      TC_ADMIN_ADDRESS: '127.0.0.1:0',
      TC_LOG_FORMAT: 'json',
      ...options.environment,
    },
  });
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const killWithParent = (): void => void child.kill('SIGKILL');
  process.once('exit', killWithParent);
  const log: Record<string, unknown>[] = [];
  const errors: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => errors.push(line));
  const ready = new Promise<Record<string, unknown>>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not ready within ${readyLimitMs} ms`)), readyLimitMs);
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = JSON.parse(text) as Record<string, unknown>;
      log.push(line);
      if (line['msg'] !== 'ready') return;
      clearTimeout(timer);
      resolve(line);
    });
    void exited.then((code) => {
      clearTimeout(timer);
      process.removeListener('exit', killWithParent);
      const lastWords = [...errors.slice(-5), JSON.stringify(log.at(-1) ?? null)];
      reject(new Error(`ended with ${String(code)} before it was ready: ${lastWords.join('\n')}`));
    });
  });
  const { grpcAddress, adminAddress } = await ready.catch((error: unknown) => {
    child.kill('SIGKILL');
    throw error;
  });
  const server: ChaosServer = {
    pid: child.pid!,
    grpcAddress: String(grpcAddress),
    adminAddress: String(adminAddress),
    readyMs: performance.now() - startedMs,
    log,
    exited,
    kill: (signal) => void child.kill(signal),
  };
  running.add(server);
  void exited.then(() => running.delete(server));
  return server;
}

/** Kills what scenarios left behind. */
export async function killAll(): Promise<void> {
  const left = [...running];
  for (const server of left) server.kill('SIGKILL');
  await Promise.all(left.map(({ exited }) => exited));
}

/** Values of a metric, summed by one label; '' where it has none. */
export async function metric(server: ChaosServer, name: string, label = ''): Promise<Map<string, number>> {
  const text = await (await fetch(`http://${server.adminAddress}/metrics`)).text();
  const sums = new Map<string, number>();
  for (const line of text.split('\n')) {
    const match = /^([a-z_]+)(\{[^}]*\})? (\S+)$/.exec(line);
    if (match === null || match[1] !== name) continue;
    const key = new RegExp(`[{,]${label}="([^"]*)"`).exec(match[2] ?? '')?.[1] ?? '';
    sums.set(key, (sums.get(key) ?? 0) + Number(match[3]));
  }
  return sums;
}

/** Open files and sockets of the process; null where the system does not tell. */
export function openFiles({ pid }: Pick<ChaosServer, 'pid'>): number | null {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return null;
  }
}
