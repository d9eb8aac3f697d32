/** What the fuzzer found worth keeping: one text file a target, an input a line in base64, so that a change is seen in a review. */
import { mkdirSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';

const folder = join(packageRoot, 'test/fuzz/corpus');

function fileOf(name: string): string {
  return join(folder, `${name}.txt`);
}

export function readCorpus(name: string): Buffer[] {
  if (!existsSync(fileOf(name))) return [];
  const lines = readFileSync(fileOf(name), 'latin1').split('\n');
  // A line that is empty ends the file; an empty input is in no need of keeping.
  return lines.filter((line) => line !== '').map((line) => Buffer.from(line, 'base64'));
}

/** In a fixed order, each once. */
export function writeCorpus(name: string, inputs: readonly Uint8Array[]): void {
  mkdirSync(folder, { recursive: true });
  const lines = [...new Set(inputs.map((input) => Buffer.from(input).toString('base64')))].filter(
    (line) => line !== '',
  );
  lines.sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  writeFileSync(fileOf(name), lines.map((line) => `${line}\n`).join(''));
}
