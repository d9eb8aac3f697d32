/** Runs the process that compiles, and collects what it tells. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { aheadOfTimeEnvironment } from '../../src/pjrt/topology.js';
import { workerUrl } from '../../src/worker-url.js';
import type { CompiledFacts, CompileMessage, CompileTask } from './messages.js';

export interface CompileFailure {
  readonly name: string;
  readonly why: string;
}

export interface CompileOutcome {
  /** Null where the plugin refused before it named its devices. */
  readonly devices: { readonly platformVersion: string; readonly kinds: readonly string[] } | null;
  /** In the order in which they finished. */
  readonly compiled: readonly CompiledFacts[];
  readonly failed: readonly CompileFailure[];
  /** Why nothing could be compiled: the plugin or the topology was refused. */
  readonly refused: string | null;
}

export interface CompilerEvents {
  readonly onDevices?: (kinds: readonly string[]) => void;
  readonly onCompiled?: (facts: CompiledFacts) => void;
  readonly onFailed?: (failure: CompileFailure) => void;
}

/** What is kept of the plugin's own complaints, for when its process ends early. */
const keptComplaint = 600;

/** Resolves when the process has ended, also where `signal` or a crash ended it: with what it told until then. Does not reject. */
export function runCompiler(task: CompileTask, events: CompilerEvents, signal: AbortSignal): Promise<CompileOutcome> {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(workerUrl(import.meta.url, 'compile-process.js')), [], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      execArgv: [],
      env: { ...process.env, ...aheadOfTimeEnvironment },
    });
    let devices: CompileOutcome['devices'] = null;
    let refused: string | null = null;
    let complaint = '';
    const compiled: CompiledFacts[] = [];
    const failed: CompileFailure[] = [];
    const underWay = new Set<string>();
    const fail = (failure: CompileFailure): void => {
      underWay.delete(failure.name);
      failed.push(failure);
      events.onFailed?.(failure);
    };
    child.on('message', (message) => {
      const told = message as CompileMessage;
      switch (told.kind) {
        case 'topology':
          devices = { platformVersion: told.platformVersion, kinds: told.devices };
          events.onDevices?.(told.devices);
          return;
        case 'refused':
          refused = told.why;
          return;
        case 'started':
          underWay.add(told.name);
          return;
        case 'compiled':
          underWay.delete(told.facts.name);
          compiled.push(told.facts);
          events.onCompiled?.(told.facts);
          return;
        case 'failed':
          fail({ name: told.name, why: told.why });
          return;
      }
    });
    child.stderr?.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-keptComplaint)));
    const stop = (): void => void child.kill('SIGKILL');
    signal.addEventListener('abort', stop, { once: true });
    let ended = false;
    const end = (how: string): void => {
      if (ended) return;
      ended = true;
      signal.removeEventListener('abort', stop);
      if (!signal.aborted) {
        const why = [how, complaint.trim()].filter((part) => part !== '').join(': ');
        for (const name of [...underWay]) fail({ name, why });
        const told = devices !== null || refused !== null;
        if (!told) refused = why;
      }
      resolve({ devices, compiled, failed, refused });
    };
    child.once('error', (error) => end(error.message));
    child.once('close', (code, by) => end(`the compiler's process ended (${by ?? `exit code ${code ?? '?'}`})`));
    if (signal.aborted) stop();
    else child.send(task);
  });
}
