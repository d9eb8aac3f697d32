/** How a server ends under load: at once and without a word, and asked to. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';
import { expectThat, type Scenario } from './scenario.js';
import { eventually, startLoad } from './known-answers.js';
import { metric, startChaosServer } from './server.js';

const answersBefore = 200;

export const hardKill: Scenario = {
  name: 'kill -9 under load, and a start at the same address',
  promise:
    'no answer is wrong, calls fail with UNAVAILABLE alone, and the next start compiles nothing that is in its cache',
  async run({ folder, plugin }) {
    const flags =
      plugin === null
        ? ['--engine', 'onnx', '--max-batch', '1']
        : ['--engine', 'xla', '--pjrt-plugin', plugin, '--max-batch', '1', '--executable-cache-dir', folder];
    const first = await startChaosServer({ flags });
    const load = startLoad(first.grpcAddress);
    await load.more(answersBefore);
    first.kill('SIGKILL');
    await first.exited;
    const second = await startChaosServer({ flags, grpcAddress: first.grpcAddress });
    await load.more(answersBefore);
    const cache = await metric(second, 'coordinate_executable_cache_total', 'result');
    const tally = await load.stop();
    second.kill('SIGKILL');
    expectThat(
      [...tally.failed.keys()].every((code) => code === 'UNAVAILABLE'),
      tally.failures.join('; '),
    );
    expectThat(plugin === null || (cache.get('disk_hit') ?? 0) > 0, 'programs come from the cache');
    expectThat((cache.get('disk_refused') ?? 0) === 0, 'no file is damaged');
    const found = plugin === null ? '' : `, ${cache.get('disk_hit') ?? 0} programs from disk`;
    const seconds = (ms: number) => (ms / 1000).toFixed(1);
    return {
      seen: `SERVING after ${seconds(first.readyMs)} s at first and ${seconds(second.readyMs)} s again${found}`,
      tally,
    };
  },
};

export const termination: Scenario = {
  name: 'SIGTERM under load',
  promise: 'every call that was accepted is answered, refused ones say UNAVAILABLE, and the exit code is 0',
  async run() {
    const server = await startChaosServer({ flags: ['--engine', 'onnx', '--max-batch', '4'] });
    const load = startLoad(server.grpcAddress, 32);
    await load.more(answersBefore);
    server.kill('SIGTERM');
    const code = await server.exited;
    const tally = await load.stop();
    const closed = server.log.find((line) => line['msg'] === 'closed');
    expectThat(code === 0, `exit code 0, received ${String(code)}`);
    expectThat(closed?.['lostCalls'] === 0 && closed['forced'] === false, `nothing lost: ${JSON.stringify(closed)}`);
    expectThat(
      [...tally.failed.keys()].every((name) => name === 'UNAVAILABLE'),
      tally.failures.join('; '),
    );
    return { seen: 'exit code 0, lost calls 0, no connection cut off', tally };
  },
};

const shimJumps = [3_600_000, -3_600_000, 315_360_000_000, 0];

export const clockJump: Scenario = {
  name: 'the wall clock jumps by an hour forth, an hour back, ten years',
  promise: 'deadlines, queues and timers do not notice: no call fails',
  async run({ folder }) {
    const clock = join(folder, 'clock');
    const shim = join(packageRoot, 'test/chaos/clock-shim.mjs');
    const server = await startChaosServer({
      flags: ['--engine', 'onnx', '--max-batch', '1'],
      nodeArguments: ['--import', shim],
      environment: { CHAOS_CLOCK: clock },
    });
    const load = startLoad(server.grpcAddress);
    let jumps = 0;
    for (const offsetMs of shimJumps) {
      await load.more(50);
      writeFileSync(clock, String(offsetMs));
      server.kill('SIGUSR2');
      jumps++;
      // The log's own times tell that it happened.
      await eventually(
        'the jump is in the log',
        () => server.log.filter((line) => line['msg'] === 'clock set').length === jumps,
      );
    }
    await load.more(100);
    const tally = await load.stop();
    server.kill('SIGTERM');
    expectThat((await server.exited) === 0, 'it drains as usual');
    expectThat(tally.failedCount === 0, tally.failures.join('; '));
    return { seen: `${jumps} jumps under load, no call failed`, tally };
  },
};
