/** The end of a run: the figures, and whether it all worked. */
import type { Outcome } from './baseline.js';
import type { Commander } from './commander.js';
import { outcomeOf } from './baseline.js';
import { percentile, type Tally } from './tally.js';
import { stepS, type World } from './world.js';

/** Sites that appeared earlier than this before the end should have been served. */
export const serviceTimeS = 75;
/** This share of the sites due must have been served ... */
const dueShare = 0.9;
/** ... or, where robots are too few for that, this share of what greedy serves: it leaves the urgent and the far ones out. */
const overloadShare = 0.75;
const largestGap = 0.01;
const foundShare = 0.9;
const falseAlarmShare = 0.01;
/** Fewer served sites say nothing about travel. */
const leastSitesForTravel = 20;

export interface Check {
  readonly name: string;
  readonly passed: boolean;
  /** What was measured against what. */
  readonly detail: string;
}

export interface Run {
  readonly world: World;
  readonly baseline: World;
  readonly commander: Commander;
  readonly tally: Tally;
  /** Exit code of the server that the demo started; null where it used one that was running. */
  readonly serverExit: number | null;
}

/** What a run has to show for itself. Checks that the run gave no occasion for are left out. */
export function checksOf({ world, baseline, tally, serverExit }: Run): Check[] {
  const ours = outcomeOf(world);
  const greedy = outcomeOf(baseline);
  const due = world.sites.filter((site) => site.appearsAt + serviceTimeS / stepS <= world.now);
  const dueServed = due.filter((site) => site.servedAt !== null).length;
  const enough = dueServed >= dueShare * due.length;
  const faults = tally.faults(world);
  const checks: Check[] = [
    {
      name: 'every call answered',
      passed: tally.failures.length === 0 && tally.ticks === world.now,
      detail: `${tally.ticks} of ${world.now}${tally.failures[0] === undefined ? '' : `; first failure: ${tally.failures[0]}`}`,
    },
    {
      name: 'certified gap',
      passed: tally.ticks > 0 && tally.worstGap <= largestGap,
      detail: `worst ${percent(tally.worstGap, 4)}, at most ${percent(largestGap, 0)}`,
    },
  ];
  if (faults.visible > 0 || faults.falseAlarms > 0) {
    checks.push({
      name: 'faulty robots found',
      passed:
        faults.visible - faults.missed >= foundShare * faults.visible &&
        faults.falseAlarms <= Math.max(1, falseAlarmShare * world.robots.length),
      detail: `${faults.visible - faults.missed} of ${faults.visible} visible, ${faults.falseAlarms} false alarms`,
    });
  }
  if (due.length > 0) {
    checks.push({
      name: 'sites served in time',
      passed: enough || ours.sitesServed >= overloadShare * greedy.sitesServed,
      detail: `${dueServed} of ${due.length} due; in all ${ours.sitesServed}, greedy ${greedy.sitesServed}`,
    });
  }
  // Where robots are too few, travel tells which sites were left out, not how well robots were sent.
  if (enough && ours.sitesServed >= leastSitesForTravel) {
    checks.push({
      name: 'travel no longer than greedy',
      passed: ours.travelPerSiteM <= greedy.travelPerSiteM,
      detail: `${ours.travelPerSiteM.toFixed(0)} m : ${greedy.travelPerSiteM.toFixed(0)} m per site`,
    });
  }
  if (faults.visible > 0) {
    checks.push({
      name: 'beacon better than the plain mean',
      passed: tally.beaconErrorM < tally.meanErrorM,
      detail: `${tally.beaconErrorM.toFixed(1)} m : ${tally.meanErrorM.toFixed(1)} m`,
    });
  }
  if (serverExit !== null) {
    checks.push({ name: 'server stopped cleanly', passed: serverExit === 0, detail: `exit code ${serverExit}` });
  }
  return checks;
}

/** The figures as aligned lines, without the checks. */
export function summaryLines({ world, baseline, commander, tally }: Run): string[] {
  const ours = outcomeOf(world);
  const greedy = outcomeOf(baseline);
  const faults = tally.faults(world);
  const saved = 1 - ours.travelPerSiteM / greedy.travelPerSiteM;
  const ms = (quantile: number): string => `${percentile(tally.latenciesMs, quantile).toFixed(1)} ms`;
  const appeared = world.sites.filter((site) => site.appearsAt <= world.now).length;
  return rows([
    ['', 'this run', 'greedy'],
    [`sites served, of ${appeared}`, String(ours.sitesServed), String(greedy.sitesServed)],
    ['travel per site', metres(ours), `${metres(greedy)}   ${relation(saved)}`],
    ['wait until served, mean', `${ours.meanWaitS.toFixed(0)} s`, `${greedy.meanWaitS.toFixed(0)} s`],
    [],
    ['certified gap, worst', percent(tally.worstGap, 4), `solver ${tally.solver || 'none'}`],
    ['churn per tick', percent(tally.meanChurn, 2), 'of robots got another task than before'],
    ['changes of mind', String(commander.mindChanges), 'robots taken off a site still open'],
    ['beacon error, mean', `${tally.beaconErrorM.toFixed(1)} m`, `plain mean of all: ${tally.meanErrorM.toFixed(1)} m`],
    ['faulty robots found', String(faults.found), `missed ${faults.missed}, false alarms ${faults.falseAlarms}`],
    ['', `${faults.meanDelayTicks.toFixed(1)} ticks`, 'from first visible error to verdict'],
    ['call latency', `p50 ${ms(0.5)}`, `p95 ${ms(0.95)}, p99 ${ms(0.99)}`],
    ['calls', String(tally.latenciesMs.length), `${tally.lateTicks} ticks late`],
    ['engine', tally.engine],
  ]);
}

function metres({ travelPerSiteM }: Outcome): string {
  return `${travelPerSiteM.toFixed(0)} m`;
}

function relation(saved: number): string {
  if (!Number.isFinite(saved)) return '';
  return saved >= 0 ? `(${percent(saved, 0)} less here)` : `(${percent(-saved, 0)} more here)`;
}

export function percent(share: number, digits: number): string {
  return `${(100 * share).toFixed(digits)} %`;
}

function rows(cells: readonly (readonly string[])[]): string[] {
  return cells.map(([name = '', value = '', note = '']) => `  ${name.padEnd(26)}${value.padEnd(14)}${note}`.trimEnd());
}
