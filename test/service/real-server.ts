/** The whole server in this process, on ONNX Runtime, on ports of its own. */
import { loadConfig } from '../../src/config.js';
import { startServer, type RunningServer } from '../../server/start.js';

/** Serving, with further flags of `serve`; `close` it. */
export async function startRealServer(...flags: readonly string[]): Promise<RunningServer> {
  const addresses = ['--grpc-address', '127.0.0.1:0', '--admin-address', '127.0.0.1:0'];
  const { config } = loadConfig([...addresses, '--log-level', 'silent', '--engine', 'onnx', ...flags], {});
  const server = await startServer(config);
  await server.ready;
  return server;
}
