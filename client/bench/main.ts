/** `tensor-consensus bench`: chooses and runs the sections, prints what they found, writes docs/benchmarks.md. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { againstJax } from './against-jax.js';
import { bridgeSoak } from './bridge-soak.js';
import { engineTime } from './engine-time.js';
import { benchPlugin } from './engines.js';
import { eventLoop } from './event-loop.js';
import { exact } from './exact.js';
import { hardTime } from './hard-time.js';
import { builtInGenerator, findLoadGenerator } from './load-generator.js';
import { large } from './large.js';
import { renderLinePlot } from './line-plot.js';
import { memory } from './memory.js';
import { replicas } from './replicas.js';
import { plotFile, type Report, renderMarkdown, renderText, type SectionResult, thisMachine } from './report.js';
import type { BenchContext, Section } from './section.js';
import { endChildrenOnSignals } from './server-process.js';
import { overload } from './overload.js';
import { rolling } from './rolling.js';
import { security } from './security.js';
import { soak } from './soak.js';
import { stream } from './stream.js';
import { throughput } from './throughput.js';
import { UsageError, wholeNumber } from '../usage.js';

const sections: ReadonlyMap<string, Section> = new Map([
  ['throughput', throughput],
  ['stream', stream],
  ['overload', overload],
  ['rolling', rolling],
  ['replicas', replicas],
  ['security', security],
  ['engine', engineTime],
  ['jax', againstJax],
  ['bridge', bridgeSoak],
  ['hard', hardTime],
  ['exact', exact],
  ['large', large],
  ['event-loop', eventLoop],
  ['memory', memory],
  ['soak', soak],
]);

export const benchHelp = `tensor-consensus bench [options]

Measures this service on this machine, ratios side by side in one run; about fifteen minutes (a Python and a plugin given).

  --only NAMES     comma list of ${[...sections.keys()].join(', ')} (default all)
  --rounds COUNT   repeats of what is compared, medians are shown (default 3)
  --seconds COUNT  length of one measurement under load (default 2)
  --pjrt-plugin PATH
                   the PJRT plugin to measure (TC_PJRT_PLUGIN; default: the installed one for the CPU)
  --python PATH    a Python with jax, scipy (and numpy, grpcio, grpcio-tools) to compare with (TC_BENCH_PYTHON; default python3)
  --built-in       the built-in load generator even where ghz is installed
  --json           results as JSON on standard output instead of tables
  --write FILE     also write them as a Markdown page, its plots beside it
  -h, --help       this text

Progress goes to standard error. Exit codes: 0 measured; 1 something failed; 2 wrong use.
`;

interface Options {
  readonly only: readonly string[];
  readonly rounds: number;
  readonly seconds: number;
  readonly builtIn: boolean;
  readonly pluginPath: string | null;
  readonly python: string;
  readonly json: boolean;
  readonly write: string | undefined;
  readonly help: boolean;
}

function readArguments(argv: readonly string[]): Options {
  const { values } = UsageError.from('bench', () =>
    parseArgs({
      args: [...argv],
      options: {
        only: { type: 'string', default: [...sections.keys()].join(',') },
        rounds: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '2' },
        'pjrt-plugin': { type: 'string', default: process.env['TC_PJRT_PLUGIN'] ?? '' },
        python: { type: 'string', default: process.env['TC_BENCH_PYTHON'] ?? 'python3' },
        'built-in': { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        write: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }),
  );
  const only = values.only.split(',');
  const unknown = only.find((name) => !sections.has(name));
  if (unknown !== undefined) {
    throw new UsageError(`--only: expected ${[...sections.keys()].join(', ')}, received '${unknown}'`);
  }
  return {
    only,
    rounds: wholeNumber('--rounds', values.rounds, 1, 100),
    seconds: wholeNumber('--seconds', values.seconds, 1, 60),
    builtIn: values['built-in'],
    pluginPath: benchPlugin(values['pjrt-plugin'], process.env),
    python: values.python,
    json: values.json,
    write: values.write,
    help: values.help,
  };
}

/** Runs the benchmark with the arguments after `bench`; the result is the exit code. Nothing is thrown. */
export async function runBench(argv: readonly string[]): Promise<number> {
  let folder: string | null = null;
  try {
    const options = readArguments(argv);
    if (options.help) {
      process.stdout.write(benchHelp);
      return 0;
    }
    endChildrenOnSignals();
    // Programs run in this process, too: ONNX Runtime is not to send usage data from here.
    process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
    // XLA writes to stderr when it is loaded; warnings and worse are enough.
    process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1';
    folder = mkdtempSync(join(tmpdir(), 'tensor-consensus-bench-'));
    await measure(options, folder, `npm run bench -- ${argv.join(' ')}`.trim());
    return 0;
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
    return error instanceof UsageError ? 2 : 1;
  } finally {
    if (folder !== null) rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(options: Options, folder: string, command: string): Promise<void> {
  const generator = options.builtIn ? builtInGenerator : await findLoadGenerator(process.env);
  const machine = thisMachine();
  if (!options.json) {
    const { cpu, cores, node, date } = machine;
    process.stdout.write(`${cpu}, ${cores} cores, Node ${node}, ${date}; load generator: ${generator.name}\n\n`);
  }
  const results: SectionResult[] = [];
  for (const name of options.only) {
    const context: BenchContext = {
      rounds: options.rounds,
      seconds: options.seconds,
      folder,
      generator,
      pluginPath: options.pluginPath,
      python: options.python,
      progress: (line) => void process.stderr.write(`  ${name}: ${line}\n`),
    };
    const result = await sections.get(name)!(context);
    results.push(result);
    if (!options.json) process.stdout.write(`${renderText(result)}\n`);
  }
  const report: Report = { machine, command, loadGenerator: generator.name, sections: results };
  if (options.json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  if (options.write === undefined) return;
  writeFileSync(options.write, renderMarkdown(report));
  for (const { name, plot } of results) {
    if (plot !== undefined) writeFileSync(join(dirname(options.write), plotFile(name)), renderLinePlot(plot));
  }
}
