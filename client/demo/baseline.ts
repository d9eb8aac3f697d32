/**
 * The yardstick: the same world commanded greedily, without any service. In index order, every free robot takes the
 * nearest open site that still has a place and keeps it until the site is served. The baseline is given what the
 * service has to find out: it knows at once which position sensors are broken and sends those robots nowhere.
 */
import { fillUtility, idleUtilityS } from './utility.js';
import { World, type WorldOptions } from './world.js';

export class GreedyCommander {
  /** [N] site of each robot, -1 none. */
  readonly goals: Int32Array;
  readonly #utility: Float32Array;

  constructor(world: World) {
    this.goals = new Int32Array(world.robots.length).fill(-1);
    this.#utility = new Float32Array(world.robots.length * world.sites.length);
  }

  decide(world: World): void {
    const places = world.sites.map((site) => (world.isOpen(site) ? site.capacity : 0));
    for (const robot of world.robots) {
      const goal = this.goals[robot.index]!;
      const keeps = world.takesOrders(robot) && !world.isBroken(robot) && (places[goal] ?? 0) > 0;
      if (keeps) places[goal]! -= 1;
      else this.goals[robot.index] = -1;
    }
    fillUtility(world, this.#utility);
    for (const robot of world.robots) {
      if (this.goals[robot.index] !== -1 || !world.takesOrders(robot) || world.isBroken(robot)) continue;
      const nearest = this.#nearestSite(world, robot.index, places);
      if (nearest === -1) continue;
      this.goals[robot.index] = nearest;
      places[nearest]! -= 1;
    }
  }

  /** The nearest site with a place left that the robot's battery allows and that is worth the trip, or -1. */
  #nearestSite(world: World, index: number, places: readonly number[]): number {
    const robot = world.robots[index]!;
    let best = -1;
    let bestM = Number.POSITIVE_INFINITY;
    for (const site of world.sites) {
      const worthIt = this.#utility[index * world.sites.length + site.index]! > idleUtilityS;
      if (places[site.index] === 0 || !worthIt) continue;
      const awayM = Math.hypot(site.x - robot.reportedX, site.y - robot.reportedY);
      if (awayM >= bestM) continue;
      bestM = awayM;
      best = site.index;
    }
    return best;
  }
}

export interface Outcome {
  readonly sitesServed: number;
  readonly travelPerSiteM: number;
  /** Mean simulated seconds from a served site's appearance to its end. */
  readonly meanWaitS: number;
}

/** Runs the whole greedy simulation of these options. */
export function runBaseline(options: WorldOptions): Outcome {
  const world = new World(options);
  const commander = new GreedyCommander(world);
  for (let step = 0; step < options.steps; step += 1) {
    commander.decide(world);
    world.step(commander.goals);
  }
  return outcomeOf(world);
}

export function outcomeOf(world: World): Outcome {
  const served = world.sites.filter((site) => site.servedAt !== null);
  const travelledM = world.robots.reduce((sum, robot) => sum + robot.travelledM, 0);
  const waitedS = served.reduce((sum, site) => sum + (site.servedAt! - site.appearsAt), 0);
  return {
    sitesServed: served.length,
    travelPerSiteM: travelledM / Math.max(1, served.length),
    meanWaitS: waitedS / Math.max(1, served.length),
  };
}
