/** What is on disk is full, damaged or hostile. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../../src/policies/safetensors.js';
import { seededUniform } from '../seeded-normal.js';
import { eventually, startLoad } from './known-answers.js';
import { expectThat, type Scenario } from './scenario.js';
import { type ChaosServer, metric, startChaosServer } from './server.js';

const answers = 100;

async function stopped(server: ChaosServer): Promise<void> {
  server.kill('SIGTERM');
  expectThat((await server.exited) === 0, 'it drains as usual');
}

/** A file system of its own that is full, where the system lets us make one. */
function mountFull(folder: string): boolean {
  const mounted =
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], { stdio: 'ignore' }).status === 0;
  if (!mounted) return false;
  try {
    writeFileSync(join(folder, 'filler'), Buffer.alloc(1 << 20));
  } catch {
    // As wanted: there is no room left.
  }
  return true;
}

export function fullDisk(plugin: string): Scenario {
  return {
    name: 'the disk of the executable cache is full',
    promise: 'programs are compiled at every start, a warning says so, and every answer is right',
    async run({ folder }) {
      const cache = join(folder, 'cache');
      mkdirSync(cache);
      const isFull = mountFull(cache);
      try {
        const server = await startChaosServer({
          flags: ['--engine', 'xla', '--pjrt-plugin', plugin, '--max-batch', '1', '--executable-cache-dir', cache],
          ...(isFull ? {} : { largestFileBytes: 4096 }),
        });
        const load = startLoad(server.grpcAddress);
        await load.more(answers);
        const tally = await load.stop();
        await stopped(server);
        expectThat(tally.failedCount === 0, tally.failures.join('; '));
        const warning = server.log.find((line) =>
          String(line['msg']).startsWith('the executable cache cannot be written'),
        );
        expectThat(warning !== undefined, 'the log tells of it');
        const left = readdirSync(cache).filter((name) => name !== 'filler');
        expectThat(left.length === 0, `no half-written file is left: ${left.join(', ')}`);
        return {
          seen: `${isFull ? 'a full tmpfs' : 'a limit on the size of files'}: ${String(warning['reason'])}`,
          tally,
        };
      } finally {
        if (isFull) spawnSync('umount', [cache], { stdio: 'ignore' });
      }
    },
  };
}

const harm: readonly ((file: Buffer) => Buffer)[] = [
  (file) => file.subarray(0, file.length / 2),
  () => Buffer.alloc(0),
  (file) => {
    file[file.length - 1] = file[file.length - 1]! ^ 1;
    return file;
  },
  (file) => Buffer.concat([file, Buffer.from('more')]),
  (file) => Buffer.alloc(file.length, 255),
];

export function damagedCache(plugin: string): Scenario {
  return {
    name: 'every file of the executable cache is damaged',
    promise: 'each is refused and deleted, its program is compiled anew, and every answer is right',
    async run({ folder }) {
      const options = {
        flags: ['--engine', 'xla', '--pjrt-plugin', plugin, '--max-batch', '1', '--executable-cache-dir', folder],
      };
      await stopped(await startChaosServer(options));
      const files = readdirSync(folder).filter((name) => name.endsWith('.tcx'));
      for (const [i, name] of files.entries()) {
        const path = join(folder, name);
        writeFileSync(path, harm[i % harm.length]!(readFileSync(path)));
      }
      const server = await startChaosServer(options);
      const load = startLoad(server.grpcAddress);
      await load.more(answers);
      const tally = await load.stop();
      const refused = (await metric(server, 'coordinate_executable_cache_total', 'result')).get('disk_refused') ?? 0;
      await stopped(server);
      expectThat(tally.failedCount === 0, tally.failures.join('; '));
      expectThat(files.length > 0 && refused > 0, 'damaged files are refused');
      return { seen: `${files.length} files damaged, ${refused} met and refused`, tally };
    },
  };
}

const badPolicies: Readonly<Record<string, Uint8Array>> = {
  empty: Buffer.alloc(0),
  short: Buffer.from([1, 2, 3]),
  'no-json': Buffer.concat([Buffer.from([8, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{{{{{{{{')]),
  'long-header': Buffer.from([255, 255, 255, 255, 255, 255, 255, 127]),
  'foreign-tensor': writeSafetensors(new Map([['x', { shape: [1], data: Float32Array.of(1) }]])),
  'not-finite': writeSafetensors(new Map([['assignment.bilinear', { shape: [1, 1], data: Float32Array.of(NaN) }]])),
};

export const badPolicyFiles: Scenario = {
  name: 'policy files are damaged, at the start and under load',
  promise: 'each is refused by name with the reason, the others serve, and a policy that was loaded stays as it was',
  async run({ folder }) {
    const good = writeSafetensors(
      new Map([['assignment.bilinear', { shape: [2, 2], data: Float32Array.of(1, 0, 0, 1) }]]),
    );
    writeFileSync(join(folder, 'good.safetensors'), good);
    const uniform = seededUniform(5);
    const noise = Buffer.from(Array.from({ length: 4096 }, () => Math.floor(256 * uniform())));
    const files = { ...badPolicies, noise };
    for (const [name, file] of Object.entries(files)) writeFileSync(join(folder, `${name}.safetensors`), file);
    const server = await startChaosServer({
      flags: ['--engine', 'onnx', '--max-batch', '1', '--policy-dir', folder, '--policy-poll-ms', '100'],
    });
    const load = startLoad(server.grpcAddress);
    await load.more(answers / 2);
    const refusals = (): string[] =>
      server.log.filter((line) => line['msg'] === 'policy refused').map((line) => JSON.stringify(line));
    for (const name of Object.keys(files))
      expectThat(
        refusals().some((line) => line.includes(name)),
        `${name} is refused`,
      );
    writeFileSync(join(folder, 'good.safetensors'), noise);
    await eventually('the changed file is refused', () => refusals().some((line) => line.includes('good')));
    await load.more(answers / 2);
    const tally = await load.stop();
    await stopped(server);
    expectThat(tally.failedCount === 0, tally.failures.join('; '));
    return { seen: `${refusals().length} files refused`, tally };
  },
};
