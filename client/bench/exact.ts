/**
 * Our exact assignment against scipy's on the same matrices: from nothing, and from the prices of the tick before. Both on one thread of
 * their own process, in turn.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type HardProblem, type HardResult, type HardWarmStart, plainHardProblem } from '../../src/assignment/hard.js';
import { SolveTimes } from '../../src/assignment/solve-time.js';
import { solveHard } from '../../src/assignment/solve.js';
import { benchScript, PythonProcess, whyNoPython } from './python.js';
import { uniformArray, uniformSource } from './random-states.js';
import { atMost, type Cell, type Check } from './report.js';
import type { BenchContext, Section } from './section.js';
import { median } from './statistics.js';

const count = 1000;
const mapMetres = 1000;
/** Side of the square in which everybody starts. */
const cornerMetres = 50;
const stepMetres = 1;
/** The fastest of so many solves counts, on either side. */
const repeats = 3;
const warmUpCount = 300;
const warmUpSolves = 6;

const largeCount = 5000;
const largeBudgetMs = 500;
/** The last counts: before it the code is compiled, and what a solve costs is measured. */
const largeSolves = 3;
const mostLargeGap = 0.01;
/** The answer after the last step of the solver, and its bound, come on top. */
const mostOfBudget = 1.1;
/** Of max(1, |scipy's objective|): scipy adds up in float64. */
const mostDifferenceMillionths = 1;
const packages = ['numpy', 'scipy'] as const;

type Start = 'uniform' | 'clustered';
type Move = 'towards the task' | 'at random';

interface Swarm {
  /** [N,2] metres */
  readonly agents: Float64Array;
  readonly tasks: Float64Array;
}

interface Measured {
  readonly name: string;
  readonly mostOfScipy: number;
  readonly rounds: Pair[];
}

interface Pair {
  readonly ourMs: number;
  readonly scipyMs: number;
  readonly difference: number;
}

export const exact: Section = async (context) => {
  const title = 'Exact assignment against scipy';
  const script = benchScript('scipy_assignment.py');
  const missing = await whyNoPython(context.python, script, packages);
  if (missing !== null) {
    context.progress(`left out: ${missing}`);
    return { name: 'exact', title, method: `Left out: ${missing}.`, tables: [], checks: [] };
  }
  const scipy = new PythonProcess(context.python, [script]);
  try {
    const { scipy: version } = await scipy.read<{ scipy: string }>();
    for (let seed = 0; seed < warmUpSolves; seed++) warmUp(seed);
    const cold = (name: string, mostOfScipy: number): Measured => ({ name, mostOfScipy, rounds: [] });
    const measured = {
      random: cold('cold, utilities uniform at random', 1),
      uniform: cold('cold, agents and tasks uniform on the map', 1),
      clustered: cold('cold, agents in a corner', 0.3),
      uniformTowards: cold(`warm, uniform, ${stepMetres} m towards the task`, 0.05),
      uniformAtRandom: cold(`warm, uniform, ${stepMetres} m at random`, 0.3),
      clusteredTowards: cold(`warm, corner, ${stepMetres} m towards the task`, 0.05),
      clusteredAtRandom: cold(`warm, corner, ${stepMetres} m at random`, 0.1),
    };
    for (let round = 0; round < context.rounds; round++) {
      const seed = 10 * round + 1;
      const add = async (into: Measured, utility: Float32Array, warm: HardWarmStart | null): Promise<HardResult> => {
        const { result, ...pair } = await against(context, scipy, utility, warm);
        into.rounds.push(pair);
        context.progress(`${into.name}: ${pair.ourMs.toFixed(1)} ms, scipy ${pair.scipyMs.toFixed(1)} ms`);
        return result;
      };
      await add(measured.random, uniformArray(count * count, seed), null);
      for (const start of ['uniform', 'clustered'] as const) {
        const swarm = swarmOf(start, count, seed);
        const first = await add(measured[start], utilityOf(swarm), null);
        const warm = { taskPrices: first.taskPrices, taskOfAgent: first.taskOfAgent };
        for (const move of ['towards the task', 'at random'] as const) {
          const next = moved(swarm, move, first.taskOfAgent, seed);
          await add(measured[`${start}${move === 'at random' ? 'AtRandom' : 'Towards'}`], utilityOf(next), warm);
        }
      }
    }
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    let worst = 0;
    for (const { name, mostOfScipy, rounds } of Object.values(measured)) {
      const ratio = median(rounds.map(({ ourMs, scipyMs }) => ourMs / scipyMs));
      rows.push([name, median(rounds.map((pair) => pair.ourMs)), median(rounds.map((pair) => pair.scipyMs)), ratio]);
      checks.push(atMost(`exact N=${count}, ${name}`, mostOfScipy, ratio, "of scipy's time"));
      for (const { difference } of rounds) worst = Math.max(worst, difference);
    }
    checks.push(
      atMost("largest difference from scipy's objective", mostDifferenceMillionths, 1e6 * worst, 'millionths of it'),
    );
    const budgeted = Array.from({ length: largeSolves }, (_, index) => solveLarge(context, index + 1));
    const large = budgeted.at(-1)!;
    checks.push(
      atMost(`gap, N=${largeCount} in a corner, budget ${largeBudgetMs} ms`, 100 * mostLargeGap, 100 * large.gap, '%'),
      atMost(
        `time, N=${largeCount} in a corner, budget ${largeBudgetMs} ms`,
        mostOfBudget,
        large.ms / largeBudgetMs,
        'of the budget',
      ),
    );
    return {
      name: 'exact',
      title,
      method:
        `scipy ${version}'s \`linear_sum_assignment\` and our exact solver, each on one thread and on the same float32 matrices (scipy's are converted to float64 first, which is not ` +
        `counted); the faster of ${repeats} solves, ratios taken within each of ${context.rounds} rounds (a seed each), medians. N=M=${count} on a map of ${mapMetres} m, utility minus the distance; in a corner: ` +
        `all agents start in a square of ${cornerMetres} m, tasks are spread over the map. Warm: from the prices and tasks of the tick before, after every agent moved ${stepMetres} m; scipy starts anew. ` +
        `Second table: N=M=${largeCount}, \`AUTO\` with a budget, ${largeSolves} swarms in turn, of which the last counts. Times in ms.`,
      tables: [
        { columns: ['problem', 'ours', 'scipy', 'ratio'], rows },
        {
          columns: ['N=M', 'budget', 'time', 'solver', 'certified gap, %'],
          rows: budgeted.map(({ ms, solver, gap }) => [largeCount, largeBudgetMs, ms, solver, 100 * gap]),
        },
      ],
      checks,
    };
  } finally {
    await scipy.stop();
  }
};

/** Of this thread, as a solver thread of the service has them. */
const times = new SolveTimes();

function solve(problem: HardProblem): { readonly ms: number; readonly result: HardResult } {
  const startMs = performance.now();
  const result = solveHard(problem, { nowMs: () => performance.now(), cancelled: () => false }, times);
  const ms = performance.now() - startMs;
  if (result === null) throw new Error('a problem that nobody cancelled was not solved');
  return { ms, result };
}

/** The solver's code is compiled before anything is timed, cold and warm. */
function warmUp(seed: number): void {
  for (const start of ['uniform', 'clustered'] as const) {
    const swarm = swarmOf(start, warmUpCount, seed);
    const first = solve(plainHardProblem(warmUpCount, utilityOf(swarm), 'EXACT')).result;
    for (const move of ['towards the task', 'at random'] as const) {
      const next = utilityOf(moved(swarm, move, first.taskOfAgent, seed));
      const warm = { taskPrices: first.taskPrices, taskOfAgent: first.taskOfAgent };
      solve({ ...plainHardProblem(warmUpCount, next, 'EXACT'), warm });
    }
  }
}

/** `utility` [N,N] stays as it is. */
async function against(
  { folder }: BenchContext,
  scipy: PythonProcess,
  utility: Float32Array,
  warm: HardWarmStart | null,
): Promise<Pair & { readonly result: HardResult }> {
  const file = join(folder, 'exact.f32');
  writeFileSync(file, utility);
  const theirs = await scipy.ask<{ ms: number; objective: number }>({ file, rows: count, columns: count, repeats });
  rmSync(file);
  let ourMs = Infinity;
  let result: HardResult | null = null;
  for (let repeat = 0; repeat < repeats; repeat++) {
    // The solver owns what it is given.
    const solved = solve({ ...plainHardProblem(count, utility.slice(), 'EXACT'), warm });
    ourMs = Math.min(ourMs, solved.ms);
    result = solved.result;
  }
  const difference = Math.abs(result!.objective - theirs.objective) / Math.max(1, Math.abs(theirs.objective));
  return { ourMs, scipyMs: theirs.ms, difference, result: result! };
}

function solveLarge(
  context: BenchContext,
  seed: number,
): {
  readonly ms: number;
  readonly gap: number;
  readonly solver: string;
} {
  const utility = utilityOf(swarmOf('clustered', largeCount, seed));
  const problem = { ...plainHardProblem(largeCount, utility, 'AUTO'), budgetMs: largeBudgetMs };
  const { ms, result } = solve(problem);
  const gap = (result.upperBound - result.objective) / Math.max(Math.abs(result.objective), 1e-12);
  context.progress(
    `N=${largeCount}, ${largeBudgetMs} ms: ${result.solver}, gap ${(100 * gap).toFixed(2)} %, ${ms.toFixed(0)} ms`,
  );
  return { ms, gap, solver: result.solver };
}

function swarmOf(start: Start, agentCount: number, seed: number): Swarm {
  const side = start === 'uniform' ? mapMetres : cornerMetres;
  const within = (metres: number, offset: number): Float64Array =>
    Float64Array.from(uniformArray(2 * agentCount, seed + offset), (share) => metres * share);
  return { agents: within(side, 1), tasks: within(mapMetres, 2) };
}

/** The tick after, with every agent `stepMetres` on; one that is nearer to its task stops there. */
function moved({ agents, tasks }: Swarm, move: Move, taskOfAgent: Int32Array, seed: number): Swarm {
  const random = uniformSource(seed + 3);
  const next = agents.slice();
  for (let agent = 0; agent < taskOfAgent.length; agent++) {
    const task = taskOfAgent[agent]!;
    const angle = 2 * Math.PI * random();
    let across = stepMetres * Math.cos(angle);
    let along = stepMetres * Math.sin(angle);
    if (move === 'towards the task' && task >= 0) {
      across = tasks[2 * task]! - agents[2 * agent]!;
      along = tasks[2 * task + 1]! - agents[2 * agent + 1]!;
      const share = Math.min(stepMetres / Math.max(Math.hypot(across, along), 1e-9), 1);
      across *= share;
      along *= share;
    }
    next[2 * agent]! += across;
    next[2 * agent + 1]! += along;
  }
  return { agents: next, tasks };
}

/** [N,N] minus the distance in metres. */
function utilityOf({ agents, tasks }: Swarm): Float32Array {
  const agentCount = agents.length / 2;
  const taskCount = tasks.length / 2;
  const utility = new Float32Array(agentCount * taskCount);
  for (let agent = 0; agent < agentCount; agent++) {
    for (let task = 0; task < taskCount; task++) {
      const across = agents[2 * agent]! - tasks[2 * task]!;
      const along = agents[2 * agent + 1]! - tasks[2 * task + 1]!;
      utility[agent * taskCount + task] = -Math.sqrt(across * across + along * along);
    }
  }
  return utility;
}
