/** The command line and the examples, as processes, against a real server. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CoordinatorClient, matrix } from '../../client/client.js';
import { encodeNpy, parseNpy } from '../../client/npy.js';
import { type RunningServer, startServer } from '../../server/start.js';
import { loadConfig } from '../../src/config.js';
import { packageRoot } from '../../src/package-root.js';

let server: RunningServer;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tensor-consensus-'));
  const addresses = ['--grpc-address', '127.0.0.1:0', '--admin-address', '127.0.0.1:0'];
  server = await startServer(loadConfig([...addresses, '--log-level', 'silent', '--engine', 'onnx'], {}).config);
  await server.ready;
}, 60_000);

afterAll(async () => {
  rmSync(folder, { recursive: true });
  await server.close();
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function runFile(file: string, argv: readonly string[], input = ''): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(packageRoot, 'dist/client', file), ...argv]);
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.once('close', (code) => resolve({ code, out, err }));
    child.stdin.end(input);
  });
}

const cli = (argv: readonly string[], input?: string): Promise<Ended> => runFile('cli.js', argv, input);
const call = (argv: readonly string[], input?: string): Promise<Ended> =>
  cli(['call', ...argv, '--address', server.grpcAddress], input);

function saved(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describe('tensor-consensus call', () => {
  it('answers a JSON request from a file or standard input as JSON', async () => {
    const json = '{"agents": [[0,0],[9,9]], "tasks": [[8,8],[1,1]], "agent_ids": ["a","b"]}';
    for (const ended of [await call([saved('request.json', json)]), await call(['-'], json)]) {
      expect(ended).toMatchObject({ code: 0, err: '' });
      const answer = JSON.parse(ended.out) as { assignment: { taskOfAgent: number[]; gap: number } };
      expect(answer.assignment.taskOfAgent).toEqual([1, 0]);
      expect(answer.assignment.gap).toBe(0);
    }
  });

  it('answers .npy files as a table, and writes the plan as .npy', async () => {
    const utility = saved('utility.npy', encodeNpy(matrix(2, 2, [3, 0, 0, 3])));
    const plan = join(folder, 'plan.npy');
    const ended = await call([
      '--utility',
      utility,
      '--output',
      'table',
      '--plan-out',
      plan,
      '--operators',
      'assignment',
    ]);
    expect(ended).toMatchObject({ code: 0, err: '' });
    expect(ended.out).toMatch(/^ *0 +0$/m);
    expect(ended.out).toMatch(/^ *1 +1$/m);
    const written = parseNpy(readFileSync(plan));
    expect(written.shape).toEqual([2, 2]);
    expect(written.data[0]! + written.data[1]!).toBeCloseTo(1, 4);
    expect(written.data[0]!).toBeGreaterThan(0.99);
  });

  it('lets flags win over the file', async () => {
    const json = '{"utility": [[1, 9], [9, 1]], "assignment": {"forms": ["PLAN"]}}';
    const ended = await call(['-', '--forms', 'top-k', '--top-k', '1'], json);
    const { assignment } = JSON.parse(ended.out) as { assignment: { plan: null; topKTasks: number[][] } };
    expect(assignment.plan).toBeNull();
    expect(assignment.topKTasks).toEqual([[1], [0]]);
  });

  it('says in one line what the server refused, and exits with 1', async () => {
    const ended = await call(['-'], '{"utility": [[1,2]], "assignment": {"capacities": [1,2,3]}}');
    expect(ended).toMatchObject({ code: 1, out: '' });
    expect(ended.err).toMatch(/^tensor-consensus: INVALID_ARGUMENT [A-Z_]+: .*capacities.*\n$/);
  });

  it('exits with 2 and one line for wrong use, and with 3 where no server is', async () => {
    const wrong: [readonly string[], string, RegExp][] = [
      [['call', '--nope'], '', /Unknown option '--nope'/],
      [['call'], '', /nothing to coordinate/],
      [['call', join(folder, 'missing.json')], '', /missing\.json: ENOENT/],
      [['call', '-'], '{"agnets": []}', /standard input: agnets: unknown field/],
      [['call', '--utility', saved('bad.npy', 'text')], '', /bad\.npy: not a \.npy file/],
      [['call', '-', '--forms', 'soft'], '{"utility": [[1]]}', /--forms: expected HARD, TOP_K, PLAN, received 'soft'/],
      [['call', '-', '--output', 'xml'], '{"utility": [[1]]}', /--output: expected json or table/],
      [['demo', '--agents', '1'], '', /--agents: expected a whole number from 2/],
      [['serve', '--grpc-adress', 'x'], '', /unknown flag --grpc-adress/],
      [['dance'], '', /unknown command 'dance'/],
    ];
    const endings = await Promise.all(wrong.map(([argv, input]) => cli(argv, input)));
    for (const [i, [, , message]] of wrong.entries()) {
      const ended = endings[i]!;
      expect(ended).toMatchObject({ code: 2, out: '' });
      expect(ended.err).toMatch(message);
      expect(ended.err.split('\n')).toHaveLength(2);
    }
    const ended = await cli(['policies', '--address', '127.0.0.1:1']);
    expect(ended).toMatchObject({ code: 3, out: '' });
    expect(ended.err).toMatch(/^tensor-consensus: UNAVAILABLE: .*ECONNREFUSED.*\n$/);
  });
});

describe('tensor-consensus policies', () => {
  it('lists the built-in policies as a table and as JSON', async () => {
    const table = await cli(['policies', '--address', server.grpcAddress, '--output', 'table']);
    expect(table.out).toMatch(/^distance \(default\) /m);
    expect(table.out).toMatch(/^reference /m);
    const json = await cli(['policies', '--address', server.grpcAddress]);
    const policies = JSON.parse(json.out) as { name: string; isDefault: boolean; sigma: number | null }[];
    expect(policies.find((policy) => policy.isDefault)?.name).toBe('distance');
    expect(policies[0]?.sigma).toBeNull();
  });
});

describe('help and version', () => {
  it('are printed for every command, with exit code 0', async () => {
    for (const argv of [
      ['--help'],
      ['call', '--help'],
      ['policies', '-h'],
      ['demo', '--help'],
      ['serve', '--help'],
      ['bench', '--help'],
      ['plugin', '--help'],
    ]) {
      const ended = await cli(argv);
      expect(ended).toMatchObject({ code: 0, err: '' });
      expect(ended.out).toMatch(/^tensor-consensus /);
    }
    const manifest = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string };
    expect((await cli(['--version'])).out).toBe(`${manifest.version}\n`);
  });
});

describe('the examples', () => {
  it('run as they stand', async () => {
    const hello = await runFile('examples/hello.js', [server.grpcAddress]);
    expect(hello).toMatchObject({ code: 0, err: '' });
    expect(hello.out).toContain('[ 1, 0 ]');
    const agreement = await runFile('examples/robust-agreement.js', [server.grpcAddress]);
    expect(agreement).toMatchObject({ code: 0, err: '' });
    expect(agreement.out).toMatch(/agreed 21\.\d\d/);
    expect(agreement.out).toContain('[ 5, 11, 16 ]');
    const loop = await runFile('examples/tick-loop.js', [server.grpcAddress, '30000']);
    expect(loop).toMatchObject({ code: 0, err: '' });
    expect(loop.out.trim().split('\n')).toHaveLength(10);
    // The robot that joins at a site takes it over; of thirteen it and one other have another task than before, all later ones none.
    expect(loop.out).toMatch(/tick 5: late-comer north, .*; certified gap \d[^,]*, churn 0\.15\n/);
    expect(loop.out).toMatch(/tick 9: late-comer north, .*; certified gap \d[^,]*, churn 0\.00\n$/);
  });
});

describe('the client', () => {
  it('takes and gives typed arrays for every form, and matches ids to answers', async () => {
    const client = new CoordinatorClient(server.grpcAddress);
    const answer = await client.coordinate({
      agents: { data: new Float64Array([0, 0, 5, 5, Number.NaN, 0, 99, 99]), shape: [4, 2] },
      tasks: matrix(2, 2, [5, 5, 0, 0]),
      agentIds: ['a', 'b', 'c', 'd'],
      taskIds: ['x', 'y'],
      agentMask: new Uint8Array([1, 1, 1, 1]),
      assignment: { forms: ['HARD', 'TOP_K', 'PLAN'], topK: 1, forbidden: new Uint8Array(8), previous: [1, 0, -1, -1] },
    });
    client.close();
    expect(answer.assignment?.taskOfAgent).toEqual(new Int32Array([1, 0, -1, -1]));
    expect(answer.assignment?.idleAgentIds).toEqual(['d']);
    expect(answer.assignment?.topKTasks?.data).toBeInstanceOf(Int32Array);
    expect([...answer.assignment!.topKTasks!.data].slice(0, 2)).toEqual([1, 0]);
    expect(answer.assignment?.plan?.shape).toEqual([4, 2]);
    expect(answer.assignment?.plan?.data).toBeInstanceOf(Float32Array);
    expect(answer.assignment?.churn).toBe(0);
    expect(answer.rejectedAgents).toEqual([2]);
    expect(answer.consensus?.outliers).toContain(2);
    expect(answer.consensus?.centroid.data).toHaveLength(2);
    expect(answer.execution?.engine).toBe('onnx');
  });
});
