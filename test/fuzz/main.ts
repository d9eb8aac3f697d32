/** `npm run fuzz`: every target in a process of its own, one after another, watched for crashes and hangs. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../../src/package-root.js';
import { recordSection, whereAndWhen } from '../chaos/record.js';
import { compileModule, Places } from './coverage.js';
import { writeCorpus } from './corpus.js';
import type { FuzzOrder, FuzzReport } from './fuzz-process.js';
import { targetNames } from './targets.js';

const usage =
  'usage: npm run fuzz -- [--seconds N = 60] [--runs N] [--target NAME]... [--seed N] [--save: keep what was found in test/fuzz/corpus] [--record: write docs/survival.md]';
/** A run that takes longer is a hang. */
const hangMs = 20_000;
const lookMs = 500;
/** The target that runs engines is slower a run than the others; it gets this share of the time. */
const neighbourShare = 0.5;

/** Compiles what the targets are made of, the server's own code with counters. The folder of the result. */
function build(): { folder: string; places: number } {
  const folder = join(packageRoot, '.cache', 'fuzz');
  rmSync(folder, { recursive: true, force: true });
  const places = new Places();
  for (const [top, counted] of [
    ['src', places],
    ['server', null],
    ['test', null],
  ] as const) {
    for (const file of filesBelow(join(packageRoot, top))) {
      const out = join(folder, relative(packageRoot, file)).replace(/\.ts$/, '.js');
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, compileModule(file, readFileSync(file, 'utf8'), counted));
    }
  }
  return { folder, places: places.count };
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .map((name) => join(folder, name));
}

interface Outcome {
  readonly target: string;
  /** Null where the process gave none: it crashed or hung. */
  readonly report: FuzzReport | null;
  readonly failure: string | null;
}

/** Resolves when the target's process has ended, which is within its time and `hangMs`. */
async function runTarget(folder: string, order: FuzzOrder): Promise<Outcome> {
  const { target, currentFile } = order;
  const command = join(folder, 'test', 'fuzz', 'fuzz-process.js');
  const child = spawn(process.execPath, ['--max-old-space-size=1024', command, JSON.stringify(order)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  let output = '';
  let errors = '';
  child.stdout.on('data', (text: Buffer) => (output += text.toString()));
  child.stderr.on('data', (text: Buffer) => (errors = (errors + text.toString()).slice(-4000)));
  const state = { hung: false };
  let [lastCount, lastMs] = [-1, performance.now()];
  const watch = setInterval(() => {
    const count = current(currentFile)?.count ?? -1;
    if (count !== lastCount) [lastCount, lastMs] = [count, performance.now()];
    // Before the first run an engine may have programs to compile; after the last one there is a report to write.
    else if (performance.now() - lastMs > (count === -1 ? 6 : 1) * hangMs && output === '') {
      state.hung = true;
      kill();
    }
  }, lookMs);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.once('close', (...end) => resolve(end));
  });
  clearInterval(watch);
  process.removeListener('exit', kill);
  const line = output.trim();
  if (line !== '') {
    const report = JSON.parse(line) as FuzzReport;
    const failure = report.failure === null ? null : `${report.failure.error}\ninput (base64): ${report.failure.input}`;
    return { target, report, failure };
  }
  const input = current(currentFile)?.input.toString('base64') ?? 'none';
  const what = state.hung ? `no end within ${hangMs} ms` : `the process ended with ${signal ?? `code ${String(code)}`}`;
  return { target, report: null, failure: `${what}\ninput (base64): ${input}\n${errors}` };
}

/** What a process said that it was running. */
function current(path: string): { count: number; input: Buffer } | null {
  try {
    const file = readFileSync(path);
    return { count: file.readUInt32LE(0), input: file.subarray(8, 8 + file.readUInt32LE(4)) };
  } catch {
    return null;
  }
}

/** The exit code: 0 where every promise held. */
export async function main(parameters: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...parameters],
    options: {
      seconds: { type: 'string', default: '60' },
      runs: { type: 'string', default: '' },
      target: { type: 'string', multiple: true, default: [...targetNames] },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      save: { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
  const runs = values.runs === '' ? Infinity : Number(values.runs);
  const { folder, places } = build();
  const scratch = mkdtempSync(join(tmpdir(), 'fuzz-'));
  const outcomes: Outcome[] = [];
  process.stdout.write(
    `seed ${seed}; ${places} places to reach in src/; ${seconds} s for ${values.target.join(', ')}\n`,
  );
  for (const [i, target] of values.target.entries()) {
    const others = values.target.filter((name) => name !== 'neighbour').length;
    const rest = values.target.includes('neighbour') && others > 0 ? 1 - neighbourShare : 1;
    const share = target !== 'neighbour' ? rest / others : others > 0 ? neighbourShare : 1;
    const order = {
      target,
      seed: seed + i,
      seconds: seconds * share,
      runs: Number.isFinite(runs) ? Math.ceil(runs * share) : Number.MAX_SAFE_INTEGER,
      currentFile: join(scratch, target),
    };
    const outcome = await runTarget(folder, order);
    outcomes.push(outcome);
    process.stdout.write(`${lineOf(outcome)}\n`);
    if (outcome.failure !== null) process.stdout.write(`${outcome.failure}\n`);
    if (values.save && outcome.report !== null) {
      writeCorpus(
        target,
        outcome.report.corpus.map((text) => Buffer.from(text, 'base64')),
      );
    }
  }
  rmSync(scratch, { recursive: true, force: true });
  const failures = outcomes.filter(({ failure }) => failure !== null).length;
  if (values.record) recordSection('fuzz', textOf(outcomes, seed));
  return failures === 0 ? 0 : 1;
}

function lineOf({ target, report, failure }: Outcome): string {
  if (report === null) return `${target}: FAILED`;
  const { runs, accepted, places, seconds, slowestMs, summary } = report;
  const rate = Math.round(runs / seconds);
  return `${target}: ${runs} inputs in ${seconds.toFixed(0)} s (${rate}/s), ${accepted} accepted, ${places} places reached, slowest ${slowestMs.toFixed(1)} ms${summary === '' ? '' : `, ${summary}`}: ${failure === null ? 'every promise held' : 'FAILED'}`;
}

function textOf(outcomes: readonly Outcome[], seed: number): string {
  const total = outcomes.reduce((sum, { report }) => sum + (report?.runs ?? 0), 0);
  const seconds = outcomes.reduce((sum, { report }) => sum + (report?.seconds ?? 0), 0);
  const rows = outcomes.map(({ target, report, failure }) => {
    if (report === null) return `| ${target} | | | | | ${failure === null ? '' : 'failed'} |`;
    const { runs, accepted, places, slowestMs, summary } = report;
    const seen = failure === null ? 'every promise held' : 'a promise was broken';
    return `| ${target} | ${runs} | ${accepted} | ${places} | ${slowestMs.toFixed(1)} | ${seen}${summary === '' ? '' : `; ${summary}`} |`;
  });
  return `${total} inputs in ${Math.round(seconds)} s, seed ${seed} (${whereAndWhen()}, at the lowest priority beside other work). A crash, a hang (${hangMs / 1000} s), an
error that is none of the server's own, and a broken promise of \`test/fuzz/target-*.ts\` all end a run; the input becomes a line of \`test/fuzz/corpus/\`,
which CI replays.

| target | inputs | accepted | places of \`src/\` reached | slowest, ms | seen |
|---|---|---|---|---|---|
${rows.join('\n')}`;
}
