/**
 * A simulator's loop over a stream: capacities, idling where nothing is worth it, and robots that keep their task unless a
 * new one is clearly better, which the stream knows by their ids. A robot joins on the way. A tick that fails leaves the
 * robots their last orders: a late answer is worth nothing next tick.
 */
import { CoordinatorCallError, CoordinatorClient } from '../client.js';

const robots = Array.from({ length: 12 }, (_, i) => ({ id: `robot-${i}`, x: i, y: 0, task: '' }));
const sites = [
  { id: 'north', x: 2, y: 5, capacity: 3 },
  { id: 'east', x: 9, y: 4, capacity: 2 },
];

const client = new CoordinatorClient(process.argv[2] ?? '127.0.0.1:50051');
const deadlineMs = Number(process.argv[3] ?? 100);
await client.waitForReady(5000);
let stream = client.openStream();
for (let tick = 0; tick < 10; tick += 1) {
  if (tick === 5) robots.unshift({ id: 'late-comer', x: 2, y: 5, task: '' });
  const utility = robots.flatMap((robot) => sites.map((site) => 20 - Math.hypot(site.x - robot.x, site.y - robot.y)));
  try {
    const { assignment } = await stream.send(
      {
        utility: { data: Float32Array.from(utility), shape: [robots.length, sites.length] },
        agentIds: robots.map(({ id }) => id),
        taskIds: sites.map(({ id }) => id),
        operators: ['ASSIGNMENT'],
        assignment: { capacities: sites.map(({ capacity }) => capacity), idleUtility: 0, keepBonus: 0.5 },
        supersede: true,
      },
      { deadlineMs },
    );
    for (const [i, robot] of robots.entries()) robot.task = sites[assignment?.taskOfAgent[i] ?? -1]?.id ?? '';
    const served = robots.filter(({ task }) => task !== '').map(({ id, task }) => `${id} ${task}`);
    console.log(
      `tick ${tick}: ${served.join(', ')}; certified gap ${assignment?.gap}, churn ${assignment?.churn.toFixed(2)}`,
    );
  } catch (error) {
    if (!(error instanceof CoordinatorCallError)) throw error;
    console.log(`tick ${tick}: ${error.code} ${error.reason}`);
    // The service refused this tick, or it came too late: the next one may do. A stream that ended is opened anew.
    if (stream.isClosed) stream = client.openStream();
  }
  for (const robot of robots) {
    const site = sites.find(({ id }) => id === robot.task);
    if (site === undefined) continue;
    robot.x += (site.x - robot.x) / 4;
    robot.y += (site.y - robot.y) / 4;
  }
}
await stream.close();
client.close();
