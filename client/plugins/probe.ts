/** Whether a plugin works on this host: loaded in a process of its own, so that it may hang or crash. */
import { fork } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { PluginName } from '../../src/pjrt/plugins.js';
import { workerUrl } from '../../src/worker-url.js';

export type ProbeMessage =
  | { readonly kind: 'version'; readonly pjrt: string }
  | { readonly kind: 'devices'; readonly platform: string; readonly devices: readonly string[] }
  | { readonly kind: 'failed'; readonly why: string };

export interface ProbedPlugin {
  /** `0.81`; null where it could not be loaded. */
  readonly pjrt: string | null;
  readonly platform: string | null;
  /** The kind of each device of this host. */
  readonly devices: readonly string[];
  /** Why it cannot be used; null: it can. */
  readonly why: string | null;
}

export interface ProbeOptions {
  readonly timeoutMs: number;
  /** Entry file of the process; for tests. */
  readonly processFile?: string;
  readonly hasTpu?: boolean;
}

/** TPU chips are character devices: accel0 to accel3, or numbered groups of vfio. */
function hostHasTpu(): boolean {
  const named = (folder: string, pattern: RegExp): boolean => {
    try {
      return readdirSync(folder).some((entry) => pattern.test(entry));
    } catch {
      return false;
    }
  };
  return named('/dev', /^accel\d+$/) || named('/dev/vfio', /^\d+$/);
}

export function probePlugin(name: PluginName, path: string, options: ProbeOptions): Promise<ProbedPlugin> {
  const { timeoutMs, processFile = fileURLToPath(workerUrl(import.meta.url, 'probe-process.js')) } = options;
  const withoutChip = name === 'tpu' && !(options.hasTpu ?? hostHasTpu());
  return new Promise((resolve) => {
    const child = fork(processFile, [path, withoutChip ? 'version' : 'devices'], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      execArgv: [],
      env: {
        ...process.env,
        TF_CPP_MIN_LOG_LEVEL: '3',
        // Without a chip libtpu would ask a metadata server for minutes and leave a lock file; with one it needs both.
        ...(withoutChip ? { TPU_SKIP_MDS_QUERY: '1', ALLOW_MULTIPLE_LIBTPU_LOAD: '1' } : {}),
      },
    });
    let pjrt: string | null = null;
    let platform: string | null = null;
    let devices: readonly string[] = [];
    let failure: string | null = null;
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.on('message', (message) => {
      const told = message as ProbeMessage;
      if (told.kind === 'version') pjrt = told.pjrt;
      else if (told.kind === 'devices') ({ platform, devices } = told);
      else failure = told.why;
    });
    let ended = false;
    const end = (exit: string): void => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      const complete = platform !== null || (withoutChip && pjrt !== null);
      const why = failure ?? (complete ? null : timedOut ? `no answer within ${timeoutMs / 1000} s` : exit);
      const noChip = why === null && withoutChip ? 'no TPU on this host; it can compile for one' : why;
      resolve({ pjrt, platform, devices, why: noChip?.replace(/\s*\n\s*/g, ' ') ?? null });
    };
    child.once('error', (error) => end(error.message));
    child.once('close', (code, signal) =>
      end(`loading it ended the process (${signal ?? `exit code ${code ?? '?'}`})`),
    );
  });
}
