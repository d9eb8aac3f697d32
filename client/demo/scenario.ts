/** Draws the cast of a run: which robots there are and when they come, go and break; which sites appear when and where. */
import { chargers, mapSizeM } from './map.js';
import { between, normal, uniform } from './random.js';
import type { Robot, Site, WorldOptions } from './world.js';

/** Shares of the robots that come later, leave before the end, and break. */
const lateShare = 0.1;
const leavingShare = 0.05;
const breakingShare = 0.08;
/** Share of the sites that are there at the start; the others appear until `lastSiteAt` of the run. */
const sitesAtStart = 0.2;
const lastSiteAt = 0.72;
const marginM = 30;

const robotTopics = {
  placeX: 1,
  placeY: 2,
  speed: 3,
  acceleration: 4,
  battery: 5,
  fate: 6,
  when: 7,
  fault: 8,
  lie: 9,
  angle: 10,
} as const;
const siteTopics = { cluster: 21, x: 22, y: 23, capacity: 24, urgency: 25, work: 26, appears: 27, centre: 28 } as const;

export function createRobots({ seed, robotCount, steps }: WorldOptions): Robot[] {
  // One direction for most of the lies, as from one jammer: errors that do not cancel in a mean.
  const jammerAngle = between(0, 2 * Math.PI, seed, robotTopics.angle);
  return Array.from({ length: robotCount }, (_, index): Robot => {
    const draw = (topic: number, low: number, high: number): number => between(low, high, seed, topic, index);
    const depot = chargers[index % chargers.length]!;
    const x = depot.x + 18 * normal(seed, robotTopics.placeX, index);
    const y = depot.y + 18 * normal(seed, robotTopics.placeY, index);
    const fate = uniform(seed, robotTopics.fate, index);
    const when = uniform(seed, robotTopics.when, index);
    const joinsAt = fate < lateShare ? Math.ceil((0.05 + 0.5 * when) * steps) : 0;
    const leaves = fate >= lateShare && fate < lateShare + leavingShare;
    const breaks = fate >= 1 - breakingShare;
    const angle = jammerAngle + between(-0.7, 0.7, seed, robotTopics.lie, index, 1);
    const lieLengthM = draw(robotTopics.lie, 150, 350);
    return {
      id: `robot-${String(index).padStart(3, '0')}`,
      index,
      topSpeedMps: draw(robotTopics.speed, 5, 9),
      accelerationMps2: draw(robotTopics.acceleration, 1, 2.5),
      joinsAt,
      leavesAt: leaves ? Math.ceil((0.3 + 0.6 * when) * steps) : Number.POSITIVE_INFINITY,
      breaksAt: breaks ? Math.ceil((0.1 + 0.6 * when) * steps) : Number.POSITIVE_INFINITY,
      fault: breaks ? (draw(robotTopics.fault, 0, 1) < 0.4 ? 'stuck' : 'lying') : null,
      lieM: { x: lieLengthM * Math.cos(angle), y: lieLengthM * Math.sin(angle) },
      x,
      y,
      vx: 0,
      vy: 0,
      battery: draw(robotTopics.battery, 0.45, 1),
      state: joinsAt === 0 ? 'idle' : 'absent',
      reportedX: x,
      reportedY: y,
      beaconX: x,
      beaconY: y,
      travelledM: 0,
    };
  });
}

export function createSites({ seed, siteCount, steps }: WorldOptions): Site[] {
  const centres = [0, 1, 2].map((k) => ({
    x: between(150, mapSizeM - 150, seed, siteTopics.centre, k, 0),
    y: between(150, mapSizeM - 150, seed, siteTopics.centre, k, 1),
  }));
  return Array.from({ length: siteCount }, (_, index): Site => {
    const draw = (topic: number, low: number, high: number): number => between(low, high, seed, topic, index);
    // A good third of the sites lie in three clusters, the rest anywhere.
    const centre = centres[Math.floor(draw(siteTopics.cluster, 0, 8))];
    const place = (topic: number, middle: number | undefined): number =>
      middle === undefined
        ? draw(topic, marginM, mapSizeM - marginM)
        : Math.min(mapSizeM - marginM, Math.max(marginM, middle + 70 * normal(seed, topic, index)));
    const capacity = 1 + Math.floor(draw(siteTopics.capacity, 0, 4));
    return {
      id: `site-${String(index).padStart(3, '0')}`,
      index,
      x: place(siteTopics.x, centre?.x),
      y: place(siteTopics.y, centre?.y),
      capacity,
      urgency: draw(siteTopics.urgency, 1, 3),
      workS: Math.round(capacity * draw(siteTopics.work, 15, 40)),
      appearsAt: index < sitesAtStart * siteCount ? 0 : Math.ceil(draw(siteTopics.appears, 0, lastSiteAt) * steps),
      workDoneS: 0,
      servedAt: null,
    };
  });
}
