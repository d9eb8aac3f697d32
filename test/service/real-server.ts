/** The whole server in this process, on ONNX Runtime, on ports of its own. */
import { loadConfig } from '../../src/config.js';
import { startServer, type RunningServer } from '../../server/start.js';

/** Serving; `close` it. */
export async function startRealServer(): Promise<RunningServer> {
  const { config } = loadConfig(
    ['--grpc-address', '127.0.0.1:0', '--admin-address', '127.0.0.1:0', '--log-level', 'silent', '--engine', 'onnx'],
    {},
  );
  const server = await startServer(config);
  await server.ready;
  return server;
}
