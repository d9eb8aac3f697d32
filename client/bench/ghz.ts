/** The load generator ghz: where it is, whether it is new enough, and what it measured. */
import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { readFile, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../src/package-root.js';
import type { LoadResult } from './load-generator.js';

const run = promisify(execFile);

/** Older ones refuse proto3 `optional` fields. */
const oldestGhz = [0, 121, 0] as const;
export const ghzInstallHint = `ghz ${oldestGhz.join('.')} or newer is needed on PATH or in ~/go/bin:
  go install github.com/bojand/ghz/cmd/ghz@v${oldestGhz.join('.')}
(\`@latest\` gives an older one that rejects proto3 \`optional\`), or take a release from https://github.com/bojand/ghz/releases`;

/** The first executable named ghz on PATH, in GOBIN or in ~/go/bin; null where there is none. */
export function findGhz(environment: NodeJS.ProcessEnv): string | null {
  const folders = [
    ...(environment['PATH'] ?? '').split(delimiter),
    environment['GOBIN'] ?? '',
    join(environment['GOPATH'] ?? join(homedir(), 'go'), 'bin'),
  ];
  for (const folder of folders) {
    if (folder === '') continue;
    const candidate = join(folder, process.platform === 'win32' ? 'ghz.exe' : 'ghz');
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not here.
    }
  }
  return null;
}

/**
 * The version as `major.minor.patch`, or null where it cannot be told. A release prints it; one built by `go install`
 * prints `dev`, and its module version stands in the build information that Go writes into every binary.
 */
export async function ghzVersion(path: string): Promise<string | null> {
  const { stdout, stderr } = await run(path, ['--version']);
  const printed = /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0];
  if (printed !== undefined) return printed;
  const binary = await readFile(await realpath(path));
  const marker = 'mod\tgithub.com/bojand/ghz\tv';
  const start = binary.indexOf(marker);
  if (start < 0) return null;
  const written = binary.toString('latin1', start + marker.length, start + marker.length + 32);
  return /^\d+\.\d+\.\d+/.exec(written)?.[0] ?? null;
}

export function isNewEnough(version: string): boolean {
  const parts = version.split('.').map(Number);
  for (const [index, least] of oldestGhz.entries()) {
    const part = parts[index] ?? 0;
    if (part !== least) return part > least;
  }
  return true;
}

/** The ghz to use, or a sentence that says what is wrong and how to get one. */
export async function usableGhz(environment: NodeJS.ProcessEnv): Promise<{ path: string } | { problem: string }> {
  const path = findGhz(environment);
  if (path === null) return { problem: `ghz was not found. ${ghzInstallHint}` };
  const version = await ghzVersion(path).catch(() => null);
  if (version === null) return { problem: `${path} does not say which version it is. ${ghzInstallHint}` };
  if (!isNewEnough(version)) return { problem: `${path} is version ${version}. ${ghzInstallHint}` };
  return { path };
}

interface GhzReport {
  readonly count: number;
  readonly rps: number;
  readonly latencyDistribution: readonly { readonly percentage: number; readonly latency: number }[] | null;
  readonly errorDistribution: Readonly<Record<string, number>> | null;
}

/** Runs ghz with the given flags, from the package's folder, and reads its JSON report. */
export async function runGhz(path: string, flags: readonly string[], address: string): Promise<LoadResult> {
  const { stdout } = await run(path, [...flags, '--format', 'json', address], {
    cwd: packageRoot,
    maxBuffer: 1024 * 1024 * 1024,
  });
  const report = JSON.parse(stdout) as GhzReport;
  const latencyMs = (percentage: number): number => {
    const entry = report.latencyDistribution?.find((each) => each.percentage === percentage);
    return entry === undefined ? Number.NaN : entry.latency / 1e6;
  };
  const errors = report.errorDistribution ?? {};
  const failed = Object.values(errors).reduce((sum, count) => sum + count, 0);
  return {
    calls: report.count,
    errors,
    failed,
    ratePerSecond: report.rps,
    p50Ms: latencyMs(50),
    p95Ms: latencyMs(95),
    p99Ms: latencyMs(99),
  };
}
