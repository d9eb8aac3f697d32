/** Start-up time, memory with the warm set, and memory of the largest answer. */
import { join } from 'node:path';
import { withoutPlugin } from './engines.js';
import { coordinatePath, isServing, rawCall, rawClient, sampleRequest } from './messages.js';
import { atLeast, atMost, type Cell, type Check } from './report.js';
import type { BenchContext, Section } from './section.js';
import { settled, startService } from './server-process.js';
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

const mostWarmStartupMs = 2000;

interface Run {
  readonly name: string;
  readonly flags: readonly string[];
}

export const memory: Section = async (context) => {
  const onnx: Run = { name: 'ONNX Runtime', flags: ['--engine', 'onnx'] };
  const xla: Run | null =
    context.pluginPath === null
      ? null
      : { name: 'XLA', flags: ['--engine', 'xla', '--pjrt-plugin', context.pluginPath] };
  if (xla === null) context.progress(withoutPlugin);
  const cacheOf = (round: number): string => join(context.folder, `executables-${round}`);
  const startups: Cell[][] = [];
  const checks: Check[] = [];
  const startUp = async (what: string, flagsOf: (round: number) => readonly string[], mostMs: number | null) => {
    const startupsMs: number[] = [];
    for (let round = 0; round < context.rounds; round++) startupsMs.push(await startAndStop(flagsOf(round)));
    startups.push([what, median(startupsMs), Math.max(...startupsMs)]);
    context.progress(`${what}: serving after ${median(startupsMs).toFixed(0)} ms`);
    if (mostMs !== null) checks.push(atMost(`start-up to SERVING, ${what}`, mostMs, median(startupsMs), 'ms'));
  };
  await startUp(onnx.name, () => onnx.flags, mostStartupMs);
  if (xla !== null) {
    const flagsOf = (round: number): string[] => [...xla.flags, '--executable-cache-dir', cacheOf(round)];
    await startUp('XLA, nothing cached', flagsOf, null);
    // The first of the folders is full by then: what the server compiles in the background is kept when it stops, or not at all.
    await startUp('XLA, second start', () => flagsOf(0), mostWarmStartupMs);
  }

  const rows: Cell[][] = [];
  // What the sections before used would be loaded ahead out of the folder of them all: that is no part of the warm set.
  const warmOnly = xla === null ? null : { ...xla, flags: [...xla.flags, '--executable-cache-dir', cacheOf(0)] };
  for (const run of warmOnly === null ? [onnx] : [onnx, warmOnly]) {
    const { answered, idleMb, peakMb } = await largestAnswers(context, run, rows);
    checks.push(
      atMost(`idle memory with the warm set, ${run.name}`, mostIdleMb, idleMb, 'MB'),
      atLeast(`N=M=${size} plans answered, of 4, ${run.name}`, 4, answered, ''),
      atMost(`memory while answering N=M=${size} plans, ${run.name}`, mostPlanMb, peakMb, 'MB'),
    );
  }
  return {
    name: 'memory',
    title: 'Start-up and memory',
    method:
      `Start-up is from starting the process to health SERVING, ${context.rounds} times; with nothing cached the folder of executables is new each time, ` +
      "a second start finds what a first one left. Memory is the server process's resident set; " +
      `the highest is of its whole life so far. XLA starts with the warm set in its folder and nothing else. The plan's answer is ${(4 * size * size) / megabyte} MB, so the message limit is raised to ` +
      `${messageLimitMb} MiB; the first call compiles its program. Sizes in MB, times in ms.${xla === null ? ` ${withoutPlugin}.` : ''}`,
    tables: [
      { columns: ['start-up', 'median', 'slowest'], rows: startups },
      { columns: ['engine', 'after', 'call', 'resident', 'highest so far'], rows },
    ],
    checks,
  };
};

async function startAndStop(flags: readonly string[]): Promise<number> {
  const service = await startService(flags);
  const client = rawClient(service.grpcAddress);
  const serving = await isServing(client);
  client.close();
  await service.stop();
  if (!serving) throw new Error('the server said that it is ready while its health was not SERVING');
  return service.startupMs;
}

async function largestAnswers(context: BenchContext, { name, flags }: Run, rows: Cell[][]) {
  const service = await startService([...flags, '--max-message-mb', String(messageLimitMb)], { probe: true });
  const client = rawClient(service.grpcAddress, messageLimitMb);
  let answered = 0;
  try {
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    await settled(service);
    const idle = await service.read();
    rows.push([name, 'idle, warm set loaded', '-', idle.rssBytes / megabyte, idle.peakRssBytes / megabyte]);
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
          `${name}, ${policy} plan: ${outcome ?? 'answered'}, ${elapsedMs.toFixed(0)} ms, peak ${peakMb.toFixed(0)} MB`,
        );
        const what = `N=M=${size} plan, ${policy}, ${which} call`;
        rows.push([
          name,
          outcome === null ? what : `${what}: ${outcome}`,
          elapsedMs,
          reading.rssBytes / megabyte,
          peakMb,
        ]);
      }
    }
    const last = await service.read();
    return { answered, idleMb: idle.rssBytes / megabyte, peakMb: last.peakRssBytes / megabyte };
  } finally {
    client.close();
    await service.stop();
  }
}
