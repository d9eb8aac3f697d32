/** How long large problems and many small ones keep the server's event loop from turning. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { coordinatePath, rawCall, rawClient, sampleRequest } from './messages.js';
import type { ProbeReading } from './probe.js';
import { atMost, type Cell } from './report.js';
import type { Section } from './section.js';
import { serviceEngine, serviceFlags } from './engines.js';
import { startNullServer, startService } from './server-process.js';
import { percentile } from './statistics.js';

const size = 1000;
const calls = 20;
const distinctRequests = 5;
const mostP50Ms = 250;
const longestBlockMs = 10;

export const eventLoop: Section = async (context) => {
  const service = await startService(serviceFlags(context), { probe: true });
  // Does nothing all the while: its delays are the machine's, not the service's.
  const emptyAnswer = join(context.folder, 'empty.answer');
  writeFileSync(emptyAnswer, '');
  const idle = await startNullServer(emptyAnswer, { probe: true });
  const client = rawClient(service.grpcAddress);
  const latenciesMs: number[] = [];
  const rows: Cell[][] = [];
  const addRow = async (what: string): Promise<ProbeReading> => {
    const [served, rested] = await Promise.all([service.read(), idle.read()]);
    const { p50, p99, max } = served.loopDelayMs;
    rows.push([what, served.busiestMs ?? '-', p50, p99, max, rested.loopDelayMs.max]);
    const busiest = served.busiestMs === null ? '' : `, longest stretch of work ${served.busiestMs.toFixed(1)} ms`;
    context.progress(`${what}: longest delay ${max.toFixed(1)} ms${busiest}`);
    return served;
  };
  try {
    const requests = Array.from({ length: distinctRequests }, (_, index) =>
      sampleRequest({
        policy: 'distance',
        agents: size,
        tasks: size,
        width: 2,
        forms: ['HARD'],
        solver: 'EXACT',
        states: 'uniform',
        seed: index + 1,
      }),
    );
    const call = async (index: number): Promise<void> => {
      await rawCall(client, coordinatePath, requests[index % distinctRequests]!).answer;
    };
    for (let index = 0; index < distinctRequests; index++) await call(index);
    await Promise.all([service.read(), idle.read()]);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await addRow('nothing, for 2 s');
    for (let index = 0; index < calls; index++) {
      const sentMs = performance.now();
      await call(index);
      latenciesMs.push(performance.now() - sentMs);
    }
    const large = await addRow(`${calls} calls of N=M=${size}, one after another`);

    const requestFile = join(context.folder, 'small.request');
    const small = { policy: 'reference', agents: 100, tasks: 100, width: 64, seed: 1 } as const;
    writeFileSync(requestFile, sampleRequest({ ...small, forms: ['HARD'], solver: 'EXACT' }));
    const load = { address: service.grpcAddress, requestFile, callers: 32, seconds: context.seconds };
    await context.generator.generate(load);
    await Promise.all([service.read(), idle.read()]);
    await context.generator.generate(load);
    await addRow('32 callers, N=M=100, hard');

    const p50 = percentile(latenciesMs, 0.5);
    return {
      name: 'event-loop',
      title: 'Large hard assignments and the event loop',
      method:
        `Engine: ${serviceEngine(context)}. \`distance\` policy, N=M=${size} uniform in the plane, \`HARD\` with the exact solver; ${distinctRequests} different swarms. The longest ` +
        'work is the most CPU time that the main thread took between ticks of a 1 ms timer: what the service itself blocks the loop for. ' +
        'Delays are between those ticks by the clock, so about 1 ms is the least, and they include waiting for a core; the last column is ' +
        'the longest delay in a process that does nothing meanwhile. Times in ms.',
      tables: [
        {
          columns: ['calls', 'p50', 'p95', 'longest'],
          rows: [[calls, p50, percentile(latenciesMs, 0.95), Math.max(...latenciesMs)]],
        },
        { columns: ['while', 'longest work', 'delay p50', 'delay p99', 'longest delay', 'idle process delay'], rows },
      ],
      checks: [
        atMost(`p50, N=M=${size} hard exact`, mostP50Ms, p50, 'ms'),
        atMost(
          `event loop blocked, N=M=${size} hard exact`,
          longestBlockMs,
          large.busiestMs ?? large.loopDelayMs.max,
          'ms',
        ),
      ],
    };
  } finally {
    client.close();
    await Promise.all([service.stop(), idle.stop()]);
  }
};
