/**
 * Puts a PJRT plugin into the plugin folder: pip fetches the pinned wheel (so mirrors, proxies and certificates are pip's
 * business and its hashes are checked), Python's zipfile unpacks it, and the library's own hash is checked before it is
 * renamed into place. Python is there for pip anyway, and its zipfile checks CRCs and knows Zip64, so no zip library is needed.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';
import {
  type InstalledPlugin,
  installedPlugin,
  type KnownPlugin,
  type KnownPlugins,
  knownPlugins,
  type PluginBuild,
  type PluginName,
  pluginPath,
} from '../../src/pjrt/plugins.js';
import { pipFailure } from './pip-failure.js';
import { type PythonCall, type PythonEnd, runPython as runPythonOfPath, type RunPython } from './python.js';

/** Why a plugin could not be installed, in one line for people. */
export class PluginInstallError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'PluginInstallError';
  }
}

export interface InstallProgress {
  readonly phase: 'download' | 'unpack' | 'verify';
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface InstallOptions {
  readonly directory: string;
  /** `${process.platform}-${process.arch}`. */
  readonly host: string;
  readonly onProgress?: (progress: InstallProgress) => void;
  /** Aborting removes all that was fetched and rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  readonly known?: KnownPlugins;
  /** Folder of NAME.txt, the pinned requirements. */
  readonly requirements?: string;
  readonly runPython?: RunPython;
}

export interface InstallResult extends InstalledPlugin {
  readonly reused: boolean;
}

/** How often growing files are measured for `onProgress`. */
const progressPeriodMs = 200;
/** What a killed install left behind is removed by a later one. */
const abandonedAfterMs = 24 * 60 * 60 * 1000;

/**
 * Installs the pinned version, or keeps what is there where its hash is right. Safe beside itself: each install works in
 * a folder of its own and the last rename wins with the same bytes.
 * @throws PluginInstallError, or the signal's reason
 */
export async function installPlugin(name: PluginName, options: InstallOptions): Promise<InstallResult> {
  const { directory, host, signal, known: table = knownPlugins } = options;
  const known = table[name];
  const build = known.builds[host];
  if (build === undefined) {
    const hosts = Object.keys(known.builds).join(', ');
    throw new PluginInstallError(`${name}: there is no build for ${host}, only for ${hosts}`);
  }
  const found = installedPlugin(name, { directory, host, known: table });
  if (found !== null && (await sha256(found.path, build.bytes, options)) === build.sha256) {
    return { ...found, reused: true };
  }
  signal?.throwIfAborted();
  try {
    const path = pluginPath(directory, name, known, host);
    await mkdir(directory, { recursive: true });
    await removeAbandoned(directory);
    const workFolder = await mkdtemp(join(directory, '.installing-'));
    try {
      const library = await fetchLibrary(name, known, build, workFolder, options);
      await mkdir(dirname(path), { recursive: true });
      await rename(library, path);
    } finally {
      await rm(workFolder, { recursive: true, force: true });
    }
    return { name, version: known.version, path, reused: false };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof PluginInstallError)
      throw new PluginInstallError(`${name}: ${error.message}`, { cause: error });
    // File system errors are the user's disk and permissions; their messages name the path.
    if (error instanceof Error && 'code' in error)
      throw new PluginInstallError(`${name}: ${error.message}`, { cause: error });
    throw error;
  }
}

/** Resolves with the path of the verified library inside `workFolder`. */
async function fetchLibrary(
  name: PluginName,
  known: KnownPlugin,
  build: PluginBuild,
  workFolder: string,
  options: InstallOptions,
): Promise<string> {
  const { signal, requirements = join(packageRoot, 'plugins') } = options;
  const wheels = join(workFolder, 'wheel');
  const unpacked = join(workFolder, 'unpacked');
  const temporaryFolder = join(workFolder, 'tmp');
  for (const folder of [wheels, unpacked, temporaryFolder]) await mkdir(folder);

  const download = { args: pipArguments(join(requirements, `${name}.txt`), build, wheels), temporaryFolder, signal };
  const downloaded = await watched(workFolder, 'download', build.wheelBytes, options, () => python(download, options));
  if (downloaded.exitCode !== 0) throw new PluginInstallError(pipFailure(downloaded.output));
  const [wheel, ...others] = (await readdir(wheels)).filter((file) => file.endsWith('.whl'));
  if (wheel === undefined || others.length > 0) {
    throw new PluginInstallError(
      `expected one wheel of ${known.distribution}, received ${others.length + (wheel === undefined ? 0 : 1)}`,
    );
  }

  const unpack = { args: ['-m', 'zipfile', '-e', join(wheels, wheel), unpacked], temporaryFolder, signal };
  const ended = await watched(unpacked, 'unpack', build.bytes, options, () => python(unpack, options));
  if (ended.exitCode !== 0) throw new PluginInstallError(`${wheel} cannot be unpacked: ${lastLine(ended.output)}`);

  const library = join(unpacked, known.library);
  const digest = await sha256(library, build.bytes, options);
  if (digest !== build.sha256) {
    throw new PluginInstallError(`${known.library} of ${wheel}: expected SHA-256 ${build.sha256}, received ${digest}`);
  }
  await flush(library);
  return library;
}

/**
 * The wheel is named by platform and, where it matters, by CPython, so that any Python that runs pip fetches the same file.
 * The rest of the user's pip configuration holds.
 */
export function pipArguments(requirementsFile: string, build: PluginBuild, destination: string): string[] {
  const { wheelPlatform, wheelPython } = build;
  return [
    ...['-m', 'pip', 'download', '--no-deps', '--require-hashes', '--only-binary=:all:', '--progress-bar=off'],
    ...['--platform', wheelPlatform],
    ...(wheelPython === null
      ? []
      : ['--implementation', 'cp', '--python-version', wheelPython.version, '--abi', wheelPython.abi]),
    ...['--dest', destination, '-r', requirementsFile],
  ];
}

async function python(call: PythonCall, { runPython = runPythonOfPath, signal }: InstallOptions): Promise<PythonEnd> {
  try {
    const ended = await runPython(call);
    signal?.throwIfAborted();
    return ended;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new PluginInstallError('python3 is not on the PATH; it and pip are needed to install, not to run', {
        cause: error,
      });
    }
    throw error;
  }
}

/** Runs `work` and reports how far the largest file under `folder` has grown: pip says nothing that all its versions agree on. */
async function watched<T>(
  folder: string,
  phase: InstallProgress['phase'],
  totalBytes: number,
  { onProgress }: InstallOptions,
  work: () => Promise<T>,
): Promise<T> {
  onProgress?.({ phase, doneBytes: 0, totalBytes });
  let working = true;
  const timer = setInterval(() => {
    void largestFileBytes(folder).then((doneBytes) => {
      if (working) onProgress?.({ phase, doneBytes: Math.min(doneBytes, totalBytes), totalBytes });
    });
  }, progressPeriodMs);
  try {
    return await work();
  } finally {
    working = false;
    clearInterval(timer);
  }
}

/** Files come and go meanwhile: what cannot be read counts as 0. */
async function largestFileBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true }).catch(() => []);
  const sizes = await Promise.all(
    entries.map((entry) =>
      stat(join(folder, entry)).then(
        (found) => (found.isFile() ? found.size : 0),
        () => 0,
      ),
    ),
  );
  return Math.max(0, ...sizes);
}

async function sha256(path: string, totalBytes: number, { onProgress, signal }: InstallOptions): Promise<string> {
  const hash = createHash('sha256');
  let doneBytes = 0;
  let toldBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
    signal?.throwIfAborted();
    hash.update(chunk);
    doneBytes += chunk.length;
    if (doneBytes - toldBytes < totalBytes / 20 && doneBytes !== totalBytes) continue;
    toldBytes = doneBytes;
    onProgress?.({ phase: 'verify', doneBytes, totalBytes });
  }
  return hash.digest('hex');
}

/** The bytes reach the disk before the name does: after a power cut the name never stands for half a file. */
async function flush(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

async function removeAbandoned(directory: string): Promise<void> {
  for (const entry of await readdir(directory)) {
    if (!entry.startsWith('.installing-')) continue;
    const path = join(directory, entry);
    const found = await stat(path).catch(() => null);
    if (found !== null && Date.now() - found.mtimeMs > abandonedAfterMs)
      await rm(path, { recursive: true, force: true });
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
