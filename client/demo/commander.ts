/**
 * Commands the swarm through the service: one request per tick of a stream from what robots report, orders from the answer.
 * The stream knows by ids what each robot did last, so the keep bonus needs no `previous`.
 */
import type { CoordinateAnswer, CoordinateRequest } from '../request.js';
import { FaultWatch } from './fault-watch.js';
import { fillUtility, idleUtilityS } from './utility.js';
import { parked, type World } from './world.js';

/** Seconds of utility that a robot's present task is worth on top: against robots that change their minds every tick. */
const keepBonusS = 12;
const free = -2;
const mustIdle = -1;

export class Commander {
  /** [N] site of each robot, -1 none, `parked` where its sensor is not believed; what `World.step` takes. */
  readonly goals: Int32Array;
  readonly faults: FaultWatch;
  /** Times a robot was taken off a site that still needed it. */
  mindChanges = 0;
  readonly #utility: Float32Array;
  readonly #agentIds: readonly string[];
  readonly #taskIds: readonly string[];
  readonly #capacities: Uint32Array;
  #present = new Uint8Array(0);

  constructor(world: World) {
    this.goals = new Int32Array(world.robots.length).fill(-1);
    this.faults = new FaultWatch(world.robots.length);
    this.#utility = new Float32Array(world.robots.length * world.sites.length);
    this.#agentIds = world.robots.map((robot) => robot.id);
    this.#taskIds = world.sites.map((site) => site.id);
    this.#capacities = Uint32Array.from(world.sites, (site) => site.capacity);
  }

  /**
   * The request for the world as it is reported now. Robots and sites keep their row and column for the whole run;
   * who is absent is masked. Robots that charge, or whose sensor is not believed, must idle but still vote on the beacon.
   */
  request(world: World, requestId: string): CoordinateRequest {
    const { robots, sites } = world;
    this.#present = Uint8Array.from(robots, (robot) => (world.isPresent(robot) ? 1 : 0));
    const responses = new Float32Array(robots.length * 2);
    for (const robot of robots) {
      responses[2 * robot.index] = robot.beaconX;
      responses[2 * robot.index + 1] = robot.beaconY;
    }
    fillUtility(world, this.#utility);
    return {
      requestId,
      utility: { data: this.#utility, shape: [robots.length, sites.length] },
      responses: { data: responses, shape: [robots.length, 2] },
      agentIds: this.#agentIds,
      taskIds: this.#taskIds,
      agentMask: this.#present,
      taskMask: Uint8Array.from(sites, (site) => (world.isOpen(site) ? 1 : 0)),
      operators: ['ASSIGNMENT', 'CONSENSUS'],
      supersede: true,
      assignment: {
        forms: ['HARD'],
        capacities: this.#capacities,
        idleUtility: idleUtilityS,
        keepBonus: keepBonusS,
        locks: Int32Array.from(robots, (robot) =>
          world.takesOrders(robot) && !this.faults.isFaulty(robot.index) ? free : mustIdle,
        ),
      },
    };
  }

  /** Makes the answer the swarm's orders and updates the verdicts on robots. */
  apply(world: World, answer: CoordinateAnswer): void {
    if (answer.consensus !== null) this.faults.update(answer.consensus.outliers, this.#present);
    const tasks = answer.assignment?.taskOfAgent ?? new Int32Array(0);
    for (let i = 0; i < this.goals.length; i += 1) {
      const before = this.goals[i]!;
      const after = this.faults.isFaulty(i) ? parked : (tasks[i] ?? -1);
      const site = world.sites[before];
      if (
        after !== parked &&
        after !== before &&
        site !== undefined &&
        world.isOpen(site) &&
        world.takesOrders(world.robots[i]!)
      ) {
        this.mindChanges += 1;
      }
      this.goals[i] = after;
    }
  }
}
