/** The `serve` command as a process: its words, its exit codes, its signals. A fake core stands behind it. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import type { ServiceError } from '@grpc/grpc-js';
import { status as grpcStatus } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { packageRoot } from '../../src/package-root.js';
import { rawClient } from './raw-client.js';

/** How long to wait for what must come, on a machine that is busy with other things too. */
const eventually = { timeout: 60_000 };

/** Answers a call after as many milliseconds as its request id says, or throws outside of the call where it says `crash`. */
const program = `
import { serve } from ${JSON.stringify(pathToFileURL(join(packageRoot, 'dist/server/main.js')).href)};
const execution = { engine: 'onnx', device: 'fake', bucket: '', batchSize: 1, policyVersion: '', executableFingerprint: '', stages: [] };
const core = {
  engine: 'onnx',
  device: 'fake',
  decode: ({ requestId }) => ({ requestId, outputValues: false, assignment: null }),
  coordinate: ({ requestId }) => new Promise((resolve) => {
    if (requestId === 'throw') setImmediate(() => { throw new Error('nobody catches this'); });
    if (requestId === 'reject') void Promise.reject(new Error('nobody handles this'));
    setTimeout(() => resolve({ requestId, resources: null, assignment: null, consensus: null, rejectedAgents: [], execution }), Number(requestId) || 0);
  }),
  listPolicies: () => ({ policies: [] }),
  warmUp: () => process.env.FAKE_WARM_UP === 'fails' ? Promise.reject(new Error('no such device')) : Promise.resolve(),
  close: () => Promise.resolve(),
};
process.exit(await serve(process.argv.slice(1), process.env, { createCore: () => Promise.resolve(core) }));
`;

type LogLine = Readonly<Record<string, unknown>>;

interface ServeProcess {
  readonly log: LogLine[];
  /** Lines of standard error. */
  readonly errors: string[];
  readonly exitCode: Promise<number | null>;
  /** Resolves with the line of that message. */
  said(message: string): Promise<LogLine>;
  kill(signal: NodeJS.Signals): void;
}

const started: ServeProcess[] = [];

afterEach(async () => {
  for (const child of started.splice(0)) {
    child.kill('SIGKILL');
    await child.exitCode;
  }
});

function startServe(flags: readonly string[], env: Record<string, string> = {}): ServeProcess {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, '--', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      TC_GRPC_ADDRESS: '127.0.0.1:0',
      TC_ADMIN_ADDRESS: '127.0.0.1:0',
      ...env,
    },
  });
  const log: LogLine[] = [];
  const errors: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => log.push(JSON.parse(line) as LogLine));
  createInterface({ input: child.stderr }).on('line', (line) => errors.push(line));
  const found: ServeProcess = {
    log,
    errors,
    exitCode: new Promise((resolve) => child.once('close', resolve)),
    kill: (signal) => void child.kill(signal),
    said: (message) =>
      expect
        .poll(() => log.find((line) => line['msg'] === message), eventually)
        .toBeDefined()
        .then(() => log.find((line) => line['msg'] === message)!),
  };
  started.push(found);
  return found;
}

async function ready(flags: readonly string[] = [], env: Record<string, string> = {}) {
  const child = startServe(flags, env);
  const line = await child.said('ready');
  const client = rawClient(String(line['grpcAddress']));
  return { child, client };
}

test.each([
  [['--max-btach=4'], 'unknown flag --max-btach; did you mean --max-batch?'],
  [['--max-batch=0'], "--max-batch: expected a whole number from 1 to 32, received '0'"],
  [['--pjrt-plugin=/a.so', '--engine=onnx'], '--pjrt-plugin: expected --engine auto or xla beside it, received onnx'],
])('%j stops it with one line and exit code 2', async (flags, message) => {
  const child = startServe(flags);
  expect(await child.exitCode).toBe(2);
  expect(child.errors).toEqual([message]);
  expect(child.log).toEqual([]);
});

test('an unknown TC_ variable is a warning, and it serves', async () => {
  const { child, client } = await ready([], { TC_MAX_BACH: '4' });
  client.close();
  const warnings = child.log.filter((line) => line['level'] === 40);
  expect(warnings.map((line) => line['msg'])).toEqual([
    'unknown environment variable TC_MAX_BACH; did you mean TC_MAX_BATCH?',
  ]);
});

test('an address in use stops it with one line and exit code 1', async () => {
  const { child: first, client } = await ready();
  client.close();
  const address = String((await first.said('ready'))['grpcAddress']);
  const second = startServe([`--grpc-address=${address}`]);
  expect(await second.exitCode).toBe(1);
  expect(second.errors).toHaveLength(1);
  expect(second.errors[0]).toMatch(new RegExp(`^cannot listen on ${address} \\(gRPC\\): .*EADDRINUSE`));
});

test('a warm-up that fails ends it with exit code 1 and the reason in the log', async () => {
  const child = startServe([], { FAKE_WARM_UP: 'fails' });
  expect(await child.exitCode).toBe(1);
  expect(child.log.find((line) => line['msg'] === 'the server cannot serve')).toMatchObject({
    err: { message: 'no such device' },
  });
});

test.each(['SIGTERM', 'SIGINT'] as const)('%s without calls: exit code 0', async (signal) => {
  const { child, client } = await ready();
  await client.coordinate({ requestId: '0' });
  child.kill(signal);
  expect(await child.exitCode).toBe(0);
  client.close();
});

test('SIGTERM under load: every accepted call is answered, refused ones may be retried, exit code 0', async () => {
  const { child, client } = await ready();
  const failures: ServiceError[] = [];
  let answered = 0;
  const callers = Array.from({ length: 32 }, async () => {
    for (;;) {
      try {
        await client.coordinate({ requestId: '20' });
        answered++;
      } catch (error) {
        failures.push(error as ServiceError);
        return;
      }
    }
  });
  const long = client.coordinate({ requestId: '600' });
  await expect.poll(() => answered, eventually).toBeGreaterThan(100);
  child.kill('SIGTERM');
  expect((await long)['requestId']).toBe('600');
  await Promise.all(callers);
  expect(await child.exitCode).toBe(0);
  expect(failures.map((error) => error.code)).toEqual(failures.map(() => grpcStatus.UNAVAILABLE));
  expect(child.log.find((line) => line['msg'] === 'closed')).toMatchObject({ lostCalls: 0, forced: false });
  client.close();
});

test('calls that outlast the drain timeout are lost, which exit code 1 tells', async () => {
  const { child, client } = await ready(['--drain-timeout-ms=100']);
  const lost = client.coordinate({ requestId: '60000' }).catch((error: unknown) => (error as ServiceError).code);
  await client.coordinate({ requestId: '0' });
  child.kill('SIGTERM');
  expect(await child.exitCode).toBe(1);
  expect(await lost).toBe(grpcStatus.UNAVAILABLE);
  client.close();
});

test('the second signal ends it at once', async () => {
  const { child, client } = await ready(['--drain-timeout-ms=60000']);
  const lost = client.coordinate({ requestId: '60000' }).catch((error: unknown) => error);
  await client.coordinate({ requestId: '0' });
  child.kill('SIGTERM');
  await child.said('draining');
  child.kill('SIGTERM');
  expect(await child.exitCode).toBe(1);
  await lost;
  client.close();
});

test('a rejection that nobody handles is logged and other calls go on', async () => {
  const { child, client } = await ready();
  await client.coordinate({ requestId: 'reject' });
  expect(await child.said('a rejection was not handled')).toMatchObject({ err: { message: 'nobody handles this' } });
  await client.coordinate({ requestId: '0' });
  client.close();
});

test('an exception that nobody catches is logged as fatal and ends it with exit code 1', async () => {
  const { child, client } = await ready();
  const lost = client.coordinate({ requestId: 'throw' }).catch((error: unknown) => error);
  expect(await child.exitCode).toBe(1);
  expect(await child.said('an exception was not caught')).toMatchObject({ level: 60 });
  await lost;
  client.close();
});
