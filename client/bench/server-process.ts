/** Servers as child processes of a benchmark: started on free ports of 127.0.0.1, and ended with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { serverNodeFlags } from '../../src/node-flags.js';
import { packageRoot } from '../../src/package-root.js';
import type { ProbeReading } from './probe.js';

export interface ServerProcess {
  readonly grpcAddress: string;
  /** Empty for the do-nothing server. */
  readonly adminAddress: string;
  readonly pid: number;
  /** From spawning the process to its line that says it serves. */
  readonly startupMs: number;
  /** The probe's reading; its loop delays start anew afterwards. Needs `probe`. */
  read(collectGarbage?: boolean): Promise<ProbeReading>;
  /** SIGTERM, then SIGKILL after 10 s; resolves with the exit code when the process is gone. */
  stop(): Promise<number | null>;
}

interface SpawnOptions {
  /** Of the service; a free port of 127.0.0.1 where left out. */
  readonly grpcAddress?: string;
  /** Preload the probe, which makes `read` work and costs a timer tick each millisecond. */
  readonly probe?: boolean;
  readonly nodeArguments?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

const startLimitMs = 120_000;

/** The service with the given `serve` flags. Rejects with its last words where it ends before it is ready. */
export function startService(flags: readonly string[] = [], options: SpawnOptions = {}): Promise<ServerProcess> {
  const command = join(packageRoot, 'dist/client/cli.js');
  const addresses = ['--grpc-address', options.grpcAddress ?? '127.0.0.1:0', '--admin-address', '127.0.0.1:0'];
  const nodeArguments = [...serverNodeFlags, ...(options.nodeArguments ?? [])];
  return startNode([command, 'serve', ...addresses, ...flags], { ...options, nodeArguments }, (line) => {
    if (line['msg'] !== 'ready') return null;
    return { grpcAddress: String(line['grpcAddress']), adminAddress: String(line['adminAddress']) };
  });
}

/** The do-nothing server, answering with the serialized CoordinateResponse in `answerFile`; over TLS with `certificate`, a file and that of its key. */
export function startNullServer(
  answerFile: string,
  options: SpawnOptions = {},
  certificate: readonly [string, string] | readonly [] = [],
): Promise<ServerProcess> {
  return startNode([compiled('null-server.js'), answerFile, ...certificate], options, addressIn);
}

/** Any other server that prints `{"address": "HOST:PORT"}` when it is ready. */
export function startOther(command: string, parameters: readonly string[]): Promise<ServerProcess> {
  return startProcess(command, parameters, {}, addressIn);
}

function addressIn(line: Record<string, unknown>): Addresses | null {
  return typeof line['address'] === 'string' ? { grpcAddress: line['address'], adminAddress: '' } : null;
}

const settleStepMs = 500;
/** Of one core. */
const restingShare = 0.05;

/** Resolves when the process rests: what it compiles in the background is done. After `limitMs` at the latest. */
export async function settled({ pid }: ServerProcess, limitMs = 60_000): Promise<void> {
  const endMs = performance.now() + limitMs;
  let before = cpuMs(pid);
  while (performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, settleStepMs));
    const now = cpuMs(pid);
    if (before === null || now === null || now - before < settleStepMs * restingShare) return;
    before = now;
  }
}

/** CPU time of a process so far; null where the system has no /proc. */
function cpuMs(pid: number): number | null {
  try {
    // The name may hold spaces; utime and stime are the 12th and 13th fields after it, in ticks of 10 ms.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return null;
  }
}

/** Makes SIGINT and SIGTERM end this process through `exit`, which ends the servers it started. */
export function endChildrenOnSignals(): void {
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));
}

/** A compiled file beside this one. */
export function compiled(fileName: `${string}.js`): string {
  return fileURLToPath(new URL(fileName, import.meta.url));
}

type Addresses = Pick<ServerProcess, 'grpcAddress' | 'adminAddress'>;

function startNode(
  nodeArguments: readonly string[],
  options: SpawnOptions,
  readyIn: (line: Record<string, unknown>) => Addresses | null,
): Promise<ServerProcess> {
  const preload = options.probe === true ? ['--import', new URL('probe.js', import.meta.url).href] : [];
  const parameters = [...(options.nodeArguments ?? []), ...preload, ...nodeArguments];
  return startProcess(process.execPath, parameters, options, readyIn);
}

function startProcess(
  command: string,
  parameters: readonly string[],
  options: SpawnOptions,
  readyIn: (line: Record<string, unknown>) => Addresses | null,
): Promise<ServerProcess> {
  const spawnedMs = performance.now();
  const child = spawn(command, parameters, {
    stdio: options.probe === true ? ['pipe', 'pipe', 'pipe', 'ipc'] : ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', ...options.environment },
  });
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', (code) => resolve(code));
    child.once('error', () => resolve(null)); // the command does not exist
  });
  // A server must not outlive a benchmark that was interrupted.
  const killWithParent = (): void => void child.kill('SIGKILL');
  process.once('exit', killWithParent);
  void exited.then(() => process.removeListener('exit', killWithParent));

  return new Promise((resolve, reject) => {
    const lastWords: string[] = [];
    const remember = (line: string): void => {
      lastWords.push(line);
      if (lastWords.length > 20) lastWords.shift();
    };
    const giveUp = (reason: string): void => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`${command} ${parameters.join(' ')}: ${reason}\n${lastWords.join('\n')}`));
    };
    const timer = setTimeout(() => giveUp(`not ready within ${startLimitMs} ms`), startLimitMs);
    void exited.then((code) => giveUp(`ended with ${String(code)} before it was ready`));
    createInterface({ input: child.stderr! }).on('line', remember);
    createInterface({ input: child.stdout! }).on('line', (text) => {
      remember(text);
      const line = parseLine(text);
      const ready = line === null ? null : readyIn(line);
      if (ready === null) return;
      clearTimeout(timer);
      resolve({
        ...ready,
        pid: child.pid!,
        startupMs: performance.now() - spawnedMs,
        read: (collectGarbage = false) => readProbe(child, collectGarbage),
        stop: () => stopProcess(child, exited),
      });
    });
  });
}

function parseLine(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function readProbe(child: ChildProcess, collectGarbage: boolean): Promise<ProbeReading> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the probe did not answer within 30 s')), 30_000);
    child.once('message', (message) => {
      clearTimeout(timer);
      resolve(message as unknown as ProbeReading);
    });
    child.send(collectGarbage ? 'collect-and-read' : 'read');
  });
}

async function stopProcess(child: ChildProcess, exited: Promise<number | null>): Promise<number | null> {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  const code = await exited;
  clearTimeout(timer);
  return code;
}
