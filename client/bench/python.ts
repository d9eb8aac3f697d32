/** Scripts to compare with that run in a Python which has what they need; without one they are left out, in words. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { packageRoot } from '../../src/package-root.js';

const run = promisify(execFile);

/** Path of a script under test/bench; those are in the repository, not in the published package. */
export function benchScript(name: string): string {
  return join(packageRoot, 'test', 'bench', name);
}

/** Prints which of its arguments are not installed, as pip names them. */
const findMissing = `
import importlib.metadata as metadata, sys
def missing(name):
    try: metadata.version(name)
    except metadata.PackageNotFoundError: return True
print(*filter(missing, sys.argv[1:]), sep=", ")`;

/** Null where `python` can run the script; else why not, as the rest of a sentence. */
export async function whyNoPython(python: string, script: string, packages: readonly string[]): Promise<string | null> {
  if (!existsSync(script)) return `there is no ${script}`;
  try {
    const { stdout } = await run(python, ['-c', findMissing, ...packages]);
    const missing = stdout.trim();
    return missing === ''
      ? null
      : `${python} lacks ${missing} (name another Python with --python or TC_BENCH_PYTHON; \`pip install ${packages.join(' ')}\`)`;
  } catch (error) {
    return `${python} does not run: ${error instanceof Error ? error.message.split('\n')[0]! : String(error)}`;
  }
}

/** A script that answers each JSON line with one JSON line, one command at a time. */
export class PythonProcess {
  readonly #child: ChildProcess;
  readonly #answers: ((line: string | null) => void)[] = [];
  readonly #lines: string[] = [];
  readonly #lastWords: string[] = [];
  readonly #killWithParent = (): void => void this.#child.kill('SIGKILL');
  #ended = false;

  constructor(python: string, parameters: readonly string[]) {
    this.#child = spawn(python, [...parameters], { stdio: ['pipe', 'pipe', 'pipe'] });
    process.once('exit', this.#killWithParent);
    this.#child.once('error', (error) => this.#lastWords.push(error.message));
    this.#child.once('close', () => {
      this.#ended = true;
      process.removeListener('exit', this.#killWithParent);
      for (const answer of this.#answers.splice(0)) answer(null);
    });
    this.#child.stdin!.on('error', () => undefined); // the script ended; whoever waits for an answer is told
    createInterface({ input: this.#child.stderr! }).on('line', (line) => {
      this.#lastWords.push(line);
      if (this.#lastWords.length > 20) this.#lastWords.shift();
    });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const waiting = this.#answers.shift();
      if (waiting === undefined) this.#lines.push(line);
      else waiting(line);
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The next line that the script prints. Rejects with its last words where it ended. */
  async read<T>(): Promise<T> {
    const line = this.#lines.shift() ?? (await this.#nextLine());
    if (line === null) throw new Error(`${this.#child.spawnargs.join(' ')} ended:\n${this.#lastWords.join('\n')}`);
    return JSON.parse(line) as T;
  }

  async ask<T>(command: Record<string, unknown>): Promise<T> {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
    return this.read<T>();
  }

  /** Ends the script and waits until it is gone. */
  async stop(): Promise<void> {
    if (this.#ended) return;
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin!.end();
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await ended;
    clearTimeout(timer);
  }

  #nextLine(): Promise<string | null> {
    return this.#ended ? Promise.resolve(null) : new Promise((resolve) => this.#answers.push(resolve));
  }
}
