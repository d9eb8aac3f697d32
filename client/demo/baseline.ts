/**
 * The yardstick: the same world commanded greedily, without any service. Every second the closest pair of a free robot
 * and an open site with a place left is taken first, then the next closest; a robot keeps its site until that is served.
 * It weighs urgency, time and battery as the commander does to tell which trips are worth making, and it is given what
 * the commander must find out: which position sensors are broken. It parks those robots. What it lacks is the view of the whole.
 */
import { fillUtility, idleUtilityS } from './utility.js';
import { parked, World, type WorldOptions } from './world.js';

export interface Outcome {
  readonly sitesServed: number;
  /** Metres driven by all robots, per served site. */
  readonly travelPerSiteM: number;
  /** Mean simulated seconds from a served site's appearance to its end. */
  readonly meanWaitS: number;
}

export class GreedyBaseline {
  readonly world: World;
  /** [N] site of each robot, -1 none. */
  readonly goals: Int32Array;
  readonly #utility: Float32Array;

  constructor(options: WorldOptions) {
    this.world = new World(options);
    this.goals = new Int32Array(options.robotCount).fill(-1);
    this.#utility = new Float32Array(options.robotCount * options.siteCount);
  }

  /** Gives orders and lets one simulated second pass. */
  step(): void {
    const places = this.#placesLeft();
    for (const { robot, site } of this.#worthwhilePairs(places)) {
      if (this.goals[robot] !== -1 || places[site] === 0) continue;
      this.goals[robot] = site;
      places[site]! -= 1;
    }
    this.world.step(this.goals);
  }

  /** Free places by site, after robots that can go on have kept theirs; the others lose their goal. */
  #placesLeft(): Uint32Array {
    const { world } = this;
    const places = Uint32Array.from(world.sites, (site) => (world.isOpen(site) ? site.capacity : 0));
    for (const robot of world.robots) {
      const goal = this.goals[robot.index]!;
      const keeps = world.takesOrders(robot) && !world.isBroken(robot) && (places[goal] ?? 0) > 0;
      if (keeps) places[goal]! -= 1;
      else this.goals[robot.index] = world.isBroken(robot) ? parked : -1;
    }
    return places;
  }

  /** Closest first; ties to the lower indices. */
  #worthwhilePairs(places: Uint32Array): { readonly robot: number; readonly site: number }[] {
    const { world } = this;
    const columns = world.sites.length;
    fillUtility(world, this.#utility);
    const pairs: { robot: number; site: number; awayM: number }[] = [];
    for (const robot of world.robots) {
      if (this.goals[robot.index] !== -1 || !world.takesOrders(robot) || world.isBroken(robot)) continue;
      for (const site of world.sites) {
        const worth = this.#utility[robot.index * columns + site.index]!;
        if (places[site.index] === 0 || worth <= idleUtilityS) continue;
        const awayM = Math.hypot(site.x - robot.reportedX, site.y - robot.reportedY);
        pairs.push({ robot: robot.index, site: site.index, awayM });
      }
    }
    return pairs.sort((a, b) => a.awayM - b.awayM || a.robot - b.robot || a.site - b.site);
  }
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
