/** A replica as a process of its own, that can be killed hard and started again on its port. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '../../src/package-root.js';

/** The real server around a core that takes five milliseconds for every call. */
const fakeCoreProgram = `
import { serve } from ${JSON.stringify(pathToFileURL(join(packageRoot, 'dist/server/main.js')).href)};
const execution = { engine: 'onnx', device: 'fake', bucket: '', batchSize: 1, policyVersion: '', executableFingerprint: '', stages: [] };
const core = {
  engine: 'onnx',
  device: 'fake',
  decode: ({ requestId }) => ({ requestId, outputValues: false, assignment: null }),
  coordinate: ({ requestId }) => new Promise((resolve) =>
    setTimeout(() => resolve({ requestId, resources: null, assignment: null, consensus: null, rejectedAgents: [], tick: null, execution }), 5)),
  listPolicies: () => ({ policies: [] }),
  warmUp: () => Promise.resolve(),
  close: () => Promise.resolve(),
};
process.exit(await serve(process.argv.slice(1), process.env, { createCore: () => Promise.resolve(core) }));
`;

const startLimitMs = 60_000;
const mostStarts = 4;

export class ReplicaProcess {
  readonly #arguments: readonly string[];
  readonly #flags: readonly string[];
  #child: ChildProcess | null = null;
  #address = '127.0.0.1:0';

  private constructor(nodeArguments: readonly string[], flags: readonly string[]) {
    this.#arguments = nodeArguments;
    this.#flags = flags;
  }

  /** Without an engine: serving in half a second. */
  static withFakeCore(flags: readonly string[] = []): ReplicaProcess {
    return new ReplicaProcess(['--input-type=module', '-e', fakeCoreProgram, '--'], flags);
  }

  /** On ONNX Runtime. */
  static real(flags: readonly string[] = []): ReplicaProcess {
    return new ReplicaProcess([join(packageRoot, 'dist/client/cli.js'), 'serve'], ['--engine', 'onnx', ...flags]);
  }

  /** In numbers; the same after every start. */
  get address(): string {
    return this.#address;
  }

  /** Resolves when it serves. Its port may have been taken for a moment, as any other of its kind: then it is tried again. */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#startOnce();
        return;
      } catch (error) {
        if (attempt === mostStarts) throw error;
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
  }

  async #startOnce(): Promise<void> {
    const addresses = ['--grpc-address', this.#address, '--admin-address', '127.0.0.1:0', '--log-format', 'json'];
    const child = spawn(process.execPath, [...this.#arguments, ...addresses, ...this.#flags], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH: process.env['PATH'], ORT_DISABLE_TELEMETRY: '1' },
    });
    this.#child = child;
    this.#address = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the replica did not start')), startLimitMs);
      child.once('exit', (code) => {
        clearTimeout(timer);
        reject(new Error(`the replica ended with ${String(code)} before it served`));
      });
      createInterface({ input: child.stdout }).on('line', (text) => {
        const line = JSON.parse(text) as Readonly<Record<string, unknown>>;
        if (line['msg'] !== 'ready') return;
        clearTimeout(timer);
        resolve(String(line['grpcAddress']));
      });
    });
  }

  /** Resolves with the exit code, null after a kill, when the process is gone. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    const child = this.#child;
    if (child === null) return null;
    this.#child = null;
    const exited = once(child, 'exit');
    child.kill(signal);
    const [code] = (await exited) as [number | null];
    return code;
  }
}
