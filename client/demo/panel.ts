/** The numbers beside (or below) the map. */
import { type Outcome, outcomeOf } from './baseline.js';
import type { Glyphs, Moment } from './draw.js';
import { distanceM, type Point } from './map.js';
import { type Span, span } from './style.js';
import { percent } from './summary.js';
import { percentile } from './tally.js';
import { type RobotState, stepS } from './world.js';

const barCells = 20;
const leastSites = 10;

/** `short`: a few dense lines for the space below a map. */
export function panel(moment: Moment, glyphs: Glyphs, short: boolean): Span[][] {
  const values = valuesOf(moment);
  if (short) {
    return [
      [span('tensor-consensus ', 'bold'), span(`${values.time}  ${values.sites}`)],
      [span(`travel ${values.travel} `), span(values.greedyTravel, 'dim'), span(`  faulty ${values.faulty}`, 'red')],
      [
        span(`beacon ${values.beacon} `),
        span(values.mean, 'dim'),
        span(`  call ${values.call}  gap ${values.gap}  churn ${values.churn}`),
      ],
    ];
  }
  const row = (name: string, value: string, note = ''): Span[] => [
    span(name.padEnd(9), 'dim'),
    span(value.padEnd(15)),
    span(note, 'dim'),
  ];
  return [
    [span('tensor-consensus', 'bold'), span('  a swarm, live', 'dim')],
    [span(moment.address, 'dim'), span(`  ${moment.tally.engine}`, 'dim')],
    [],
    [span('time     ', 'dim'), span(values.bar, 'green'), span(` ${values.time}`)],
    [],
    row('sites', values.sites),
    row('', values.served, values.greedyServed),
    row('travel', values.travel, values.greedyTravel),
    row('wait', values.wait, values.greedyWait),
    [],
    row('robots', values.busy),
    row('', values.others),
    [span('faulty   ', 'dim'), span(values.faulty.padEnd(15), 'red'), span(values.unseen, 'dim')],
    [],
    row('beacon', values.beacon, values.mean),
    row('gap', values.gap, values.worstGap),
    row('churn', values.churn, values.meanChurn),
    row('call', values.call, values.tail),
    [],
    [
      span(`${glyphs.travelling} driving  `, 'cyan'),
      span(`${glyphs.working} working  `, 'green'),
      span(`${glyphs.idle} idle`, 'dim'),
    ],
    [
      span(`${glyphs.charging} charging `, 'blue'),
      span(`${glyphs.charger} charger  `, 'blue'),
      span(`${glyphs.faulty} faulty, found`, 'red'),
    ],
    [
      span(`${glyphs.site} site     `, 'bold'),
      span(`${glyphs.siteWorked} in work  `, 'yellow'),
      span(`${glyphs.unseenFault} faulty, not yet`, 'red'),
    ],
    [
      span(`${glyphs.served} served   `, 'green'),
      span(`${glyphs.beacon} beacon   `, 'magenta'),
      span(`${glyphs.estimate} agreed  `, 'white'),
      span(`${glyphs.both} both  `, 'magenta'),
      span(`${glyphs.mean} mean`, 'dim'),
    ],
  ];
}

function valuesOf({ world, baseline, commander, tally }: Moment) {
  const ours = outcomeOf(world);
  const greedy = outcomeOf(baseline);
  const count = (...states: RobotState[]): number => world.robots.filter((r) => states.includes(r.state)).length;
  const convicted = world.robots.filter((r) => world.isPresent(r) && commander.faults.isFaulty(r.index)).length;
  const unseen = world.robots.filter(
    (r) => world.isPresent(r) && world.isBroken(r) && !commander.faults.isFaulty(r.index),
  ).length;
  const open = world.sites.filter((site) => world.isOpen(site)).length;
  const done = Math.round((barCells * world.now) / world.steps);
  const error = errorText(tally.estimate, tally.beacon);
  const meanError = errorText(tally.plainMean, tally.beacon);
  return {
    time: `${world.now * stepS} / ${world.steps * stepS} s`,
    bar: '='.repeat(done) + '-'.repeat(barCells - done),
    sites: `${open} open, ${ours.sitesServed} of ${world.sites.length} served`,
    served: `served ${ours.sitesServed}`,
    greedyServed: `greedy ${greedy.sitesServed}`,
    travel: travelText(ours),
    greedyTravel: `greedy ${travelText(greedy)}`,
    wait: `${ours.meanWaitS.toFixed(0)} s`,
    greedyWait: `greedy ${greedy.meanWaitS.toFixed(0)} s`,
    busy: `${count('travelling')} driving, ${count('working')} working`,
    others: `${count('idle')} idle, ${count('to-charger', 'charging')} charging, ${count('absent', 'gone')} away`,
    faulty: `${convicted} found`,
    unseen: `${unseen} broken, not found yet`,
    beacon: `${error} off`,
    mean: `plain mean ${meanError}`,
    gap: percent(tally.gaps.at(-1) ?? 0, 3),
    worstGap: `worst ${percent(tally.worstGap, 3)}, ${tally.solver}`,
    churn: percent(tally.churns.at(-1) ?? 0, 1),
    meanChurn: `of robots, mean ${percent(tally.meanChurn, 1)}`,
    call: `${(tally.latenciesMs.at(-1) ?? 0).toFixed(1)} ms`,
    tail: `p50 ${percentile(tally.latenciesMs, 0.5).toFixed(1)}, p99 ${percentile(tally.latenciesMs, 0.99).toFixed(1)} ms`,
  };
}

function errorText(thought: Point | null, truth: Point | null): string {
  return thought === null || truth === null ? '-' : `${distanceM(thought, truth).toFixed(1)} m`;
}

/** Travel per site means nothing until some are served. */
function travelText({ sitesServed, travelPerSiteM }: Outcome): string {
  return sitesServed < leastSites ? '-' : `${travelPerSiteM.toFixed(0)} m/site`;
}

/** Two lines for logs, a moment without a terminal: the present, and the gap and churn of each of the last `ticks` answers, in percent. */
export function logLines(moment: Moment, ticks: number): [string, string] {
  const { gaps, churns } = moment.tally;
  const each = (values: readonly number[], digits: number): string =>
    values
      .slice(-ticks)
      .map((value) => (100 * value).toFixed(digits))
      .join(' ');
  return [progressLine(moment), `${' '.repeat(11)}tick by tick, %: gap ${each(gaps, 2)}; churn ${each(churns, 1)}`];
}

function progressLine(moment: Moment): string {
  const values = valuesOf(moment);
  return [
    values.time.padStart(9),
    values.sites.padEnd(27),
    values.busy.padEnd(23),
    `faulty ${values.faulty}`.padEnd(15),
    `travel ${values.travel} (${values.greedyTravel})`.padEnd(34),
    `beacon ${values.beacon} (${values.mean})`,
    `gap ${values.gap}`,
    `churn ${values.churn}`.padEnd(12),
    `call ${values.call}`,
  ].join('  ');
}
