/** Counts what happens in a run: calls, gaps, churn, beacon errors, and which broken robots were found. */
import type { CoordinateAnswer } from '../request.js';
import type { FaultWatch } from './fault-watch.js';
import { distanceM, type Point } from './map.js';
import { beaconNoiseM } from './sensors.js';
import type { Robot, World } from './world.js';

/**
 * A broken sensor can be told from a healthy one once it was wrong by this much (five deviations of one beacon
 * measurement) in this many ticks: a robot that stands still with a stuck sensor says nothing wrong.
 */
const visibleErrorM = 5 * beaconNoiseM;
const visibleTicks = 10;

export interface FaultTally {
  /** Robots present whose sensor is broken. */
  readonly broken: number;
  /** Of all that broke: those whose error could be seen. */
  readonly visible: number;
  /** Broken ones that were found. */
  readonly found: number;
  /** Visible ones that were not. */
  readonly missed: number;
  /** Healthy robots that were ever taken for broken. */
  readonly falseAlarms: number;
  /** Mean ticks from the first visible error to the verdict. */
  readonly meanDelayTicks: number;
}

export class Tally {
  readonly latenciesMs: number[] = [];
  /** Of every answer with an assignment: the certified gap, and the share of robots that got another task than before. */
  readonly gaps: number[] = [];
  readonly churns: number[] = [];
  readonly failures: string[] = [];
  /** Largest certified gap of all answers. */
  worstGap = 0;
  /** Sums over answered ticks. */
  beaconErrorSumM = 0;
  meanErrorSumM = 0;
  ticks = 0;
  /** Ticks that began late because the one before took longer than its time. */
  lateTicks = 0;
  /** Of the last answer, for the picture: where the beacon was when robots reported, and where it was thought to be. */
  beacon: Point | null = null;
  estimate: Point | null = null;
  plainMean: Point | null = null;
  solver = '';
  engine = '';
  readonly #visibleTicks: Uint16Array;
  readonly #firstVisibleAt: Int32Array;
  readonly #foundAt: Int32Array;
  readonly #falselyAccused = new Set<number>();

  constructor(robotCount: number) {
    this.#visibleTicks = new Uint16Array(robotCount);
    this.#firstVisibleAt = new Int32Array(robotCount).fill(-1);
    this.#foundAt = new Int32Array(robotCount).fill(-1);
  }

  /** One answered tick, before the world moves on. */
  answered(world: World, answer: CoordinateAnswer, latencyMs: number): void {
    this.ticks += 1;
    this.latenciesMs.push(latencyMs);
    if (answer.assignment !== null) {
      this.worstGap = Math.max(this.worstGap, answer.assignment.gap);
      this.gaps.push(answer.assignment.gap);
      this.churns.push(answer.assignment.churn);
      this.solver = answer.assignment.solver;
    }
    if (answer.execution !== null) this.engine = `${answer.execution.engine} on ${answer.execution.device}`;
    const centroid = answer.consensus?.centroid.data;
    this.estimate = centroid === undefined ? null : { x: centroid[0] ?? 0, y: centroid[1] ?? 0 };
    this.plainMean = meanOf(world.robots.filter((robot) => world.isPresent(robot)));
    this.beacon = world.beacon;
    if (this.estimate !== null) this.beaconErrorSumM += distanceM(this.estimate, world.beacon);
    this.meanErrorSumM += distanceM(this.plainMean, world.beacon);
  }

  failed(message: string): void {
    this.failures.push(message);
  }

  /** Holds the verdicts against the truth, once a tick. */
  judge(world: World, verdicts: FaultWatch): void {
    for (const robot of world.robots) {
      if (!world.isPresent(robot)) continue;
      const i = robot.index;
      if (!world.isBroken(robot)) {
        if (verdicts.isFaulty(i)) this.#falselyAccused.add(i);
        continue;
      }
      if (distanceM(robot, { x: robot.reportedX, y: robot.reportedY }) > visibleErrorM) {
        this.#visibleTicks[i]! += 1;
        if (this.#firstVisibleAt[i] === -1) this.#firstVisibleAt[i] = world.now;
      }
      if (verdicts.isFaulty(i) && this.#foundAt[i] === -1) this.#foundAt[i] = world.now;
    }
  }

  faults(world: World): FaultTally {
    const everBroken = world.robots.filter((robot) => world.isBroken(robot) && world.wasEverPresent(robot));
    const visible = everBroken.filter((robot) => this.#visibleTicks[robot.index]! >= visibleTicks);
    const found = everBroken.filter((robot) => this.#foundAt[robot.index] !== -1);
    const timed = found.filter((robot) => this.#firstVisibleAt[robot.index] !== -1);
    const delay = (robot: Robot): number =>
      Math.max(0, this.#foundAt[robot.index]! - this.#firstVisibleAt[robot.index]!);
    return {
      broken: everBroken.filter((robot) => world.isPresent(robot)).length,
      visible: visible.length,
      found: found.length,
      missed: visible.filter((robot) => this.#foundAt[robot.index] === -1).length,
      falseAlarms: this.#falselyAccused.size,
      meanDelayTicks: timed.reduce((sum, robot) => sum + delay(robot), 0) / Math.max(1, timed.length),
    };
  }

  /** Means over the answered ticks; 0 before the first. */
  get meanChurn(): number {
    return this.churns.reduce((sum, churn) => sum + churn, 0) / Math.max(1, this.ticks);
  }

  get beaconErrorM(): number {
    return this.beaconErrorSumM / Math.max(1, this.ticks);
  }

  get meanErrorM(): number {
    return this.meanErrorSumM / Math.max(1, this.ticks);
  }
}

function meanOf(robots: readonly Robot[]): Point {
  const count = Math.max(1, robots.length);
  return {
    x: robots.reduce((sum, robot) => sum + robot.beaconX, 0) / count,
    y: robots.reduce((sum, robot) => sum + robot.beaconY, 0) / count,
  };
}

/** The smallest value that at least the share `quantile` of all values do not exceed; 0 of none. */
export function percentile(values: readonly number[], quantile: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(quantile * sorted.length) - 1)] ?? 0;
}
