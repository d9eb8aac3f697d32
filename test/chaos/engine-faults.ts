/** The thread that runs programs hangs, runs out of memory, ends. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';
import { eventually, startLoad } from './known-answers.js';
import { expectThat, type Scenario } from './scenario.js';
import { type ChaosServer, metric, startChaosServer } from './server.js';

export type WorkerFault = 'hang' | 'memory' | 'exit';

const titles: Readonly<Record<WorkerFault, string>> = {
  hang: 'the engine hangs',
  memory: "the engine's thread runs out of memory",
  exit: "the engine's thread ends",
};

const quietMs = 8000;
/** A program that takes longer counts as hung, also the first ones on a machine that is many times overbooked. */
const hangTimeoutMs = 10_000;

/** Resolves when nothing was compiled for a while. */
async function compiledAll(server: ChaosServer): Promise<void> {
  let [last, lastMs] = [-1, performance.now()];
  await eventually(
    'every program is compiled',
    async () => {
      const counts = await metric(server, 'coordinate_compile_duration_seconds_count');
      const count = [...counts.values()].reduce((sum, value) => sum + value, 0);
      if (count !== last) [last, lastMs] = [count, performance.now()];
      return performance.now() - lastMs > quietMs;
    },
    180_000,
  );
}

/** `hasSecond`: whether another engine stands below it. */
export function workerFault(fault: WorkerFault, hasSecond: boolean): Scenario {
  return {
    name: `${titles[fault]}, ${hasSecond ? 'with another engine below it' : 'and there is no other'}`,
    promise: hasSecond
      ? 'its calls run on the other engine: none fails'
      : 'its own calls fail with UNAVAILABLE, no others do, and its successor serves',
    async run({ folder }) {
      const order = join(folder, 'order');
      const server = await startChaosServer({
        entry: join(packageRoot, 'test/chaos/faulty-server.mjs'),
        nodeArguments: ['--max-old-space-size=192'],
        flags: ['--max-batch', '1', '--engine-hang-timeout-ms', fault === 'hang' ? String(hangTimeoutMs) : '30000'],
        environment: { CHAOS_ORDER: order, ...(hasSecond ? { CHAOS_SECOND_ENGINE: '1' } : {}) },
      });
      const load = startLoad(server.grpcAddress, 4);
      await load.more(50);
      // The second engine is opened and warmed behind the first; until it is, a fault is the caller's answer.
      if (hasSecond) await compiledAll(server);
      writeFileSync(order, fault);
      const restarts = async (): Promise<number> =>
        [...(await metric(server, 'coordinate_engine_restart_total')).values()].reduce((sum, value) => sum + value, 0);
      await eventually('the loss is counted', async () => (await restarts()) > 0);
      await load.more(100);
      const tally = await load.stop();
      server.kill('SIGTERM');
      expectThat((await server.exited) === 0, 'it drains as usual');
      expectThat(
        [...tally.failed.keys()].every((code) => code === 'UNAVAILABLE'),
        tally.failures.join('; '),
      );
      expectThat(!hasSecond || tally.failedCount === 0, tally.failures.join('; '));
      const lost = server.log.find((line) => line['msg'] === 'the ONNX worker was lost and is replaced');
      expectThat(lost !== undefined, 'the log tells of the loss');
      return { seen: `lost (${String(lost['reason'])}: ${String(lost['detail'])}) and replaced`, tally };
    },
  };
}
