/** `npm run load`: the profiles of deploy/ghz/ with ghz against a server of its own, or against a running one. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/package-root.js';
import type { AssignmentForm } from '../src/problem.js';
import { runGhz, usableGhz } from './bench/ghz.js';
import { coordinatePath, type RequestShape, rawCall, rawClient, sampleRequest } from './bench/messages.js';
import { endChildrenOnSignals, startService } from './bench/server-process.js';
import { UsageError, wholeNumber } from './usage.js';

const profileFolder = join(packageRoot, 'deploy/ghz');
const profileNames = readdirSync(profileFolder)
  .filter((name) => name.endsWith('.json'))
  .map((name) => name.slice(0, -'.json'.length))
  .sort();

const help = `npm run load -- [options]

Loads the server with ghz and prints rate, latency and errors of each profile.

  --profile NAMES       comma list of ${profileNames.join(', ')} (default top-k,hard-exact,plan)
  -n, --total COUNT     calls per profile instead of the profile's own bound
  -z, --duration TIME   time per profile instead, such as 5s
  --address HOST:PORT   a running server (default: start one on a free port of 127.0.0.1)
  --seed NUMBER         of the random states in the request (default 1)
  --write-request FILE  write the first profile's request for \`ghz --config PROFILE --binary-file FILE HOST:PORT\`, and stop
  -h, --help            this text

Exit codes: 0 every call answered; 1 calls failed or the server did; 2 wrong use; 3 ghz is missing or too old.
`;

/** What a profile's request looks like stands in its ghz tags, so that reports carry it. */
interface Profile {
  readonly name: string;
  readonly tags: {
    readonly policy: string;
    readonly agents: string;
    readonly tasks: string;
    readonly width: string;
  } & {
    readonly forms: string;
    readonly solver?: RequestShape['solver'];
  };
}

function profileRequest(file: string, seed: number): { title: string; request: Buffer } {
  const { name, tags } = JSON.parse(readFileSync(file, 'utf8')) as Profile;
  const request = sampleRequest({
    policy: tags.policy,
    agents: Number(tags.agents),
    tasks: Number(tags.tasks),
    width: Number(tags.width),
    forms: tags.forms.split(',') as AssignmentForm[],
    ...(tags.solver === undefined ? {} : { solver: tags.solver }),
    seed,
  });
  return { title: name, request };
}

/** What parseArgs throws is wrong use. This is no command of `tensor-consensus`, so its own help is named. */
function parse<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : String(error)} (see npm run load -- --help)`);
  }
}

function readArguments(argv: readonly string[]) {
  const { values } = parse(() =>
    parseArgs({
      args: [...argv],
      options: {
        profile: { type: 'string', default: 'top-k,hard-exact,plan' },
        total: { type: 'string', short: 'n' },
        duration: { type: 'string', short: 'z' },
        address: { type: 'string' },
        seed: { type: 'string', default: '1' },
        'write-request': { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }),
  );
  const profiles = values.profile.split(',');
  const unknown = profiles.find((name) => !profileNames.includes(name));
  if (unknown !== undefined) {
    throw new UsageError(`--profile: expected ${profileNames.join(', ')}, received '${unknown}'`);
  }
  const { total, duration } = values;
  if (total !== undefined && duration !== undefined)
    throw new UsageError('expected --total or --duration, received both');
  const bound: string[] = [];
  if (total !== undefined) {
    bound.push('--duration', '0', '--total', String(wholeNumber('--total', total, 1, 100_000_000)));
  }
  if (duration !== undefined) {
    if (!/^\d+(ms|s|m)$/.test(duration)) {
      throw new UsageError(`--duration: expected a time such as 5s, received '${duration}'`);
    }
    bound.push('--duration', duration, '--duration-stop', 'wait');
  }
  const seed = wholeNumber('--seed', values.seed, 0, 2 ** 30);
  return { profiles, seed, bound, address: values.address, writeTo: values['write-request'], help: values.help };
}

async function load(argv: readonly string[]): Promise<number> {
  const options = readArguments(argv);
  if (options.help) {
    process.stdout.write(help);
    return 0;
  }
  const profileFile = (name: string): string => join(profileFolder, `${name}.json`);
  if (options.writeTo !== undefined) {
    writeFileSync(options.writeTo, profileRequest(profileFile(options.profiles[0]!), options.seed).request);
    return 0;
  }
  const ghz = await usableGhz(process.env);
  if ('problem' in ghz) {
    process.stderr.write(`load: ${ghz.problem}\n`);
    return 3;
  }

  endChildrenOnSignals();
  const folder = mkdtempSync(join(tmpdir(), 'tensor-consensus-load-'));
  const server = options.address === undefined ? await startService() : null;
  const address = options.address ?? server!.grpcAddress;
  let failed = 0;
  try {
    process.stdout.write(
      `server ${address}${server === null ? '' : ' (started for this run)'}, seed ${options.seed}\n`,
    );
    for (const name of options.profiles) {
      const { title, request } = profileRequest(profileFile(name), options.seed);
      const requestFile = join(folder, `${name}.bin`);
      writeFileSync(requestFile, request);
      await callOnce(address, request);
      const flags = ['--config', profileFile(name), '--binary-file', requestFile, ...options.bound];
      const result = await runGhz(ghz.path, flags, address);
      failed += result.failed;
      if (result.calls === 0) throw new Error(`${name}: ghz made no call`);
      process.stdout.write(
        `${name}: ${title}\n  ${result.calls} calls, ${result.ratePerSecond.toFixed(0)}/s, p50 ${result.p50Ms.toFixed(2)} ms, ` +
          `p95 ${result.p95Ms.toFixed(2)} ms, p99 ${result.p99Ms.toFixed(2)} ms, ${result.failed} errors\n`,
      );
      for (const [message, count] of Object.entries(result.errors)) process.stdout.write(`  ${count} x ${message}\n`);
    }
  } finally {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  return failed === 0 ? 0 : 1;
}

/** Fails with the server's own words where the request cannot be answered at all, and has its program compiled. */
async function callOnce(address: string, request: Buffer): Promise<void> {
  const client = rawClient(address);
  try {
    await rawCall(client, coordinatePath, request, 20_000).answer;
  } finally {
    client.close();
  }
}

try {
  process.exitCode = await load(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`load: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
