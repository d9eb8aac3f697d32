/** Closed-loop load from a process of its own: ghz where it is installed, else the built-in caller. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { runGhz, usableGhz } from './ghz.js';
import { coordinatePath, protoFile } from './messages.js';
import { compiled } from './server-process.js';

const run = promisify(execFile);

export interface LoadResult {
  readonly calls: number;
  /** Failed calls by what was said. */
  readonly errors: Readonly<Record<string, number>>;
  readonly failed: number;
  readonly ratePerSecond: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

export interface Load {
  readonly address: string;
  /** Holds one serialized CoordinateRequest. */
  readonly requestFile: string;
  /** Each sends its next call when it has the answer to the last. */
  readonly callers: number;
  readonly seconds: number;
  /** TLS and a bearer token; plain text without one where left out. */
  readonly access?: LoadAccess;
}

export interface LoadAccess {
  /** PEM: the authority of the server's certificate. */
  readonly caFile: string;
  readonly token: string;
}

export interface LoadGenerator {
  readonly name: string;
  generate(load: Load): Promise<LoadResult>;
}

const mostConnections = 4;

/** ghz if a usable one is installed, else the built-in caller. */
export async function findLoadGenerator(environment: NodeJS.ProcessEnv): Promise<LoadGenerator> {
  const found = await usableGhz(environment);
  return 'path' in found ? ghzGenerator(found.path) : builtInGenerator;
}

function ghzGenerator(path: string): LoadGenerator {
  return {
    name: 'ghz',
    generate: ({ address, requestFile, callers, seconds, access }) => {
      const connections = Math.min(callers, mostConnections);
      const flags = [
        ...(access === undefined
          ? ['--insecure']
          : ['--cacert', access.caFile, '--metadata', JSON.stringify({ authorization: `Bearer ${access.token}` })]),
        '--proto',
        protoFile,
        '--call',
        coordinatePath.slice(1),
        '--binary-file',
        requestFile,
      ];
      flags.push('--concurrency', String(callers), '--connections', String(connections));
      // `wait` lets calls in flight at the end finish; otherwise they count as errors.
      flags.push('--duration', `${seconds}s`, '--duration-stop', 'wait');
      return runGhz(path, flags, address);
    },
  };
}

export const builtInGenerator: LoadGenerator = {
  name: 'built-in (grpc-js)',
  generate: async (load) => {
    const job = { ...load, connections: Math.min(load.callers, mostConnections) };
    const { stdout } = await run(process.execPath, [compiled('caller.js'), JSON.stringify(job)]);
    return JSON.parse(stdout) as LoadResult;
  },
};
