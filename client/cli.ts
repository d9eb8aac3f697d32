#!/usr/bin/env -S node --initial-old-space-size=256 --min-semi-space-size=16 --no-allocation-site-pretenuring
/** The command `tensor-consensus`. Commands are loaded when they are asked for, so that `--help` needs no engine. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../src/package-root.js';
import { CoordinatorCallError } from './call-error.js';
import { exitCodes } from './exit-codes.js';
import { UsageError } from './usage.js';

const help = `tensor-consensus COMMAND [options]

Coordinates swarms: who does what, with which resources, and what the group agrees on - one gRPC call a tick.

  serve      run the server
  call       make one call from a JSON or .npy file and print the answer
  policies   list the policies of a running server
  demo       watch a simulated rescue swarm being coordinated
  bench      measure this machine
  compile    compile programs ahead of time for a TPU topology, and report what XLA says of them
  token      make a bearer token and its line in a server's access file
  plugin     install and list the plugins that the XLA engine uses
  COMMAND --help says more; --version prints the version.

Try it
  tensor-consensus demo
  tensor-consensus serve &
  echo '{"agents": [[0,0],[9,9]], "tasks": [[8,8],[1,1]]}' | tensor-consensus call - --output table

Exit codes
  ${exitCodes.ok}    everything worked
  ${exitCodes.failed}    the call failed, a check of the demo failed, or the server lost calls as it stopped
  ${exitCodes.usage}    wrong use: an unknown flag, a bad value, an unreadable file
  ${exitCodes.unreachable}    no server answers at the address, or it is not ready
  ${exitCodes.interrupted}  interrupted
`;

const serveHelp = `tensor-consensus serve [options]

Runs the server until SIGTERM or SIGINT; accepted calls are answered before it ends. Every option is also an
environment variable; the option wins.

`;

async function run([command = '', ...argv]: readonly string[]): Promise<number> {
  switch (command) {
    case 'serve':
      return serveCommand(argv);
    case 'call':
      return (await import('./commands/call.js')).runCall(argv);
    case 'policies':
      return (await import('./commands/policies.js')).runPolicies(argv);
    case 'demo':
      return (await import('./demo/run.js')).runDemo(argv);
    case 'bench':
      return (await import('./bench/main.js')).runBench(argv);
    case 'compile':
      return (await import('./commands/compile.js')).runCompile(argv);
    case 'token':
      return (await import('./commands/token.js')).runToken(argv);
    case 'plugin':
      return (await import('./commands/plugin.js')).runPlugin(argv);
    case '--version':
    case '-v':
      process.stdout.write(`${version()}\n`);
      return exitCodes.ok;
    case '--help':
    case '-h':
    case 'help':
      process.stdout.write(help);
      return exitCodes.ok;
    case '':
      process.stderr.write(help);
      return exitCodes.usage;
    default:
      throw new UsageError(`unknown command '${command}' (see tensor-consensus --help)`);
  }
}

async function serveCommand(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    const { renderConfigHelp } = await import('../src/config.js');
    process.stdout.write(`${serveHelp}${renderConfigHelp()}\n`);
    return exitCodes.ok;
  }
  (await import('../server/start-priority.js')).yieldWhileStarting();
  return (await import('../server/main.js')).serve(argv);
}

function version(): string {
  const file = readFileSync(join(packageRoot, 'package.json'), 'utf8');
  return (JSON.parse(file) as { readonly version: string }).version;
}

/** One line for what people can cause; anything else is a defect and keeps its stack. */
async function failure(error: unknown): Promise<number> {
  if (error instanceof UsageError) {
    process.stderr.write(`tensor-consensus: ${error.message}\n`);
    return exitCodes.usage;
  }
  if (error instanceof CoordinatorCallError) {
    const { exitCodeOf, failureLine } = await import('./commands/connection.js');
    process.stderr.write(`tensor-consensus: ${failureLine(error)}\n`);
    return exitCodeOf(error);
  }
  throw error;
}

/** A reader that goes away (`| head`) is no failure of ours. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.ok);
  throw error;
});

const exitCode = await run(process.argv.slice(2)).catch(failure);
// Output to a pipe is asynchronous: it is written out before the process ends.
process.stdout.write('', () => process.exit(exitCode));
