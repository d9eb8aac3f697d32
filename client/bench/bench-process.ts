/** A load generator of the benchmark in a process of its own, so that it does not share an event loop with anything. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { serverNodeFlags } from '../../src/node-flags.js';
import { compiled } from './server-process.js';

const run = promisify(execFile);
const mostOutputBytes = 64 * 1024 * 1024;

/**
 * Runs a compiled file of this folder with the job as its argument; resolves with the JSON that it prints.
 * V8 gets the space that a server's gets: what a generator collects is in the latencies that it takes.
 */
export async function inOwnProcess<T>(fileName: `${string}.js`, job: object): Promise<T> {
  const { stdout } = await run(process.execPath, [...serverNodeFlags, compiled(fileName), JSON.stringify(job)], {
    maxBuffer: mostOutputBytes,
  });
  // NaN (a percentile of nothing) is null in JSON.
  return JSON.parse(stdout, (_key, value: unknown) => (value === null ? Number.NaN : value)) as T;
}
