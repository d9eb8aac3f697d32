/**
 * The physical world of the demo: robots, rescue sites, chargers and a beacon on a square map. It knows the truth;
 * commanders see only what robots report. One step is one simulated second. Nothing here reads a clock or draws an
 * unaddressed random number: a seed and a list of orders give one course of events.
 */
import { distanceM, nearestCharger, type Point } from './map.js';
import { moveTowards, stopMoving } from './motion.js';
import { createRobots, createSites } from './scenario.js';
import { beaconAt, senseBeacon, sensePosition } from './sensors.js';

/** Simulated seconds per step. */
export const stepS = 1;
/** Metres a full battery drives. */
export const batteryRangeM = 1500;
/** A robot that works or waits within this distance of a site's or charger's centre is on it. */
export const arrivalRadiusM = 8;
/** Below this share of its battery a robot leaves everything and drives to a charger. */
export const chargeBelow = 0.25;
const chargeUntil = 0.9;
const chargePerS = 0.025;
const standbyDrainPerS = 0.0003;
const workDrainPerS = 0.0012;

/** A goal that is not a site: stop where you are and wait for repair, whatever the battery says. */
export const parked = -2;

export type RobotState = 'absent' | 'idle' | 'travelling' | 'working' | 'to-charger' | 'charging' | 'flat' | 'gone';
/** `stuck`: the position sensor repeats one old value. `lying`: it is off by a constant, far too large, offset. */
export type Fault = 'stuck' | 'lying';

export interface Robot {
  readonly id: string;
  readonly index: number;
  readonly topSpeedMps: number;
  readonly accelerationMps2: number;
  /** Step at which it arrives at its depot; 0 = there from the start. */
  readonly joinsAt: number;
  /** Step at which it leaves for good, or Infinity. */
  readonly leavesAt: number;
  /** Step at which its position sensor breaks, or Infinity. */
  readonly breaksAt: number;
  readonly fault: Fault | null;
  /** A lying sensor's offset, metres. */
  readonly lieM: Point;
  /** True position and velocity. */
  x: number;
  y: number;
  vx: number;
  vy: number;
  /** Share of a full charge, 0..1. */
  battery: number;
  state: RobotState;
  /** What its own position sensor says; it steers by this. */
  reportedX: number;
  reportedY: number;
  /** Where it believes the beacon to be: its reported position plus the measured offset to the beacon. */
  beaconX: number;
  beaconY: number;
  /** Metres driven so far. */
  travelledM: number;
}

export interface Site {
  readonly id: string;
  readonly index: number;
  readonly x: number;
  readonly y: number;
  /** Most robots that can work on it at once, 1..4. */
  readonly capacity: number;
  /** 1 (can wait) .. 3 (now). */
  readonly urgency: number;
  /** Robot-seconds of work it needs. */
  readonly workS: number;
  readonly appearsAt: number;
  workDoneS: number;
  servedAt: number | null;
}

export interface WorldOptions {
  readonly seed: number;
  readonly robotCount: number;
  readonly siteCount: number;
  /** Steps of the whole run: events are spread over it. */
  readonly steps: number;
}

export class World {
  readonly seed: number;
  readonly steps: number;
  readonly robots: readonly Robot[];
  readonly sites: readonly Site[];
  beacon: Point;
  /** Steps done. */
  now = 0;

  constructor(options: WorldOptions) {
    this.seed = options.seed;
    this.steps = options.steps;
    this.robots = createRobots(options);
    this.sites = createSites(options);
    this.beacon = beaconAt(options.seed, 0);
    this.#sense();
  }

  isPresent(robot: Robot): boolean {
    return robot.state !== 'absent' && robot.state !== 'gone';
  }

  wasEverPresent(robot: Robot): boolean {
    return robot.joinsAt <= this.now;
  }

  /** Whether orders mean anything to the robot: it is there, has charge and is not busy charging. */
  takesOrders(robot: Robot): boolean {
    return robot.state === 'idle' || robot.state === 'travelling' || robot.state === 'working';
  }

  isOpen(site: Site): boolean {
    return site.appearsAt <= this.now && site.servedAt === null;
  }

  /** Whether the robot's sensor is broken at this step. */
  isBroken(robot: Robot): boolean {
    return robot.fault !== null && robot.breaksAt <= this.now;
  }

  /**
   * One simulated second. `goals` [N]: the site each robot drives to and works on, -1 to stand still, or `parked`. Robots
   * that charge or drive to a charger ignore sites.
   */
  step(goals: Int32Array): void {
    this.now += 1;
    for (const robot of this.robots) this.#advanceRobot(robot, goals[robot.index] ?? -1);
    this.#work(goals);
    this.beacon = beaconAt(this.seed, this.now);
    this.#sense();
  }

  #advanceRobot(robot: Robot, goal: number): void {
    if (robot.state === 'absent' && robot.joinsAt <= this.now) robot.state = 'idle';
    if (this.isPresent(robot) && robot.leavesAt <= this.now) {
      robot.state = 'gone';
      stopMoving(robot);
    }
    if (!this.isPresent(robot) || robot.state === 'flat') return;
    if (robot.state === 'charging') {
      robot.battery = Math.min(1, robot.battery + chargePerS * stepS);
      if (robot.battery >= chargeUntil) robot.state = 'idle';
      return;
    }
    if (goal === parked) robot.state = 'idle';
    else if (robot.battery < chargeBelow) robot.state = 'to-charger';
    this.#drive(robot, this.#target(robot, goal));
    this.#drain(robot, standbyDrainPerS * stepS);
  }

  #target(robot: Robot, goal: number): Point | null {
    if (robot.state === 'to-charger') return nearestCharger({ x: robot.reportedX, y: robot.reportedY });
    const site = this.sites[goal];
    robot.state = site !== undefined && this.isOpen(site) ? 'travelling' : 'idle';
    return robot.state === 'travelling' ? (site ?? null) : null;
  }

  #drive(robot: Robot, target: Point | null): void {
    const drivenM = moveTowards(robot, target, stepS, robot.fault === 'stuck' && this.isBroken(robot));
    robot.travelledM += drivenM;
    this.#drain(robot, drivenM / batteryRangeM);
    if (robot.state === 'to-charger' && target !== null && distanceM(robot, target) <= arrivalRadiusM) {
      robot.state = 'charging';
      stopMoving(robot);
    }
  }

  #drain(robot: Robot, share: number): void {
    robot.battery = Math.max(0, robot.battery - share);
    if (robot.battery > 0) return;
    robot.state = 'flat';
    stopMoving(robot);
  }

  /** Robots truly within reach of their site work on it, the lowest indices first where more came than fit. */
  #work(goals: Int32Array): void {
    const crew = new Map<number, number>();
    for (const robot of this.robots) {
      const site = this.sites[goals[robot.index] ?? -1];
      if (robot.state !== 'travelling' || site === undefined || !this.isOpen(site)) continue;
      const working = crew.get(site.index) ?? 0;
      if (distanceM(robot, site) > arrivalRadiusM || working >= site.capacity) continue;
      crew.set(site.index, working + 1);
      robot.state = 'working';
      this.#drain(robot, workDrainPerS * stepS);
    }
    for (const [index, working] of crew) {
      const site = this.sites[index]!;
      site.workDoneS = Math.min(site.workS, site.workDoneS + working * stepS);
      if (site.workDoneS >= site.workS) site.servedAt = this.now;
    }
  }

  #sense(): void {
    for (const robot of this.robots) {
      if (!this.isPresent(robot)) continue;
      sensePosition(this.seed, this.now, robot);
      senseBeacon(this.seed, this.now, robot, this.beacon);
    }
  }
}
