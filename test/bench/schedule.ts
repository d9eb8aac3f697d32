/**
 * The scheduler in virtual time: goodput against load, ours beside first come, first served at a fixed delay and beside a
 * bound that no scheduler beats. `npm run bench:schedule` prints the table and writes docs/schedule.md and docs/schedule.svg.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { benchPlugin } from '../../client/bench/engines.js';
import { uniform } from '../../client/demo/random.js';
import { formatNumber } from '../../client/bench/report.js';
import { packageRoot } from '../../src/package-root.js';
import { type CostTable, measureCosts, storedCosts } from './schedule-costs.js';
import { goodputBound, simulateFixedDelay } from './schedule-fixed-delay.js';
import { type ArrivalKind, arrivalKinds, capacityPerSecond, requestsOf } from './schedule-load.js';
import { simulateOurs } from './schedule-ours.js';
import { type Curve, renderPlot } from './schedule-plot.js';
import type { Outcome, Window } from './schedule-tally.js';

export const sweptLoads = [0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.5, 2, 3, 4] as const;

/** What the project promises: so many times the goodput of the fixed delay. */
const goalLoad = 1.2;
const leastOfFixedDelay = 1.3;

/** The fixed delay that does best is compared with, at each load anew. */
const fixedDelaysMs = [0, 2, 5, 10] as const;
/** Common model servers queue without a bound and run what is late like anything else. */
const unbounded = { maxQueue: Infinity, dropsExpired: false } as const;
/** What a careful operator sets: the bound that is our default, and late requests dropped as their batch is formed. */
const bounded = { maxQueue: 256, dropsExpired: true } as const;

/** Runs take up to so much more than the table says. */
const mostSlowdown = 0.1;
const warmUpMs = 500;

export interface Point {
  readonly kind: ArrivalKind;
  /** Arrivals over capacity. */
  readonly load: number;
  readonly ours: Outcome;
  readonly fixedDelay: Outcome;
  readonly fixedDelayDropping: Outcome;
  readonly boundPerSecond: number;
}

/** One load, the same requests and run times for everybody. The first half second is not counted. */
export async function simulateLoad(
  kind: ArrivalKind,
  load: number,
  { costs, seconds, seed }: { readonly costs: CostTable; readonly seconds: number; readonly seed: number },
): Promise<Point> {
  const window: Window = { fromMs: warmUpMs, untilMs: warmUpMs + 1000 * seconds };
  const requests = requestsOf(kind, load * capacityPerSecond(costs), window.untilMs, seed);
  const slowdown = (run: number): number => 1 + mostSlowdown * uniform(seed, run, 1);
  const best = (kept: typeof unbounded | typeof bounded): Outcome =>
    fixedDelaysMs
      .map((delayMs) => simulateFixedDelay(requests, costs, window, slowdown, { delayMs, ...kept }))
      .reduce((a, b) => (b.goodputPerSecond > a.goodputPerSecond ? b : a));
  return {
    kind,
    load,
    ours: await simulateOurs(requests, costs, window, slowdown),
    fixedDelay: best(unbounded),
    fixedDelayDropping: best(bounded),
    boundPerSecond: goodputBound(requests, costs, window),
  };
}

const columns = [
  'load',
  'arrive',
  'ours',
  'fixed delay',
  'fixed delay, dropping',
  'bound',
  'ours/fixed',
  'ours/dropping',
  'ours/bound',
  'ours late',
  'ours refused',
  'ours p99',
] as const;

function rowOf({ load, ours, fixedDelay, fixedDelayDropping, boundPerSecond }: Point, seconds: number): string[] {
  const good = ours.goodputPerSecond;
  const shareOf = (count: number): number => count / Math.max(ours.arrived, 1);
  return [
    load,
    ours.arrived / seconds,
    good,
    fixedDelay.goodputPerSecond,
    fixedDelayDropping.goodputPerSecond,
    boundPerSecond,
    good / fixedDelay.goodputPerSecond,
    good / fixedDelayDropping.goodputPerSecond,
    good / boundPerSecond,
    shareOf(ours.late),
    shareOf(ours.refused),
    ours.p99Ms,
  ].map(formatNumber);
}

export async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      measure: { type: 'boolean', default: false },
      seconds: { type: 'string', default: '4' },
      seed: { type: 'string', default: '1' },
      dry: { type: 'boolean', default: false },
    },
  });
  if (values.measure) return measure();
  const [seconds, seed] = [Number(values.seconds), Number(values.seed)];
  const costs = storedCosts();
  const capacity = capacityPerSecond(costs);
  process.stdout.write(`seed ${seed}; capacity ${formatNumber(capacity)} requests/s; costs of ${costs.machine}\n`);
  const sections: string[] = [];
  const curves: Curve[] = [];
  const ratios: string[] = [];
  for (const kind of arrivalKinds) {
    const points: Point[] = [];
    for (const load of sweptLoads) points.push(await simulateLoad(kind, load, { costs, seconds, seed }));
    const rows = points.map((point) => rowOf(point, seconds));
    const table = [columns, columns.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
    process.stdout.write(`\n${titles[kind]}\n${table}\n`);
    sections.push(`## ${titles[kind]}\n\n${table}`);
    const goal = points.find(({ load }) => load === goalLoad)!;
    ratios.push(formatNumber(goal.ours.goodputPerSecond / goal.fixedDelay.goodputPerSecond));
    curves.push({ title: titles[kind], points: points.map((point) => sharesOf(point, capacity)) });
  }
  if (!values.dry) {
    const page = pageOf(sections, ratios, { capacity, seconds, seed, machine: costs.machine });
    writeFileSync(join(packageRoot, 'docs/schedule.md'), page);
    writeFileSync(join(packageRoot, 'docs/schedule.svg'), renderPlot(curves));
  }
  return 0;
}

const titles: Readonly<Record<ArrivalKind, string>> = {
  poisson: 'Poisson arrivals',
  bursty: 'Bursty arrivals',
  ticks: 'Simulators that tick at the same moment',
};

function sharesOf(point: Point, capacity: number): Curve['points'][number] {
  return {
    load: point.load,
    ours: point.ours.goodputPerSecond / capacity,
    fixedDelay: point.fixedDelay.goodputPerSecond / capacity,
    fixedDelayDropping: point.fixedDelayDropping.goodputPerSecond / capacity,
    bound: point.boundPerSecond / capacity,
  };
}

async function measure(): Promise<number> {
  const plugin = benchPlugin('', process.env);
  if (plugin === null) throw new Error('measuring costs needs the PJRT plugin for the CPU');
  const costs = await measureCosts(plugin, (line) => void process.stderr.write(`${line}\n`));
  writeFileSync(new URL('schedule-costs.json', import.meta.url), `${JSON.stringify(costs, null, 2)}\n`);
  return 0;
}

function pageOf(
  sections: readonly string[],
  ratios: readonly string[],
  { capacity, seconds, seed, machine }: { capacity: number; seconds: number; seed: number; machine: string },
): string {
  return `# The scheduler in virtual time

<!-- Written by \`npm run bench:schedule\`; do not edit. -->

![goodput against load](schedule.svg)

Requests of N = M = 50 to 1000 (30, 35, 20, 10 and 5 % of 50, 100, 200, 500 and 1000; 30 % of those up to 200 want a \`HARD\` answer, the rest \`TOP_K\`) with deadlines
20, 50 and 200 ms after arrival (25, 35 and 25 %), or none. The service's own batcher, queue and policy run in virtual time on an engine and a solver
thread that take as long as was measured on a machine (${machine}), and up to a tenth longer at random. Load 1 is ${formatNumber(capacity)} requests/s: each in the batch that is cheapest for
it, with the engine never idle. ${seconds} s of each load after a warm-up, seed ${seed}; everybody meets the same requests. Rates in requests a second, times in ms.

- **fixed delay**: first come, first served in a queue for each program; a batch leaves when it is full or its first request has waited 0, 2, 5 or 10 ms (whichever is best at that load). The queue
  has no bound, and what is late runs like anything else: how common model servers are set up.
- **fixed delay, dropping**: the same with a queue of 256 and late requests dropped as their batch is formed: what a careful operator sets.
- **bound**: what nobody can beat: an engine that is never idle, every request in its cheapest batch, the cheapest requests chosen with foresight, no deadline too tight.
- **late** counts requests whose deadline passed unanswered, **refused** those told at once that they would be late or that the queue is full; both of all that arrived.

At load ${goalLoad} goodput is ${ratios.join(', ')} times the fixed delay's (the goal: ${leastOfFixedDelay}).

Answers are counted, not their size: a request of 1000 agents takes the engine as long as dozens of 50, so in an overload more of the small ones are in time and goodput may exceed that of load 1.

To measure again: \`npm run bench:schedule\` (\`-- --measure\` for the costs).

${sections.join('\n\n')}
`;
}
