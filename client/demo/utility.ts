/** What a robot at a site is worth, in seconds; shared by the commander and the greedy baseline. */
import { distanceM, nearestCharger } from './map.js';
import { batteryRangeM, type Robot, type Site, type World } from './world.js';

/**
 * A place at a site is worth this much, plus so much for every step of urgency and for every second that the site waits.
 * Urgency decides between trips of similar length; were it worth more than most trips take, robots would cross the map
 * for urgent sites and serve fewer.
 */
const worthOfSiteS = 110;
const secondsPerUrgency = 10;
const growthPerWaitingS = 0.1;
/** An empty battery costs this much compared with a full one, so that fresh robots take the long trips. */
const emptyBatteryCostS = 30;
/** Charge that must be left on reaching a charger after the trip. */
const reserve = 0.08;

/** Robots stay idle where no site is worth more than this. */
export const idleUtilityS = 0;

/** Seconds from standstill to standstill over `distanceM`, with the robot's speed limit and acceleration. */
export function travelTimeS(robot: Robot, distanceM: number): number {
  const a = robot.accelerationMps2;
  const rampM = (robot.topSpeedMps * robot.topSpeedMps) / a;
  return distanceM < rampM ? 2 * Math.sqrt(distanceM / a) : robot.topSpeedMps / a + distanceM / robot.topSpeedMps;
}

/**
 * utility [N,M] row-major: urgency (growing while the site waits) minus travel time minus what a low battery costs, in
 * seconds; -Infinity where the robot could not reach the site and then a charger. Uses reported positions: nobody
 * knows the true ones. Columns of sites that are not open are left 0 (the mask hides them).
 */
export function fillUtility(world: World, utility: Float32Array): void {
  const columns = world.sites.length;
  const open = world.sites.filter((site) => world.isOpen(site));
  const homewardM = new Map(open.map((site) => [site.index, distanceM(site, nearestCharger(site))]));
  for (const robot of world.robots) {
    const row = robot.index * columns;
    const reachM = (robot.battery - reserve) * batteryRangeM;
    const batteryCostS = emptyBatteryCostS * (1 - robot.battery);
    for (const site of open) {
      const awayM = Math.hypot(site.x - robot.reportedX, site.y - robot.reportedY);
      utility[row + site.index] =
        awayM + homewardM.get(site.index)! > reachM
          ? Number.NEGATIVE_INFINITY
          : worthS(world, site) - travelTimeS(robot, awayM) - batteryCostS;
    }
  }
}

function worthS(world: World, site: Site): number {
  return worthOfSiteS + secondsPerUrgency * site.urgency + growthPerWaitingS * (world.now - site.appearsAt);
}
