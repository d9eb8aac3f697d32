/** The `serve` command: settings, signals and exit codes around one server. The only place that decides that the process ends. */
import { setLogger } from '@grpc/grpc-js';
import { ConfigError, formatAddress, loadConfig, type Config } from '../src/config.js';
import { poolMessages } from './buffer-pool.js';
import { endProcess } from './end-process.js';
import { createLog, type Logger, writtenOut } from './log.js';
import { endYielding } from './start-priority.js';
import { startServer, type RunningServer, type StartOptions } from './start.js';

/** What `serve` exits with; the second signal ends the process with `failed` at once. */
export const serveExitCodes = {
  /** Told to stop, and every accepted call was answered. */
  stopped: 0,
  /** It could not start, calls were cut off, or an exception that nobody caught left it in an unknown state. */
  failed: 1,
  /** A setting is unknown or not allowed. */
  usage: 2,
} as const;

/**
 * Serves until SIGTERM or SIGINT and ends the process then. Where there is nothing to serve with, it returns the exit
 * code. `argv` holds what follows `serve`. Failures before the log exists are one line on standard error.
 *
 * A rejection that nobody handles is logged and the server goes on: it concerns one call, and ending would fail all others.
 * An exception that nobody caught ends the process, as what it interrupted is unknown.
 */
export async function serve(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
  options: StartOptions = {},
): Promise<number> {
  let config: Config;
  let warnings: readonly string[];
  try {
    ({ config, warnings } = loadConfig(argv, env));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return serveExitCodes.usage;
  }
  const log = options.log ?? createLog(config);
  for (const warning of warnings) log.warn(warning);
  quietGrpc(log);
  poolMessages();
  const stop = stopSignal(log);
  const stopWatching = watchForDefects(log);
  try {
    const { grpcAddress, adminAddress } = config;
    const addresses = { grpcAddress: formatAddress(grpcAddress), adminAddress: formatAddress(adminAddress) };
    log.info({ ...config, ...addresses }, 'starting');
    let server: RunningServer;
    try {
      server = await startServer(config, { ...options, log });
    } catch (error) {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      await writtenOut();
      return error instanceof ConfigError ? serveExitCodes.usage : serveExitCodes.failed;
    }
    // `ready` settles first where the server cannot serve; a signal during the warm-up ends the wait.
    const failure = await Promise.race([
      server.ready.then(
        () => null,
        (error: unknown) => ({ error }),
      ),
      stop.received.then(() => null),
    ]);
    endYielding();
    if (failure === null) await stop.received;
    const { lostCalls, forced } = await server.close();
    const settingAtFault = failure?.error instanceof ConfigError ? failure.error : null;
    if (settingAtFault !== null) process.stderr.write(`${settingAtFault.message}\n`);
    const clean = failure === null && lostCalls === 0 && !forced;
    const exitCode =
      settingAtFault !== null ? serveExitCodes.usage : clean ? serveExitCodes.stopped : serveExitCodes.failed;
    await writtenOut();
    // Output to a pipe may be on its way yet.
    await new Promise<void>((written) => process.stderr.write('', () => written()));
    return endProcess(exitCode);
  } finally {
    stop.cancel();
    stopWatching();
  }
}

/** `received` resolves on the first SIGTERM or SIGINT; the second one ends the process at once. */
function stopSignal(log: Logger): { readonly received: Promise<void>; cancel(): void } {
  let resolve = (): void => undefined;
  let count = 0;
  const received = new Promise<void>((done) => (resolve = done));
  const onSignal = (signal: NodeJS.Signals): void => {
    count++;
    log.info({ signal }, count === 1 ? 'signal received: shutting down' : 'second signal: ending at once');
    if (count > 1) endProcess(serveExitCodes.failed);
    resolve();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return {
    received,
    cancel: () => void process.off('SIGTERM', onSignal).off('SIGINT', onSignal),
  };
}

/** grpc-js writes to standard error what its callbacks also report. */
function quietGrpc(log: Logger): void {
  const debug = (...message: unknown[]): void => log.debug({ from: 'grpc-js' }, message.join(' '));
  setLogger({ error: debug, info: debug, debug });
}

function watchForDefects(log: Logger): () => void {
  const onRejection = (reason: unknown): void => log.error({ err: reason }, 'a rejection was not handled');
  const onException = (error: Error): void => {
    log.fatal({ err: error }, 'an exception was not caught');
    endProcess(serveExitCodes.failed);
  };
  process.on('unhandledRejection', onRejection);
  process.on('uncaughtException', onException);
  return () => void process.off('unhandledRejection', onRejection).off('uncaughtException', onException);
}
