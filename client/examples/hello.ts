/** Two robots, two tasks: who goes where? Start a server (`npm start`), then `npm run build && node dist/client/examples/hello.js`. */
import { CoordinatorClient, matrix } from '../client.js';

const client = new CoordinatorClient(process.argv[2] ?? '127.0.0.1:50051');
await client.waitForReady(5000);
const answer = await client.coordinate({
  agents: matrix(2, 2, [0, 0, 9, 9]),
  tasks: matrix(2, 2, [8, 8, 1, 1]),
});
console.log('robot i does task', answer.assignment?.taskOfAgent); // Int32Array [1, 0]
client.close();
