/**
 * Simulators in a process of their own, each a stream with a tick every so many milliseconds whatever is still unanswered:
 * `node tick-caller.js '{"address":…,"simulators":10,…}'` prints a TickResult. Agents drive towards the task that the last answer gave them.
 */
import { decodeResponse, encodeRequest, float32Tensor, rawClient, rawStream } from './messages.js';
import { uniformArray } from './random-states.js';
import { percentile } from './statistics.js';

export interface TickLoad {
  readonly address: string;
  readonly simulators: number;
  /** Of each simulator, those not counted included. */
  readonly ticks: number;
  /** The first ticks of each simulator, which are not counted: a stream's first has no last answer to start from. */
  readonly uncounted: number;
  readonly periodMs: number;
  /** Whether all tick at the same moment; else their phases are spread over the period. */
  readonly together: boolean;
  /** N = M. */
  readonly count: number;
  readonly seed: number;
}

export interface TickResult {
  readonly answered: number;
  readonly failed: number;
  /** From sending to having the answer. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly longestMs: number;
  /** Of the ticks that are not counted. */
  readonly firstLongestMs: number;
  /** By which ticks were sent late: what this process adds, and the machine. */
  readonly lagP99Ms: number;
  /** Of the answers. */
  readonly warmShare: number;
  readonly meanChurn: number;
}

const mapMetres = 1000;
const stepMetres = 1;

interface Assignment {
  readonly taskOfAgent: readonly number[];
  readonly warmStartUsed: boolean;
  readonly churn: number;
}

const job = JSON.parse(process.argv[2]!) as TickLoad;
const { count } = job;
const client = rawClient(job.address);
const latenciesMs: number[] = [];
const firstMs: number[] = [];
const lagsMs: number[] = [];
let failed = 0;
let warm = 0;
let churn = 0;

function positions(seed: number): Float32Array {
  return uniformArray(2 * count, seed).map((share) => mapMetres * share);
}

/** Every agent `stepMetres` nearer to its task; one that is there stays. */
function advance(agents: Float32Array, tasks: Float32Array, taskOfAgent: readonly number[]): void {
  for (const [agent, task] of taskOfAgent.entries()) {
    if (task < 0) continue;
    const across = tasks[2 * task]! - agents[2 * agent]!;
    const along = tasks[2 * task + 1]! - agents[2 * agent + 1]!;
    const share = Math.min(stepMetres / Math.max(Math.hypot(across, along), 1e-9), 1);
    agents[2 * agent]! += share * across;
    agents[2 * agent + 1]! += share * along;
  }
}

function simulate(index: number): Promise<void> {
  return new Promise((resolve) => {
    const agents = positions(job.seed + 2 * index);
    const tasks = positions(job.seed + 2 * index + 1);
    const sentAtMs: number[] = [];
    let answers = 0;
    const finish = (): void => {
      clearTimeout(timer);
      resolve();
    };
    const stream = rawStream(
      client,
      (answer) => {
        const latencyMs = performance.now() - sentAtMs.shift()!;
        const { assignment, error } = decodeResponse(answer) as { assignment: Assignment | null; error: unknown };
        if (error != null || assignment === null) failed++;
        else {
          if (answers++ < job.uncounted) firstMs.push(latencyMs);
          else {
            latenciesMs.push(latencyMs);
            warm += assignment.warmStartUsed ? 1 : 0;
            churn += assignment.churn;
          }
          advance(agents, tasks, assignment.taskOfAgent);
        }
      },
      () => {
        failed += sentAtMs.length;
        finish();
      },
    );
    stream.on('end', finish);
    const phaseMs = job.together ? 0 : (job.periodMs * index) / job.simulators;
    const startMs = performance.now() + job.periodMs + phaseMs;
    let tick = 0;
    const send = (): void => {
      const request = encodeRequest({
        policy: 'distance',
        agents: float32Tensor(count, 2, agents),
        tasks: float32Tensor(count, 2, tasks),
        assignment: { forms: ['HARD'], solver: 'EXACT' },
      });
      const nowMs = performance.now();
      lagsMs.push(nowMs - (startMs + tick * job.periodMs));
      sentAtMs.push(nowMs);
      stream.write(request);
      if (++tick === job.ticks) stream.end();
      else timer = setTimeout(send, startMs + tick * job.periodMs - performance.now());
    };
    let timer = setTimeout(send, startMs - performance.now());
  });
}

await Promise.all(Array.from({ length: job.simulators }, (_, index) => simulate(index)));
client.close();
const answered = latenciesMs.length;
const result: TickResult = {
  answered,
  failed,
  p50Ms: percentile(latenciesMs, 0.5),
  p99Ms: percentile(latenciesMs, 0.99),
  longestMs: percentile(latenciesMs, 1),
  firstLongestMs: percentile(firstMs, 1),
  lagP99Ms: percentile(lagsMs, 0.99),
  warmShare: warm / Math.max(answered, 1),
  meanChurn: churn / Math.max(answered, 1),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
