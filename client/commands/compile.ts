/** `tensor-consensus compile`: the server's programs for devices that this machine does not have. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { systemClock } from '../../src/clock.js';
import { CoordinatorError } from '../../src/errors.js';
import { programSignature } from '../../src/operators/signature.js';
import { fileBytes, installedPlugin, pluginDirectory } from '../../src/pjrt/plugins.js';
import type { Policy } from '../../src/policies/policy.js';
import { PolicyRegistry } from '../../src/policies/registry.js';
import { parseBuckets, planPrograms, shardedPrograms, type PlannedProgram } from '../compile/plan.js';
import { makeReport, reportHeading, reportPage, reportRow, runSeconds } from '../compile/report.js';
import { runCompiler } from '../compile/run-compiler.js';
import { exitCodes } from '../exit-codes.js';
import { tableLines } from '../table.js';
import { UsageError, wholeNumber } from '../usage.js';

export const compileHelp = `tensor-consensus compile --out DIR [options]

Compiles the server's programs ahead of time for a TPU topology, on a machine without a TPU, through libtpu
(tensor-consensus plugin install tpu), and reports what XLA says of each: arithmetic, memory traffic, estimated time,
memory, code size. Nothing is run. Programs are those of a policy's default forms, and of TOP_K.

  --out DIR              where files go: per program NAME.hlo (StableHLO text) and NAME.executable (the plugin's own
                         form, where it has one); report.json and report.md
  --topology NAME        as the plugin calls it: v5e:1x1, v5e:2x2, v5e:2x4 (default v5e:1x1)
  --policy NAME          one policy; may be repeated (default: all)
  --policy-dir DIR       folder of NAME.safetensors policy files, beside the built-in policies
  --buckets LIST         default: every square size, at batch 1 and at the largest batch (the default)
                         n128: that square size, at batch 1 and at the largest batch
                         b8,n128,m64: one bucket (batch, agents, tasks; m as n where it is not given)
                         Several may follow each other: n128,n256,b1,n1024
  --shard                on a topology of several chips: also one problem (batch 1) with its agents spread over all
                         chips; only with sizes from n1024 on is that worth having
  --pjrt-plugin PATH     another plugin than the installed one for TPUs
  --plugin-dir DIR       where plugins are kept (TC_PLUGIN_DIR; default ~/.cache/tensor-consensus/plugins)
  --parallel COUNT       compilations at a time (default 2)
  -h, --help             this text

Ctrl-C stops it; what was compiled until then is kept and reported. A program that does not compile is reported, the
others go on, and the command ends with 1.
`;

const flags = {
  out: { type: 'string' },
  topology: { type: 'string', default: 'v5e:1x1' },
  policy: { type: 'string', multiple: true },
  'policy-dir': { type: 'string' },
  buckets: { type: 'string', default: 'default' },
  shard: { type: 'boolean', default: false },
  'pjrt-plugin': { type: 'string' },
  'plugin-dir': { type: 'string' },
  parallel: { type: 'string', default: '2' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** @throws UsageError */
export async function runCompile(argv: readonly string[]): Promise<number> {
  const { values } = UsageError.from('compile', () => parseArgs({ args: [...argv], options: flags }));
  if (values.help) {
    process.stdout.write(compileHelp);
    return exitCodes.ok;
  }
  if (values.out === undefined) throw new UsageError('--out: expected a folder (see tensor-consensus compile --help)');
  if (values.topology === '') throw new UsageError('--topology: expected a name such as v5e:2x2, received nothing');
  const parallel = wholeNumber('--parallel', values.parallel, 1, 16);
  const buckets = parseBuckets(values.buckets);
  const policies = await policiesOf(values['policy-dir'] ?? null, values.policy ?? null);
  const pluginPath = pluginOf(values['pjrt-plugin'], values['plugin-dir']);
  if (pluginPath === null) return exitCodes.failed;
  const directory = values.out;
  makeFolder(directory);
  const whole = planPrograms(policies, buckets);
  const chips = values.shard ? chipsOf(values.topology) : 1;
  const plan = chips === 1 ? whole : [...whole, ...shardedPrograms(whole, chips)];
  return await compile(plan, { pluginPath, topology: values.topology, directory, parallel });
}

/** From the name, as the plan is made before the plugin is loaded: `v5e:2x4` has 8. @throws UsageError */
function chipsOf(topology: string): number {
  const sides = /:(\d+(?:x\d+)*)$/.exec(topology)?.[1]?.split('x') ?? [];
  const chips = sides.reduce((product, side) => product * Number(side), 1);
  if (chips > 1) return chips;
  throw new UsageError(`--shard: expected a topology of several chips, such as v5e:2x2, received '${topology}'`);
}

interface CompileRun {
  readonly pluginPath: string;
  readonly topology: string;
  readonly directory: string;
  readonly parallel: number;
}

async function compile(plan: readonly PlannedProgram[], run: CompileRun): Promise<number> {
  const { directory, topology, pluginPath } = run;
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  process.once('SIGINT', onInterrupt);
  process.once('SIGTERM', onInterrupt);
  let ended = 0;
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  const progress = (name: string, text: string): void => say(`[${++ended}/${plan.length}] ${name}: ${text}`);
  try {
    const outcome = await runCompiler(
      { ...run, programs: plan },
      {
        onDevices: (kinds) => say(`compiling ${plan.length} programs for ${kinds.length} x ${kinds[0] ?? 'nothing'}`),
        onCompiled: (facts) => {
          const seconds = runSeconds(facts);
          const estimate = seconds === null ? '' : `, XLA estimates ${(seconds * 1e6).toFixed(1)} us a run`;
          progress(facts.name, `${facts.compileSeconds.toFixed(1)} s${estimate}`);
        },
        onFailed: ({ name, why }) => progress(name, `failed: ${oneLine(why)}`),
      },
      interrupt.signal,
    );
    if (outcome.refused !== null) {
      say(`tensor-consensus: compile for ${topology}: ${oneLine(outcome.refused)}`);
      return exitCodes.failed;
    }
    const weighed = plan.map((program) => ({ ...program, weightBytes: weightBytes(program) }));
    const interrupted = interrupt.signal.aborted;
    const report = makeReport(weighed, outcome, { topology, pluginPath, interrupted });
    writeFileSync(join(directory, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
    writeFileSync(join(directory, 'report.md'), reportPage(report));
    process.stdout.write(`${tableLines(reportHeading, report.programs.map(reportRow)).join('\n')}\n`);
    const counts = `${report.programs.length} of ${plan.length} programs compiled for ${topology}`;
    say(`${counts}; ${join(directory, 'report.md')}`);
    if (interrupted) {
      say('tensor-consensus: interrupted; what was compiled is kept');
      return exitCodes.interrupted;
    }
    return report.failures.length === 0 ? exitCodes.ok : exitCodes.failed;
  } finally {
    process.removeListener('SIGINT', onInterrupt);
    process.removeListener('SIGTERM', onInterrupt);
  }
}

/** Of the parameters, which stay on the device and are sent once. */
function weightBytes({ spec }: PlannedProgram): number {
  return programSignature(spec).parameters.reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0);
}

/** @throws UsageError */
async function policiesOf(directory: string | null, names: readonly string[] | null): Promise<readonly Policy[]> {
  let registry: PolicyRegistry;
  try {
    registry = await PolicyRegistry.open({ directory, pollMs: 60_000, clock: systemClock });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  registry.close();
  const refused = registry.refusals().map(({ file, reason }) => `${file}: ${reason}`);
  if (refused.length > 0) throw new UsageError(`--policy-dir: ${refused.join('; ')}`);
  if (names === null) return registry.list();
  try {
    return [...new Set(names)].map((name) => registry.get(name));
  } catch (error) {
    if (error instanceof CoordinatorError) throw new UsageError(`--policy: ${error.message}`);
    throw error;
  }
}

/** Null where there is none; says what to do. @throws UsageError */
function pluginOf(path: string | undefined, folder: string | undefined): string | null {
  if (path !== undefined) {
    if (fileBytes(path) === null) throw new UsageError(`--pjrt-plugin: expected a file, received '${path}'`);
    return path;
  }
  const directory = folder ?? pluginDirectory(process.env, homedir());
  const installed = installedPlugin('tpu', { directory, host: `${process.platform}-${process.arch}` });
  if (installed !== null) return installed.path;
  process.stderr.write(
    `tensor-consensus: compile: libtpu is not in ${directory}; type: tensor-consensus plugin install tpu\n`,
  );
  return null;
}

/** @throws UsageError */
function makeFolder(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    throw new UsageError(`--out: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ');
}
