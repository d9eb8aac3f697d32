/** What robots measure, and how their sensors break. All noise is addressed by (seed, robot, step): see random.ts. */
import { mapSizeM, type Point } from './map.js';
import { between, normal } from './random.js';
import type { Robot } from './world.js';

/** Standard deviation of a healthy position sensor, per axis. */
const positionNoiseM = 1;
/** Standard deviation of one measurement of the offset to the beacon, per axis. */
export const beaconNoiseM = 12;

const topics = { positionX: 101, positionY: 102, offsetX: 103, offsetY: 104, path: 105 } as const;

/** The beacon's true place: a smooth closed curve through the middle of the map, about 8 m per step. */
export function beaconAt(seed: number, now: number): Point {
  const phase = (k: number): number => between(0, 2 * Math.PI, seed, topics.path, k);
  const wave = (period: number, k: number): number => Math.sin((2 * Math.PI * now) / period + phase(k));
  const half = mapSizeM / 2;
  return {
    x: half + 0.26 * mapSizeM * wave(240, 0) + 0.09 * mapSizeM * wave(97, 1),
    y: half + 0.26 * mapSizeM * wave(180, 2) + 0.09 * mapSizeM * wave(71, 3),
  };
}

/** Sets the robot's reported position. A stuck sensor repeats what it last said; a lying one adds its offset. */
export function sensePosition(seed: number, now: number, robot: Robot): void {
  const broken = robot.breaksAt <= now;
  if (broken && robot.fault === 'stuck') return;
  const lie = broken && robot.fault === 'lying' ? robot.lieM : { x: 0, y: 0 };
  robot.reportedX = robot.x + lie.x + positionNoiseM * normal(seed, topics.positionX, robot.index, now);
  robot.reportedY = robot.y + lie.y + positionNoiseM * normal(seed, topics.positionY, robot.index, now);
}

/**
 * Sets where the robot believes the beacon to be: its reported position plus the measured offset from its true one.
 * An error of the position sensor moves this estimate by the same amount, which is what gives the robot away.
 */
export function senseBeacon(seed: number, now: number, robot: Robot, beacon: Point): void {
  const offsetX = beacon.x - robot.x + beaconNoiseM * normal(seed, topics.offsetX, robot.index, now);
  const offsetY = beacon.y - robot.y + beaconNoiseM * normal(seed, topics.offsetY, robot.index, now);
  robot.beaconX = robot.reportedX + offsetX;
  robot.beaconY = robot.reportedY + offsetY;
}
