import { describe, expect, it } from 'vitest';
import { GreedyBaseline, outcomeOf } from '../../client/demo/baseline.js';
import { distanceM, mapSizeM } from '../../client/demo/map.js';
import { normal, uniform } from '../../client/demo/random.js';
import { travelTimeS } from '../../client/demo/utility.js';
import { arrivalRadiusM, parked, type Robot, World, type WorldOptions } from '../../client/demo/world.js';

const options: WorldOptions = { seed: 7, robotCount: 60, siteCount: 40, steps: 120 };

/** Orders that stir everything: each robot is sent round the sites, a new one every ten steps. */
function stirringGoals(world: World): Int32Array {
  return Int32Array.from(world.robots, (robot) => (robot.index * 7 + Math.floor(world.now / 10)) % world.sites.length);
}

function play(world: World, visit: (world: World, before: readonly Robot[]) => void): void {
  while (world.now < world.steps) {
    const before = world.robots.map((robot) => ({ ...robot }));
    world.step(stirringGoals(world));
    visit(world, before);
  }
}

describe('the demo world', () => {
  it('repeats itself for the same seed and orders, and differs for another seed', () => {
    const [first, again, other] = [7, 7, 8].map((seed) => new World({ ...options, seed }));
    for (const world of [first!, again!, other!]) play(world, () => undefined);
    expect(again!.robots).toEqual(first!.robots);
    expect(again!.sites).toEqual(first!.sites);
    expect(other!.robots).not.toEqual(first!.robots);
  });

  it('brings the same events and noise whatever the robots are ordered to do', () => {
    const busy = new World(options);
    const still = new World(options);
    play(busy, () => undefined);
    const nobodyMoves = new Int32Array(options.robotCount).fill(parked);
    while (still.now < still.steps) still.step(nobodyMoves);
    expect(still.beacon).toEqual(busy.beacon);
    const offsets = (world: World): number[] =>
      world.robots
        .filter((robot) => world.isPresent(robot) && !world.isBroken(robot))
        .map((robot) => Math.round((robot.reportedX - robot.x) * 1e6));
    expect(offsets(still)).toEqual(offsets(busy));
    expect(still.sites.map((site) => site.appearsAt)).toEqual(busy.sites.map((site) => site.appearsAt));
  });

  it('never lets a robot pass its speed limit, its acceleration or the edge of the map', () => {
    const broken: string[] = [];
    play(new World(options), (world, before) => {
      for (const robot of world.robots) {
        const was = before[robot.index]!;
        const at = `${robot.id} at ${world.now}`;
        const speed = Math.hypot(robot.vx, robot.vy);
        if (speed > robot.topSpeedMps + 1e-9) broken.push(`${at}: speed`);
        if (distanceM(robot, was) > robot.topSpeedMps + 1e-9) broken.push(`${at}: jump`);
        // Standing still at once is what docking, leaving and an empty battery do.
        const change = Math.hypot(robot.vx - was.vx, robot.vy - was.vy);
        if (speed > 0 && change > robot.accelerationMps2 + 1e-9) broken.push(`${at}: acceleration`);
        const inside = Math.min(robot.x, robot.y) >= 0 && Math.max(robot.x, robot.y) <= mapSizeM;
        if (!inside) broken.push(`${at}: outside`);
      }
    });
    expect(broken).toEqual([]);
  });

  it('keeps every battery between empty and full, and leaves an empty robot where it is', () => {
    const world = new World({ ...options, steps: 400 });
    let charged = 0;
    const broken: string[] = [];
    play(world, (_, before) => {
      for (const robot of world.robots) {
        const was = before[robot.index]!;
        const at = `${robot.id} at ${world.now}`;
        if (!(robot.battery >= 0 && robot.battery <= 1)) broken.push(`${at}: battery ${robot.battery}`);
        if (robot.battery > was.battery) charged += 1;
        if (robot.battery > was.battery && was.state !== 'charging') broken.push(`${at}: charged as ${was.state}`);
        if (was.state === 'flat' && distanceM(robot, was) > 0) broken.push(`${at}: moved without charge`);
      }
    });
    expect(broken).toEqual([]);
    expect(charged).toBeGreaterThan(0);
  });

  it('does only work that robots at the site did, within its capacity', () => {
    const baseline = new GreedyBaseline(options);
    const { world } = baseline;
    while (world.now < world.steps) {
      const before = world.sites.map((site) => site.workDoneS);
      baseline.step();
      for (const site of world.sites) {
        const crew = world.robots.filter(
          (robot) => robot.state === 'working' && baseline.goals[robot.index] === site.index,
        );
        const done = site.workDoneS - before[site.index]!;
        expect(crew.length).toBeLessThanOrEqual(site.capacity);
        expect(done).toBeLessThanOrEqual(crew.length);
        if (site.workDoneS < site.workS) expect(done).toBe(crew.length);
        expect(site.servedAt !== null).toBe(site.workDoneS >= site.workS);
        for (const robot of crew) expect(distanceM(robot, site)).toBeLessThanOrEqual(arrivalRadiusM);
      }
    }
    expect(outcomeOf(world).sitesServed).toBeGreaterThan(0);
  });

  it('counts as travel exactly the way that robots drove', () => {
    // Five straight pieces a step, so the sum of displacements is a lower bound and speed x time an upper one.
    const drivenM = new Float64Array(options.robotCount);
    const world = new World(options);
    play(world, (_, before) => {
      for (const robot of world.robots) drivenM[robot.index]! += distanceM(robot, before[robot.index]!);
    });
    for (const robot of world.robots) {
      expect(robot.travelledM).toBeGreaterThanOrEqual(drivenM[robot.index]! - 1e-6);
      expect(robot.travelledM).toBeLessThanOrEqual(robot.topSpeedMps * options.steps);
    }
  });

  it('makes broken position sensors give wrong beacon estimates, and healthy ones none', () => {
    const world = new World({ ...options, robotCount: 200 });
    play(world, () => undefined);
    const errorM = (robot: Robot): number => distanceM({ x: robot.beaconX, y: robot.beaconY }, world.beacon);
    const present = world.robots.filter((robot) => world.isPresent(robot));
    const lying = present.filter((robot) => world.isBroken(robot) && robot.fault === 'lying');
    const healthy = present.filter((robot) => !world.isBroken(robot));
    expect(lying.length).toBeGreaterThan(3);
    expect(Math.min(...lying.map(errorM))).toBeGreaterThan(80);
    expect(Math.max(...healthy.map(errorM))).toBeLessThan(70);
  });

  it('lets robots join, leave and break, and sites appear over time', () => {
    const world = new World({ ...options, robotCount: 200 });
    const presentAtStart = world.robots.filter((robot) => world.isPresent(robot)).length;
    const openAtStart = world.sites.filter((site) => world.isOpen(site)).length;
    play(world, () => undefined);
    expect(presentAtStart).toBeLessThan(200);
    expect(world.robots.filter((robot) => robot.state === 'absent')).toHaveLength(0);
    expect(world.robots.filter((robot) => robot.state === 'gone').length).toBeGreaterThan(0);
    expect(openAtStart).toBe(8);
    expect(world.sites.every((site) => site.appearsAt < world.steps)).toBe(true);
    expect(new Set(world.sites.map((site) => site.capacity))).toEqual(new Set([1, 2, 3, 4]));
  });
});

describe('the greedy baseline', () => {
  it('takes the closest pair first and never fills a site beyond its capacity', () => {
    const baseline = new GreedyBaseline(options);
    const { world } = baseline;
    baseline.step();
    const crews = new Map<number, number>();
    for (const goal of baseline.goals) if (goal >= 0) crews.set(goal, (crews.get(goal) ?? 0) + 1);
    for (const [site, crew] of crews) expect(crew).toBeLessThanOrEqual(world.sites[site]!.capacity);
    expect(crews.size).toBeGreaterThan(0);
    // Of all first orders the shortest trip is the shortest there was.
    const fresh = new World(options);
    const open = fresh.sites.filter((site) => fresh.isOpen(site));
    const trips = fresh.robots
      .filter((robot) => fresh.takesOrders(robot))
      .flatMap((robot) =>
        open.map((site) => ({ robot, site, m: distanceM({ x: robot.reportedX, y: robot.reportedY }, site) })),
      )
      .sort((a, b) => a.m - b.m);
    expect(baseline.goals[trips[0]!.robot.index]).toBe(trips[0]!.site.index);
  });

  it('repeats itself, serves most sites and keeps robots on their site until it is served', () => {
    const run = (): GreedyBaseline => {
      const baseline = new GreedyBaseline({ seed: 3, robotCount: 200, siteCount: 150, steps: 200 });
      let before = Int32Array.from(baseline.goals);
      while (baseline.world.now < 200) {
        baseline.step();
        for (const robot of baseline.world.robots) {
          const site = baseline.world.sites[before[robot.index]!];
          const servedLongAgo = site === undefined || (site.servedAt ?? Number.POSITIVE_INFINITY) < baseline.world.now;
          const free = baseline.world.takesOrders(robot) && !baseline.world.isBroken(robot);
          if (!servedLongAgo && free) expect(baseline.goals[robot.index]).toBe(before[robot.index]);
        }
        before = Int32Array.from(baseline.goals);
      }
      return baseline;
    };
    const first = outcomeOf(run().world);
    expect(outcomeOf(run().world)).toEqual(first);
    expect(first.sitesServed).toBeGreaterThan(100);
    expect(first.travelPerSiteM).toBeGreaterThan(50);
  });
});

describe('travel time', () => {
  it('agrees with the robot that drives it', () => {
    const robot = { topSpeedMps: 5, accelerationMps2: 1 } as Robot;
    expect(travelTimeS(robot, 0)).toBe(0);
    // 16 m: 4 s up to 4 m/s and 4 s down; 100 m: 5 s up, 15 s at 5 m/s, 5 s down.
    expect(travelTimeS(robot, 16)).toBe(8);
    expect(travelTimeS(robot, 100)).toBe(25);
  });
});

describe('addressed random numbers', () => {
  it('are uniform and normal enough, and do not repeat across their address', () => {
    const count = 20_000;
    let sum = 0;
    let squares = 0;
    const seen = new Set<number>();
    for (let i = 0; i < count; i += 1) {
      const value = normal(5, 1, i);
      sum += value;
      squares += value * value;
      seen.add(uniform(5, 2, i % 200, Math.floor(i / 200)));
    }
    expect(Math.abs(sum / count)).toBeLessThan(0.03);
    expect(Math.abs(squares / count - 1)).toBeLessThan(0.05);
    // 2^32 values: about 0.05 collisions are expected among 20 000.
    expect(seen.size).toBeGreaterThan(count - 3);
  });
});
