/** Start-up time, memory with the warm set, and memory of the largest answer. */
import { coordinatePath, isServing, rawCall, rawClient, sampleRequest } from './messages.js';
import { atLeast, atMost, type Cell } from './report.js';
import type { Section } from './section.js';
import { startService } from './server-process.js';
import { median } from './statistics.js';

const megabyte = 1e6;
const size = 5000;
const messageLimitMb = 256;
const mostStartupMs = 5000;
const mostIdleMb = 400;
const mostPlanMb = 1500;
const settleMs = 2000;
/** The reference policy's own width, and positions in the plane. */
const plans = [
  { policy: 'reference', width: 64 },
  { policy: 'distance', width: 2 },
] as const;

export const memory: Section = async (context) => {
  const startupsMs: number[] = [];
  for (let round = 0; round < context.rounds; round++) {
    const service = await startService();
    const client = rawClient(service.grpcAddress);
    const serving = await isServing(client);
    client.close();
    await service.stop();
    if (!serving) throw new Error('the server said that it is ready while its health was not SERVING');
    startupsMs.push(service.startupMs);
    context.progress(`serving after ${service.startupMs.toFixed(0)} ms`);
  }

  const service = await startService(['--max-message-mb', String(messageLimitMb)], {
    probe: true,
  });
  const client = rawClient(service.grpcAddress, messageLimitMb);
  const rows: Cell[][] = [];
  let answered = 0;
  try {
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    const idle = await service.read();
    rows.push(['idle, warm set loaded', '-', idle.rssBytes / megabyte, idle.peakRssBytes / megabyte]);
    for (const { policy, width } of plans) {
      const request = sampleRequest({ policy, agents: size, tasks: size, width, forms: ['PLAN'], seed: 1 });
      for (const which of ['first', 'second']) {
        const sentMs = performance.now();
        const outcome = await rawCall(client, coordinatePath, request, 120_000).answer.then(
          ({ length }) => (length >= 4 * size * size ? null : `an answer of ${length} bytes`),
          (error: unknown) => (error instanceof Error ? error.message : String(error)),
        );
        const elapsedMs = performance.now() - sentMs;
        if (outcome === null) answered += 1;
        const reading = await service.read();
        const peakMb = reading.peakRssBytes / megabyte;
        context.progress(
          `${policy} plan: ${outcome ?? 'answered'}, ${elapsedMs.toFixed(0)} ms, peak ${peakMb.toFixed(0)} MB`,
        );
        const what = `N=M=${size} plan, ${policy}, ${which} call`;
        rows.push([outcome === null ? what : `${what}: ${outcome}`, elapsedMs, reading.rssBytes / megabyte, peakMb]);
      }
    }
    const last = await service.read();
    return {
      name: 'memory',
      title: 'Start-up and memory',
      method:
        `Start-up is from starting the process to health SERVING, ${context.rounds} times. Memory is the server process's resident set; ` +
        `the highest is of its whole life so far. The plan's answer is ${(4 * size * size) / megabyte} MB, so the message limit is raised to ` +
        `${messageLimitMb} MiB; the first call compiles its program. Sizes in MB, times in ms.`,
      tables: [
        {
          columns: ['start-up', 'median', 'slowest'],
          rows: [['warm set ready', median(startupsMs), Math.max(...startupsMs)]],
        },
        { columns: ['after', 'call', 'resident', 'highest so far'], rows },
      ],
      checks: [
        atMost('start-up to SERVING', mostStartupMs, median(startupsMs), 'ms'),
        atMost('idle memory with the warm set', mostIdleMb, idle.rssBytes / megabyte, 'MB'),
        atLeast(`N=M=${size} plans answered, of 4`, 4, answered, ''),
        atMost(`memory while answering N=M=${size} plans`, mostPlanMb, last.peakRssBytes / megabyte, 'MB'),
      ],
    };
  } finally {
    client.close();
    await service.stop();
  }
};
