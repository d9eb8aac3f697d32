/** The log of a process whose standard output is a pipe, read late or never. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.js';

/** More than a pipe and what waits for it hold together. */
const lines = 4000;

/** Writes its lines, says on standard error what was lost by then, and ends some time after standard input did. */
const program = `
import { createLog, lostLogLines, writtenOut } from ${JSON.stringify(pathToFileURL(join(packageRoot, 'dist/server/log.js')).href)};
const log = createLog({ logLevel: 'info', logFormat: 'json' });
const count = Number(process.argv[1]);
for (let index = 0; index < count; index++) log.info({ index, text: 'x'.repeat(1000) }, 'a line');
console.error(lostLogLines());
process.stdin.resume().once('end', async () => {
  log.info('the last line');
  await writtenOut(log);
  process.kill(process.pid, 'SIGKILL');
});
`;

type Child = ChildProcessByStdio<Writable, Readable, Readable>;
let child: Child | null = null;

afterEach(() => child?.kill('SIGKILL'));

/** Resolves when it has written, with what was lost; nobody reads its output yet. */
async function written(count: number): Promise<{ readonly child: Child; readonly lost: number }> {
  const started = spawn(process.execPath, ['--input-type=module', '-e', program, '--', String(count)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child = started;
  const [said] = (await once(started.stderr, 'data')) as [Buffer];
  return { child: started, lost: Number(said.toString()) };
}

interface Line {
  readonly index?: number;
  readonly msg: string;
  readonly lostLines?: number;
}

async function readToTheEnd(from: Readable): Promise<Line[]> {
  let text = '';
  for await (const chunk of from) text += String(chunk);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

describe('a log that nobody reads', () => {
  it('holds up nothing: what finds no room is lost and counted, and told when somebody reads', async () => {
    const { child: process, lost } = await written(lines);
    expect(lost).toBeGreaterThan(0);
    const reading = readToTheEnd(process.stdout);
    // Time for it to find the output free.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    process.stdin.end();
    const read = await reading;
    const kept = read.filter(({ msg }) => msg === 'a line');
    // Whole lines, each once and in order.
    expect(kept.map(({ index }) => index)).toEqual(Array.from({ length: lines - lost }, (_, index) => index));
    expect(read.slice(kept.length)).toMatchObject([
      { msg: 'lines of the log were lost: nobody read it', lostLines: lost },
      { msg: 'the last line' },
    ]);
  });

  it('does not keep the process from ending', async () => {
    const { child: process } = await written(lines);
    process.stdin.end();
    await once(process, 'exit');
    expect(process.signalCode).toBe('SIGKILL');
  });

  it('loses nothing at the end where it is read in time', async () => {
    const { child: process, lost } = await written(500);
    expect(lost).toBe(0);
    process.stdin.end();
    const read = await readToTheEnd(process.stdout);
    expect(read).toHaveLength(501);
    expect(read.at(-1)).toMatchObject({ msg: 'the last line' });
  });
});
