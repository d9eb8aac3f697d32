/** Swarms beyond the largest dense bucket, through gRPC: time, certified gap and the server's memory. */
import type { Client } from '@grpc/grpc-js';
import { serviceEngine, serviceFlags } from './engines.js';
import { coordinatePath, decodeResponse, encodeRequest, float32Tensor, rawCall, rawClient } from './messages.js';
import { uniformArray } from './random-states.js';
import { atLeast, atMost, type Cell, type Check } from './report.js';
import type { Section } from './section.js';
import { startService } from './server-process.js';
import { median } from './statistics.js';

interface Size {
  readonly count: number;
  readonly calls: number;
  readonly mostMs: number;
}

const sizes: readonly Size[] = [
  { count: 20_000, calls: 5, mostMs: 1500 },
  { count: 100_000, calls: 2, mostMs: 10_000 },
];
const mapMetres = 1000;
const mostGap = 0.02;
const mostPeakGb = 3;
const gigabyte = 1e9;
const deadlineMs = 60_000;
/** Of the objective: ours is summed in another order than the server's. */
const mostObjectiveDifference = 1e-5;

interface Assignment {
  readonly taskOfAgent: readonly number[];
  readonly objective: number;
  readonly gap: number;
  readonly solver: string;
}

interface Outcome {
  readonly ms: number;
  readonly gap: number;
  readonly solver: string;
  /** Null: feasible, complete and worth what it says. */
  readonly problem: string | null;
}

export const large: Section = async (context) => {
  const rows: Cell[][] = [];
  const checks: Check[] = [];
  let right = 0;
  for (const { count, calls, mostMs } of sizes) {
    // Each size meets a server of its own, whose highest memory is this size's.
    const service = await startService(serviceFlags(context), { probe: true });
    const client = rawClient(service.grpcAddress);
    const outcomes: Outcome[] = [];
    try {
      for (let call = 0; call < calls; call++) {
        const outcome = await coordinate(client, count, 2 * call + 1);
        outcomes.push(outcome);
        const { peakRssBytes } = await service.read();
        const { ms, gap, solver, problem } = outcome;
        const peakGb = peakRssBytes / gigabyte;
        if (problem === null) right++;
        rows.push([count, call + 1, problem ?? solver, ms, 100 * gap, peakGb]);
        context.progress(
          `N=M=${count}: ${problem ?? solver}, ${ms.toFixed(0)} ms, gap ${(100 * gap).toFixed(2)} %, ${peakGb.toFixed(2)} GB`,
        );
        if (call < calls - 1) continue;
        const name = `N=M=${count} in the plane`;
        checks.push(
          atMost(name, mostMs, median(outcomes.map((each) => (each.problem === null ? each.ms : Infinity))), 'ms'),
          atMost(`${name}, certified gap`, 100 * mostGap, Math.max(...outcomes.map((each) => each.gap)) * 100, '%'),
          atMost(`${name}, highest memory of the server`, mostPeakGb, peakGb, 'GB'),
        );
      }
    } finally {
      client.close();
      await service.stop();
    }
  }
  checks.push(
    atLeast(
      'large answers that are feasible and complete',
      sizes.reduce((sum, { calls }) => sum + calls, 0),
      right,
      '',
    ),
  );
  return {
    name: 'large',
    title: 'Large swarms',
    method:
      `Engine: ${serviceEngine(context)}. \`distance\` policy with its defaults (\`HARD\`, consensus), agents and tasks uniform on a map of ${mapMetres} m, one task each, no budget given; calls of each size to a fresh server, another swarm each, from sending ` +
      'to having the answer, the median. Every answer is checked: no task is given twice, nobody idles, and the objective is the sum over the pairs. Memory is the highest resident set of the server so far. Times in ms.',
    tables: [{ columns: ['N=M', 'call', 'solver', 'time', 'certified gap, %', 'memory, GB'], rows }],
    checks,
  };
};

async function coordinate(client: Client, count: number, seed: number): Promise<Outcome> {
  const [agents, tasks] = [seed, seed + 1].map((each) =>
    uniformArray(2 * count, each).map((share) => mapMetres * share),
  ) as [Float32Array, Float32Array];
  const request = encodeRequest({
    policy: 'distance',
    agents: float32Tensor(count, 2, agents),
    tasks: float32Tensor(count, 2, tasks),
  });
  const sentMs = performance.now();
  const failed = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));
  const answer = await rawCall(client, coordinatePath, request, deadlineMs).answer.catch(failed);
  const ms = performance.now() - sentMs;
  if (typeof answer === 'string') return { ms, gap: Number.NaN, solver: '', problem: answer };
  const assignment = decodeResponse(answer)['assignment'] as Assignment;
  const { gap, solver } = assignment;
  return { ms, gap, solver, problem: problemOf(assignment, agents, tasks) };
}

/** What is wrong with an answer for as many agents as tasks; null where nothing is. */
function problemOf({ taskOfAgent, objective }: Assignment, agents: Float32Array, tasks: Float32Array): string | null {
  const count = agents.length / 2;
  const taken = new Uint8Array(count);
  let sum = 0;
  if (taskOfAgent.length !== count) return `${taskOfAgent.length} agents in the answer`;
  for (const [agent, task] of taskOfAgent.entries()) {
    if (task < 0) return `agent ${agent} is idle`;
    if (taken[task] !== 0) return `task ${task} is given twice, or not there`;
    taken[task] = 1;
    sum -= Math.hypot(agents[2 * agent]! - tasks[2 * task]!, agents[2 * agent + 1]! - tasks[2 * task + 1]!);
  }
  const difference = Math.abs(sum - objective) / Math.abs(sum);
  return difference <= mostObjectiveDifference ? null : `objective ${objective} for pairs worth ${sum}`;
}
