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

/** Writes its lines, says on standard error what was lost by then, and ends with a last line when standard input does, or by an exception when it says so. */
const program = `
import { createLog, lostLogLines, writtenOut } from ${JSON.stringify(pathToFileURL(join(packageRoot, 'dist/server/log.js')).href)};
const log = createLog({ logLevel: 'info', logFormat: 'json' });
const count = Number(process.argv[1]);
for (let index = 0; index < count; index++) log.info({ index, text: 'x'.repeat(1000) }, 'a line');
console.error(lostLogLines());
process.on('uncaughtException', (error) => {
  log.fatal({ err: error }, 'not caught');
  process.kill(process.pid, 'SIGKILL');
});
process.stdin.once('data', () => {
  throw new Error('nobody catches this');
});
process.stdin.once('end', async () => {
  log.info('the last line');
  await writtenOut();
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

function linesIn(text: string): Line[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

/** Reads until `text` comes, then ends the process; resolves with all that it wrote. */
async function readUntil(from: Child, text: string): Promise<Line[]> {
  let read = '';
  for await (const chunk of from.stdout) {
    read += String(chunk);
    if (read.includes(text)) from.stdin.end();
  }
  return linesIn(read);
}

describe('a log that nobody reads', () => {
  it('holds up nothing: what finds no room is lost and counted, and told when somebody reads', async () => {
    const { child: process, lost } = await written(lines);
    expect(lost).toBeGreaterThan(0);
    const read = await readUntil(process, 'lines of the log were lost');
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

  it('does not keep an exception from ending the process, not even after its reader has gone', async () => {
    const { child: process } = await written(lines);
    process.stdout.destroy();
    process.stdin.write('now');
    await once(process, 'exit');
    expect(process.signalCode).toBe('SIGKILL');
  });

  it('loses nothing at the end where it is read', async () => {
    const { child: process, lost } = await written(500);
    expect(lost).toBe(0);
    const read = await readUntil(process, '"index":499');
    expect(read).toHaveLength(501);
    expect(read.at(-1)).toMatchObject({ msg: 'the last line' });
  });
});
