/** Twenty sensors measure one temperature, three of them lie: what is it, and which ones lie? */
import { CoordinatorClient, matrix } from '../client.js';

const readings = [
  21.1, 20.8, 21.3, 20.9, 21.0, 55.0, 21.2, 20.7, 21.1, 20.9, 21.0, -40.0, 21.1, 21.0, 20.8, 21.2, 90.0, 20.9, 21.1,
  21.0,
];

const client = new CoordinatorClient(process.argv[2] ?? '127.0.0.1:50051', { deadlineMs: 2000 });
await client.waitForReady(5000);
const { consensus } = await client.coordinate({
  responses: matrix(readings.length, 1, readings),
  operators: ['CONSENSUS'],
});
const mean = readings.reduce((sum, reading) => sum + reading, 0) / readings.length;
console.log(`agreed ${consensus?.centroid.data[0]?.toFixed(2)}, plain mean ${mean.toFixed(2)}`);
console.log('lying sensors:', consensus?.outliers);
client.close();
