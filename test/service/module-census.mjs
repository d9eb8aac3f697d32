/** Starts a server with the flags given, answers one call, and prints the packages of OpenTelemetry whose code the process has loaded. */
import { Session } from 'node:inspector';

const session = new Session();
const urls = new Set();
session.connect();
session.on('Debugger.scriptParsed', ({ params }) => urls.add(params.url));
session.post('Debugger.enable');

const { loadConfig } = await import('../../dist/src/config.js');
const { startServer } = await import('../../dist/server/start.js');
const { CoordinatorClient, matrix } = await import('../../dist/client/client.js');

const { config } = loadConfig([...process.argv.slice(2), '--engine', 'onnx', '--log-level', 'silent'], {
  TC_GRPC_ADDRESS: '127.0.0.1:0',
  TC_ADMIN_ADDRESS: '127.0.0.1:0',
});
const server = await startServer(config);
await server.ready;
const client = new CoordinatorClient(server.grpcAddress);
await client.coordinate({ agents: matrix(1, 2, [0, 0]), tasks: matrix(1, 2, [1, 1]) });
client.close();
await server.close();

const packages = new Set();
for (const url of urls) {
  const name = /node_modules\/@opentelemetry\/([^/]+)\//.exec(url)?.[1];
  if (name !== undefined) packages.add(name);
}
console.log(JSON.stringify({ scripts: urls.size, packages: [...packages].sort() }));
process.exit(0);
