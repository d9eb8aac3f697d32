/** How a robot moves: bounded speed, bounded acceleration, no teleporting, no leaving the map. */
import { mapSizeM, type Point } from './map.js';
import type { Robot } from './world.js';

/** Smaller steps than the world's keep braking accurate to centimetres. */
const substepsPerS = 5;
/** Closer than this (by its own sensor) a robot stands still, so that sensor noise does not make it dance. */
const stopRadiusM = 4;

/**
 * Drives for `seconds` towards `target`, or brakes where it is null. The robot steers by what it believes: its reported
 * position, carried forward by odometry unless the sensor is stuck. Returns the metres driven.
 */
export function moveTowards(robot: Robot, target: Point | null, seconds: number, stuck: boolean): number {
  const count = Math.max(1, Math.round(seconds * substepsPerS));
  const dt = seconds / count;
  let drivenM = 0;
  for (let i = 0; i < count; i += 1) {
    accelerate(robot, target, dt);
    const dx = insideMap(robot.x + robot.vx * dt) - robot.x;
    const dy = insideMap(robot.y + robot.vy * dt) - robot.y;
    robot.x += dx;
    robot.y += dy;
    drivenM += Math.hypot(dx, dy);
    if (stuck) continue;
    robot.reportedX += dx;
    robot.reportedY += dy;
  }
  return drivenM;
}

export function stopMoving(robot: Robot): void {
  robot.vx = 0;
  robot.vy = 0;
}

/** Turns the velocity towards the wanted one by at most acceleration x dt; both lie within the speed limit, so all between does. */
function accelerate(robot: Robot, target: Point | null, dt: number): void {
  let wantedX = 0;
  let wantedY = 0;
  if (target !== null) {
    const dx = target.x - robot.reportedX;
    const dy = target.y - robot.reportedY;
    const leftM = Math.hypot(dx, dy);
    // The fastest speed from which it can still brake in the distance left.
    const speed = Math.min(robot.topSpeedMps, Math.sqrt(2 * robot.accelerationMps2 * leftM));
    if (leftM > stopRadiusM) {
      wantedX = (dx / leftM) * speed;
      wantedY = (dy / leftM) * speed;
    }
  }
  const changeX = wantedX - robot.vx;
  const changeY = wantedY - robot.vy;
  const change = Math.hypot(changeX, changeY);
  const share = change === 0 ? 0 : Math.min(1, (robot.accelerationMps2 * dt) / change);
  robot.vx += changeX * share;
  robot.vy += changeY * share;
}

function insideMap(value: number): number {
  return Math.min(mapSizeM, Math.max(0, value));
}
