/** Runs Python, which is needed to install a plugin and never after. */
import { spawn } from 'node:child_process';

export interface PythonCall {
  readonly args: readonly string[];
  /** Where Python's temporary files go. */
  readonly temporaryFolder: string;
  readonly signal?: AbortSignal | undefined;
}

export interface PythonEnd {
  /** Null: killed. */
  readonly exitCode: number | null;
  /** Standard output and error together, the last 64 KiB. */
  readonly output: string;
}

/** Rejects where the program cannot be started (ENOENT: there is none) and never for what it answers. */
export type RunPython = (call: PythonCall) => Promise<PythonEnd>;

const keptChars = 65_536;

/**
 * `python3` of the PATH with this environment, so that pip's own settings (index, proxy, certificates) hold. Resolves
 * after the process has ended, also when the signal ended it.
 */
export const runPython: RunPython = ({ args, temporaryFolder, signal }) =>
  new Promise((resolve, reject) => {
    const child = spawn('python3', args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        TMPDIR: temporaryFolder,
        PIP_NO_INPUT: '1',
        PIP_DISABLE_PIP_VERSION_CHECK: '1',
        // Nothing is installed into any Python, so a rule for installs has no say.
        PIP_REQUIRE_VIRTUALENV: '0',
      },
    });
    const stop = (): void => void child.kill('SIGTERM');
    signal?.addEventListener('abort', stop);
    if (signal?.aborted === true) stop();
    let output = '';
    const keep = (chunk: string): void => void (output = (output + chunk).slice(-keptChars));
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    child.once('error', reject);
    child.once('close', (exitCode) => {
      signal?.removeEventListener('abort', stop);
      resolve({ exitCode, output });
    });
  });
