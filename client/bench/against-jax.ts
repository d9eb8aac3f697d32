/**
 * The service's programs against the same operators written plainly in JAX, on the same inputs. Three steps, so that
 * each difference has a name: JAX's program in JAX; the text of JAX's program through our bridge on our plugin (another
 * build of XLA); our program through our bridge on our plugin (another lowering).
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.js';
import { bucketName, type TensorData } from '../../src/operators/signature.js';
import type { PjrtClient } from '../../src/pjrt/client.js';
import type { HostArray } from '../../src/pjrt/host-array.js';
import { withoutPlugin } from './engines.js';
import { openClient, programOf, ResidentProgram } from './own-execution.js';
import { benchScript, PythonProcess, whyNoPython } from './python.js';
import { atMost, type Cell, type Check, type SectionResult } from './report.js';
import type { BenchContext, Section } from './section.js';
import { median } from './statistics.js';
import { type Case, cases, type Size, Workload } from './workload.js';

/** As the script names what is computed, by the name of the case. */
const computed: ReadonlyMap<string, readonly string[]> = new Map([
  ['assignment, scaling', ['plan']],
  ['consensus', ['consensus']],
  ['all, TOP_K', ['projection', 'top_k', 'consensus']],
  ['all, HARD', ['projection', 'utility', 'consensus']],
]);
/** Every agent and task active, so that plain code without masks computes the same. */
const fullSizes: readonly Size[] = [
  { batch: 1, count: 128, bucket: 128 },
  { batch: 32, count: 128, bucket: 128 },
  { batch: 1, count: 1024, bucket: 1024 },
];
const topK = 8;
const turnMs = 60;
const leastRounds = 3;
const leastRuns = 3;
const mostOfJax = 1.5;
/** Of max(1, |value|), as between any two engines. */
const mostDifference = 1e-3;
const packages = ['jax', 'numpy'] as const;

interface JaxProgram {
  readonly id: string;
  readonly median: string;
  readonly folder: string;
  readonly arguments: readonly string[];
  readonly outputs: readonly string[];
  readonly compileMs: number;
}

interface JaxTurn {
  readonly executeMs: number;
  readonly runMs: number;
  readonly cores: number;
}

interface Turn {
  readonly executeMs: number;
  readonly cores: number;
}

export const againstJax: Section = async (context) => {
  const title = 'Against JAX';
  const leftOut = (why: string): SectionResult => {
    context.progress(`left out: ${why}`);
    return { name: 'jax', title, method: `Left out: ${why}.`, tables: [], checks: [] };
  };
  const script = benchScript('jax_operators.py');
  const missing = await whyNoPython(context.python, script, packages);
  if (missing !== null) return leftOut(missing);
  if (context.pluginPath === null) return leftOut(withoutPlugin);

  const jax = new PythonProcess(context.python, [script, 'serve']);
  const client = await openClient(context.pluginPath);
  const rows: Cell[][] = [];
  const parts: Cell[][] = [];
  const checks: Check[] = [];
  let worst = 0;
  try {
    const about = await jax.read<{ jax: string; device: string }>();
    for (const size of fullSizes) {
      for (const each of cases) {
        const operators = computed.get(each.name);
        if (operators === undefined) continue;
        const measured = await compare(context, jax, client, each, size, operators);
        const { name, ratio, ofPlain, ofBuild, ofLowering, difference } = measured;
        rows.push(measured.row);
        parts.push([each.name, name, ratio, ofPlain, ofBuild, ofLowering, measured.ofBridge, ...measured.cores]);
        worst = Math.max(worst, difference);
        if (each.name.startsWith('all')) {
          checks.push(atMost(`execution, ${each.name}, ${name}`, mostOfJax, ratio, "of JAX's own"));
        }
      }
    }
    checks.push(atMost("largest difference from JAX's results", mostDifference, worst, ''));
    return {
      name: 'jax',
      title,
      method:
        `JAX ${about.jax} on ${about.device} with the operators of test/bench/jax_operators.py, float32, no masks; XLA plugin build "${client.platformVersion}". Same ` +
        `inputs, results compared; every bucket is full. ${Math.max(leastRounds, context.rounds)} rounds in turn, medians. Execution is on inputs that lie on the device, with this thread ` +
        'waiting. JAX is timed with medians by sorting, as `jnp.median` does, and by bisection; ratios are to the faster. The text of that faster program is compiled ' +
        "by our plugin, too: what it takes there, of what it takes in JAX, is the build of XLA with the bridge's call; what our program takes, of that, is our lowering. " +
        'From and to the host: from arrays in memory to arrays in memory, weights resident. Cores: CPU time over wall time while executing, which is what threads make. Times in ms.',
      tables: [
        {
          columns: [
            'program',
            'bucket',
            'JAX, sorted medians',
            'JAX, bisected',
            "JAX's text on our plugin",
            'ours',
            'JAX from and to the host',
            "JAX's text from and to the host",
            'ours from and to the host',
            'JAX compile',
          ],
          rows,
        },
        {
          columns: [
            'program',
            'bucket',
            'ours/JAX',
            'ours/JAX with sorted medians',
            'of the build of XLA',
            'of our lowering',
            'of the bridge, with transfers',
            'JAX cores',
            'its text here, cores',
            'our cores',
          ],
          rows: parts,
        },
      ],
      checks,
    };
  } finally {
    client.dispose();
    await jax.stop();
  }
};

async function compare(
  context: BenchContext,
  jax: PythonProcess,
  client: PjrtClient,
  each: Case,
  size: Size,
  operators: readonly string[],
) {
  const workload = new Workload(each, size);
  const name = bucketName(workload.request.bucket);
  const { text, travelling, inputs: given, outputsOf } = programOf(workload, client.platformName);
  const medians = operators.includes('consensus') ? ['sort', 'bisection'] : ['sort'];
  const programs: JaxProgram[] = [];
  for (const method of medians) {
    const id = `${each.name}, ${name}, ${method}`.replaceAll(/[^a-z0-9]+/gi, '-');
    const folder = join(context.folder, id);
    mkdirSync(folder);
    const shapes: Record<string, readonly number[]> = {};
    for (const [input, { data, dims }] of given) {
      if (!(data instanceof Float32Array)) continue;
      shapes[input] = dims;
      writeFileSync(join(folder, `${input}.in`), data);
    }
    const command = { do: 'load', id, folder, shapes, case: operators, median: method };
    const settings = { temperature: each.temperature, iterations: workload.spec.soft?.iterations ?? 10, top_k: topK };
    const loaded = await jax.ask<Omit<JaxProgram, 'id' | 'median' | 'folder'>>({ ...command, ...settings });
    programs.push({ ...loaded, id, median: method, folder });
  }
  const trial = new Map<string, JaxTurn>();
  for (const { id } of programs) trial.set(id, await jax.ask<JaxTurn>({ do: 'turn', id, turnMs }));
  const fastest = programs.reduce((best, program) =>
    trial.get(program.id)!.executeMs < trial.get(best.id)!.executeMs ? program : best,
  );
  const theirText = readFileSync(join(fastest.folder, 'program.mlir'), 'utf8');
  const theirInputs = fastest.arguments.map((argument) => given.get(argument)!);
  using ours = await ResidentProgram.load(client, text, travelling);
  using theirs = await ResidentProgram.load(client, theirText, theirInputs);
  const difference = largestDifference(fastest, outputsOf(await ours.results()), await theirs.results());

  const turns = { jax: new Map<string, JaxTurn[]>(), theirs: [] as Turn[], ours: [] as Turn[] };
  const hostRuns = { theirs: [] as number[], ours: [] as number[] };
  for (let round = 0; round < Math.max(leastRounds, context.rounds); round++) {
    for (const { id } of programs) {
      const turn = await jax.ask<JaxTurn>({ do: 'turn', id, turnMs });
      turns.jax.set(id, [...(turns.jax.get(id) ?? []), turn]);
    }
    turns.theirs.push(timeTurn(theirs));
    hostRuns.theirs.push(await hostTurn(theirs));
    turns.ours.push(timeTurn(ours));
    hostRuns.ours.push(await hostTurn(ours));
  }
  for (const { id } of programs) await jax.ask({ do: 'drop', id });

  const own = turns.jax.get(fastest.id)!;
  const plain = turns.jax.get(programs[0]!.id)!;
  const bisected = programs.length > 1 ? turns.jax.get(programs[1]!.id)! : null;
  const ratioTo = (base: readonly { readonly executeMs: number }[], of: readonly Turn[]): number =>
    median(of.map(({ executeMs }, round) => executeMs / base[round]!.executeMs));
  const executeOf = (list: readonly { readonly executeMs: number }[]): number =>
    median(list.map(({ executeMs }) => executeMs));
  const coresOf = (list: readonly { readonly cores: number }[]): number => median(list.map(({ cores }) => cores));
  const ratio = ratioTo(own, turns.ours);
  context.progress(`${each.name}, ${name}: JAX ${executeOf(own).toFixed(2)} ms, ours ${ratio.toFixed(2)} of it`);
  return {
    name,
    ratio,
    ofPlain: ratioTo(plain, turns.ours),
    ofBuild: ratioTo(own, turns.theirs),
    ofLowering: ratioTo(turns.theirs, turns.ours),
    ofBridge: median(hostRuns.theirs.map((runMs, round) => runMs / own[round]!.runMs)),
    cores: [coresOf(own), coresOf(turns.theirs), coresOf(turns.ours)],
    difference,
    row: [
      each.name,
      name,
      executeOf(plain),
      bisected === null ? '-' : executeOf(bisected),
      executeOf(turns.theirs),
      executeOf(turns.ours),
      median(own.map(({ runMs }) => runMs)),
      median(hostRuns.theirs),
      median(hostRuns.ours),
      fastest.compileMs,
    ] satisfies Cell[],
  };
}

function timeTurn(program: ResidentProgram): Turn {
  const samples: number[] = [];
  const before = process.cpuUsage();
  const startMs = performance.now();
  while (samples.length < leastRuns || performance.now() - startMs < turnMs) samples.push(program.execute());
  const { user, system } = process.cpuUsage(before);
  return { executeMs: median(samples), cores: (user + system) / 1000 / (performance.now() - startMs) };
}

async function hostTurn(program: ResidentProgram): Promise<number> {
  const samples: number[] = [];
  const startMs = performance.now();
  while (samples.length < leastRuns || performance.now() - startMs < turnMs) {
    const runStartMs = performance.now();
    await program.run(systemClock);
    samples.push(performance.now() - runStartMs);
  }
  return median(samples);
}

/** Of max(1, |JAX's value|), over the results that both have, and over those of JAX's own text on our plugin. Chosen tasks may tie: their masses are compared. */
function largestDifference(
  program: JaxProgram,
  ownResults: ReadonlyMap<string, TensorData>,
  theirResults: readonly HostArray[],
): number {
  let worst = 0;
  for (const [index, output] of program.outputs.entries()) {
    if (output === 'top_k_tasks') continue;
    const bytes = readFileSync(join(program.folder, `${output}.out`));
    const expected = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    const own = ownResults.get(output);
    if (own === undefined) throw new Error(`our program has no result ${output}`);
    for (const results of [own, theirResults[index]!]) {
      if (results.length !== expected.length) {
        throw new Error(`${output}: expected ${expected.length} values as in JAX, received ${results.length}`);
      }
      for (let i = 0; i < expected.length; i++) {
        const value = expected[i]!;
        const difference = Math.abs(Number(results[i]!) - value) / Math.max(1, Math.abs(value));
        // A result that is no number compares as no difference otherwise.
        worst = Math.max(worst, Number.isNaN(difference) ? Infinity : difference);
      }
    }
  }
  return worst;
}
