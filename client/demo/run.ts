/** `tensor-consensus demo`: a server, a swarm, a picture, a verdict. */
import { type ServerProcess, startService } from '../bench/server-process.js';
import { clientOf } from '../commands/connection.js';
import { exitCodes } from '../exit-codes.js';
import { drawMoment, type Moment } from './draw.js';
import { type DemoOptions, demoHelp, readDemoOptions } from './options.js';
import { logLines } from './panel.js';
import { Screen } from './screen.js';
import { Simulation } from './simulation.js';
import { TickStream } from './tick-stream.js';
import { renderLine, span, wantsColour, wantsUnicode } from './style.js';
import { type Check, checksOf, type Run, summaryLines } from './summary.js';

const ticksPerSecond = 10;
/** A tick may be late, which is counted, but not lost: a hundred ticks' time, retries included. */
const callDeadlineMs = 10_000;
/** The first call compiles programs for the demo's sizes. */
const warmUpDeadlineMs = 60_000;
/** For a server that is said to run already; the demo's own is ready when it says so. */
const readyTimeoutMs = 5000;

/** Runs the demo and returns the exit code. @throws UsageError */
export async function runDemo(argv: readonly string[]): Promise<number> {
  const options = readDemoOptions(argv);
  if (options.help) {
    process.stdout.write(demoHelp);
    return exitCodes.ok;
  }
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    return await demo(options, stop.signal);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

async function demo(options: DemoOptions, signal: AbortSignal): Promise<number> {
  let server: ServerProcess | null = null;
  let address = options.address;
  if (address === null) {
    say('starting a server ...');
    try {
      server = await startService(['--log-level', 'info', '--log-format', 'json']);
    } catch (error) {
      process.stderr.write(`the server did not start: ${textOf(error)}\n`);
      return exitCodes.unreachable;
    }
    address = server.grpcAddress;
    say(`serving on ${address} after ${(server.startupMs / 1000).toFixed(1)} s`);
  }
  const client = clientOf(address, options.access);
  const simulation = new Simulation({
    seed: options.seed,
    robotCount: options.agents,
    siteCount: options.sites,
    steps: options.seconds * ticksPerSecond,
  });
  let serverExit: number | null = null;
  try {
    await client.waitForReady(readyTimeoutMs);
    const warmUpMs = await simulation.warmUp(client.coordinate.bind(client), warmUpDeadlineMs, signal);
    say(
      `${options.agents} robots, ${options.sites} sites, seed ${options.seed}; first call ${warmUpMs.toFixed(0)} ms (compiles), not counted`,
    );
    const stream = new TickStream(client, signal);
    await show(simulation, address, options, (onTick) =>
      simulation.play(stream.send.bind(stream), {
        tickMs: 1000 / ticksPerSecond,
        deadlineMs: callDeadlineMs,
        signal,
        onTick,
      }),
    );
    await stream.close();
  } catch (error) {
    if (!signal.aborted) process.stderr.write(`${textOf(error)}\n`);
    return signal.aborted ? exitCodes.interrupted : exitCodes.unreachable;
  } finally {
    client.close();
    // null from a server that had to be killed; -1 stands for it in the checks.
    if (server !== null) serverExit = (await server.stop()) ?? -1;
  }
  if (signal.aborted) say('interrupted');
  const failed = report(runOf(simulation, serverExit), options, signal.aborted);
  if (signal.aborted) return exitCodes.interrupted;
  return failed ? exitCodes.failed : exitCodes.ok;
}

/** Plays with a picture on a terminal, with two lines a second elsewhere. */
async function show(
  simulation: Simulation,
  address: string,
  options: DemoOptions,
  play: (onTick: () => void) => Promise<void>,
): Promise<void> {
  const moment: Moment = { ...runOf(simulation, null), address };
  if (!process.stdout.isTTY || !options.live || process.env.TERM === 'dumb') {
    await play(() => {
      if (simulation.world.now % ticksPerSecond !== 0) return;
      for (const line of logLines(moment, ticksPerSecond)) say(line);
    });
    return;
  }
  const screen = new Screen(process.stdout);
  const close = (): void => screen.close();
  process.once('exit', close);
  try {
    await play(() =>
      screen.draw(
        drawMoment(moment, {
          columns: screen.columns,
          rows: screen.rows,
          colour: options.colour && wantsColour(process.env),
          unicode: wantsUnicode(process.env),
        }),
      ),
    );
  } finally {
    screen.close();
    process.off('exit', close);
  }
}

function runOf(simulation: Simulation, serverExit: number | null): Run {
  const { world, baseline, commander, tally } = simulation;
  return { world, baseline: baseline.world, commander, tally, serverExit };
}

/** Prints figures and checks; whether one failed. */
function report(run: Run, options: DemoOptions, interrupted: boolean): boolean {
  say('');
  for (const line of summaryLines(run)) say(line);
  if (interrupted) return false;
  say('');
  const checks = checksOf(run);
  const colour = process.stdout.isTTY && options.colour && wantsColour(process.env);
  for (const check of checks) say(checkLine(check, colour));
  const failed = checks.filter((check) => !check.passed);
  say('');
  say(failed.length === 0 ? 'all checks passed' : `failed: ${failed.map((check) => check.name).join(', ')}`);
  return failed.length > 0;
}

function checkLine({ name, passed, detail }: Check, colour: boolean): string {
  const spans = [span(passed ? '  ok      ' : '  FAILED  ', passed ? 'green' : 'red'), span(`${name}: ${detail}`)];
  return renderLine(spans, 10 + name.length + 2 + detail.length, colour);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
