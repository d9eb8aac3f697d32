/** The real server around a fake core, with its log as an array of lines. */
import { Writable } from 'node:stream';
import { pino } from 'pino';
import type { Clock } from '../../src/clock.js';
import { loadConfig } from '../../src/config.js';
import { startServer, type RunningServer } from '../../server/start.js';
import { FakeCore } from './fake-core.js';

export type LogLine = Readonly<Record<string, unknown>>;

export interface FakeServer {
  readonly server: RunningServer;
  readonly core: FakeCore;
  readonly logLines: LogLine[];
}

export interface FakeServerOptions {
  /** False: the warm-up ends when the test says so. */
  readonly warm?: boolean;
  /** Default: the real one. */
  readonly clock?: Clock;
}

/** Ports are free ones. */
export async function startFakeServer(
  flags: readonly string[] = [],
  { warm = true, clock }: FakeServerOptions = {},
): Promise<FakeServer> {
  const { config } = loadConfig(flags, { TC_GRPC_ADDRESS: '127.0.0.1:0', TC_ADMIN_ADDRESS: '127.0.0.1:0' });
  const logLines: LogLine[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      logLines.push(JSON.parse(chunk.toString()) as LogLine);
      done();
    },
  });
  const core = new FakeCore(warm);
  const log = pino({ level: config.logLevel }, stream);
  const server = await startServer(config, {
    log,
    createCore: () => Promise.resolve(core),
    ...(clock === undefined ? {} : { clock }),
  });
  if (warm) await server.ready;
  return { server, core, logLines };
}
