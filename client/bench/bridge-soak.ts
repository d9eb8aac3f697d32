/** Twenty thousand executions through the XLA engine: memory stays where it was, and no object of the plugin is left. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { serverNodeFlags } from '../../src/node-flags.js';
import type { BridgeSoakJob, BridgeSoakReading } from './bridge-soak-process.js';
import { withoutPlugin } from './engines.js';
import { atMost } from './report.js';
import type { Section } from './section.js';
import { compiled } from './server-process.js';

const run = promisify(execFile);
const executions = 20_000;
const warmUp = 8000;
const blocks = 5;
const inFlight = 4;
const mostGrowth = 1.05;
const megabyte = 1e6;

export const bridgeSoak: Section = async (context) => {
  const title = 'Twenty thousand executions through the bridge';
  if (context.pluginPath === null) {
    context.progress(withoutPlugin);
    return { name: 'bridge', title, method: `${withoutPlugin}.`, tables: [], checks: [] };
  }
  const job: BridgeSoakJob = { pluginPath: context.pluginPath, warmUp, executions, blocks, inFlight };
  const { stdout } = await run(process.execPath, [
    ...serverNodeFlags,
    '--expose-gc',
    compiled('bridge-soak-process.js'),
    JSON.stringify(job),
  ]);
  const readings = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as BridgeSoakReading);
  const [before] = readings;
  const after = readings.at(-2)!;
  const freed = readings.at(-1)!;
  context.progress(
    `${(before!.rssBytes / megabyte).toFixed(0)} MB before, ${(after.rssBytes / megabyte).toFixed(0)} MB after`,
  );
  return {
    name: 'bridge',
    title,
    method:
      `All operators, TOP_K and HARD in turn, one N=M=100 problem each, ${inFlight} in flight, after ${warmUp} to warm up, in a process of their own. ` +
      'Memory after a forced garbage collection, in MB; live are the PJRT objects that are not freed, the last row after closing the engine.',
    tables: [
      {
        columns: ['after executions', 'resident', 'heap', 'external', 'live'],
        rows: readings.map(({ rssBytes, heapUsedBytes, externalBytes, liveObjects, after: count }, index) => [
          index === readings.length - 1 ? `${count}, closed` : `${count}`,
          rssBytes / megabyte,
          heapUsedBytes / megabyte,
          externalBytes / megabyte,
          liveObjects,
        ]),
      },
    ],
    checks: [
      atMost(
        `resident memory after ${executions} executions, of that before`,
        mostGrowth,
        after.rssBytes / before!.rssBytes,
        '',
      ),
      atMost(`live PJRT objects after ${executions} executions`, 0, freed.liveObjects, ''),
    ],
  };
};
