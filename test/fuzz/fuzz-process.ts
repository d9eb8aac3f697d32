/** One target in a process of its own, so that a crash or a hang of it is seen from outside. Run by main.ts. */
import { openSync, writeSync } from 'node:fs';
import { seededUniform } from '../seeded-normal.js';
import { readCorpus } from './corpus.js';
import { fuzz } from './fuzzer.js';
import { openTarget } from './targets.js';

export interface FuzzOrder {
  readonly target: string;
  readonly seed: number;
  readonly seconds: number;
  readonly runs: number;
  /** Gets the input that is running: a count (32 bits), its length (32 bits), its bytes. */
  readonly currentFile: string;
}

export interface FuzzReport {
  readonly runs: number;
  readonly accepted: number;
  readonly places: number;
  readonly kept: number;
  readonly slowestMs: number;
  readonly seconds: number;
  readonly summary: string;
  /** Base64. */
  readonly corpus: readonly string[];
  readonly failure: { readonly input: string; readonly error: string } | null;
}

function announcer(path: string): (input: Buffer) => void {
  const file = openSync(path, 'w');
  const header = Buffer.alloc(8);
  let count = 0;
  return (input) => {
    header.writeUInt32LE(++count >>> 0, 0);
    header.writeUInt32LE(input.length, 4);
    writeSync(file, Buffer.concat([header, input]), 0, input.length + 8, 0);
  };
}

const order = JSON.parse(process.argv[2]!) as FuzzOrder;
const target = await openTarget(order.target);
const startMs = performance.now();
const { corpus, failure, ...counts } = await fuzz(target, {
  random: seededUniform(order.seed),
  corpus: readCorpus(order.target),
  endMs: startMs + 1000 * order.seconds,
  mostRuns: order.runs,
  announce: announcer(order.currentFile),
});
const report: FuzzReport = {
  ...counts,
  seconds: (performance.now() - startMs) / 1000,
  summary: target.summary?.() ?? '',
  corpus: corpus.map((input) => input.toString('base64')),
  failure:
    failure === null
      ? null
      : {
          input: failure.input.toString('base64'),
          error:
            failure.error instanceof Error ? (failure.error.stack ?? failure.error.message) : String(failure.error),
        },
};
process.stdout.write(`${JSON.stringify(report)}\n`);
await target.close?.();
