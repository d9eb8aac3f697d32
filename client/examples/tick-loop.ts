/**
 * A simulator's loop: capacities, idling where nothing is worth it, and robots that keep their task unless a new one is
 * clearly better. A call that fails leaves the robots their last orders: a late answer is worth nothing next tick.
 */
import { CoordinatorCallError, CoordinatorClient } from '../client.js';

const robots = Array.from({ length: 12 }, (_, i) => ({ x: i, y: 0 }));
const sites = [
  { x: 2, y: 5, capacity: 3 },
  { x: 9, y: 4, capacity: 2 },
];
let previous = new Int32Array(robots.length).fill(-1);

const client = new CoordinatorClient(process.argv[2] ?? '127.0.0.1:50051', { deadlineMs: 100 });
await client.waitForReady(5000);
for (let tick = 0; tick < 10; tick += 1) {
  const utility = Float32Array.from(
    robots.flatMap((robot) => sites.map((site) => 20 - Math.hypot(site.x - robot.x, site.y - robot.y))),
  );
  try {
    const { assignment } = await client.coordinate({
      utility: { data: utility, shape: [robots.length, sites.length] },
      operators: ['ASSIGNMENT'],
      assignment: { capacities: sites.map((site) => site.capacity), idleUtility: 0, previous, keepBonus: 0.5 },
    });
    if (assignment !== null) previous = Int32Array.from(assignment.taskOfAgent);
    console.log(`tick ${tick}: ${previous.join(' ')}, certified gap ${assignment?.gap}`);
  } catch (error) {
    if (!(error instanceof CoordinatorCallError)) throw error;
    console.log(`tick ${tick}: ${error.code} ${error.reason}`);
  }
  for (const [i, robot] of robots.entries()) {
    const site = sites[previous[i] ?? -1];
    if (site === undefined) continue;
    robot.x += (site.x - robot.x) / 4;
    robot.y += (site.y - robot.y) / 4;
  }
}
client.close();
