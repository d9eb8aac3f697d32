/** Answers for people: as a table, or as JSON with tensors as nested arrays. */
import type { CoordinateAnswer, CoordinateRequest } from './request.js';
import { tableLines } from './table.js';

/** Agents beyond these are in the JSON. */
const mostRows = 40;

/** The answer as JSON: names in camelCase, tensors as nested arrays, bytes as base64. */
export function answerJson(answer: CoordinateAnswer): string {
  return JSON.stringify(answer, plain, 2);
}

/** Asks the holder, as JSON.stringify has turned a Buffer into an object before it calls this. */
function plain(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  const raw = this[key];
  if (raw instanceof Uint8Array) return Buffer.from(raw).toString('base64');
  if (value instanceof Int32Array || value instanceof Float32Array) return shortened(value);
  if (typeof value === 'object' && value !== null && 'data' in value && 'shape' in value) {
    return nested(value.data as Float32Array | Int32Array, value.shape as readonly number[]);
  }
  return value;
}

/** Float32 in the fewest digits that read back as the same float32: 0.1, not 0.10000000149011612. */
function shortened(data: Float32Array | Int32Array): number[] {
  return Array.from(data, (value) => {
    if (Number.isInteger(value)) return value;
    for (let digits = 6; digits < 9; digits += 1) {
      const short = Number(value.toPrecision(digits));
      if (Math.fround(short) === value) return short;
    }
    return Number(value.toPrecision(9));
  });
}

function nested(data: Float32Array | Int32Array, shape: readonly number[]): unknown {
  const [length = 0, ...rest] = shape;
  if (rest.length === 0) return shortened(data);
  const stride = data.length / Math.max(1, length);
  return Array.from({ length }, (_, i) => nested(data.subarray(i * stride, (i + 1) * stride), rest));
}

/** One row an agent, then what holds for all of them. */
export function answerTable(request: CoordinateRequest, answer: CoordinateAnswer): string {
  const { assignment, consensus, resources, execution } = answer;
  const count =
    request.agents?.shape[0] ??
    request.utility?.shape[0] ??
    request.responses?.shape[0] ??
    assignment?.taskOfAgent.length ??
    0;
  const hard = assignment !== null && assignment.taskOfAgent.length > 0 ? assignment.taskOfAgent : null;
  const top = assignment?.topKTasks ?? null;
  const outliers = new Set(consensus?.outliers);
  const rejected = new Set(answer.rejectedAgents);
  const heading = ['agent'];
  if (hard !== null) heading.push('task');
  if (top !== null) heading.push('likely tasks');
  if (consensus !== null) heading.push('weight');
  if (resources !== null) heading.push('resources');
  heading.push('');
  const rows = Array.from({ length: Math.min(count, mostRows) }, (_, i) => {
    const row = [request.agentIds?.[i] ?? String(i)];
    if (hard !== null) row.push(taskName(request, hard[i] ?? -1));
    if (top !== null) row.push(likelyTasks(request, answer, i));
    if (consensus !== null) row.push((consensus.weights.data[i] ?? 0).toFixed(4));
    if (resources !== null) row.push(rowText(resources.data, resources.shape[1] ?? 0, i));
    row.push(rejected.has(i) ? 'rejected' : outliers.has(i) ? 'outlier' : '');
    return row;
  });
  const lines = tableLines(heading, rows);
  if (count > mostRows) lines.push(`... ${count - mostRows} more agents (--output json shows all)`);
  lines.push('');
  if (assignment !== null && hard !== null) {
    lines.push(
      `objective ${number(assignment.objective)}, at most ${number(assignment.upperBound)} is possible (gap ${number(100 * assignment.gap)} %), solver ${assignment.solver}`,
    );
    if (assignment.unservedTasks.length > 0) {
      lines.push(`tasks with room left: ${listText(assignment.unservedTasks.map((task) => taskName(request, task)))}`);
    }
  }
  if (assignment !== null && assignment.sinkhornForm !== '') {
    lines.push(
      `plan: ${assignment.iterations} iterations (${assignment.sinkhornForm}), marginal errors ${number(assignment.rowError)} and ${number(assignment.columnError)}${assignment.converged ? '' : ', not converged'}`,
    );
  }
  if (consensus !== null) {
    lines.push(
      `consensus ${listText(Array.from(consensus.centroid.data, number))}, ${consensus.outliers.length} outliers, scale ${listText(consensus.scale.map(number))}`,
    );
  }
  if (execution !== null) {
    const stages = execution.stages.map(({ stage, microseconds }) => `${stage} ${(microseconds / 1000).toFixed(2)}`);
    // Without a bucket no program was needed: the utility was given and the assignment is hard.
    const where =
      execution.bucket === ''
        ? 'no program needed'
        : `${execution.engine} on ${execution.device}, ${execution.bucket}, batch of ${execution.batchSize}`;
    lines.push(`${where}; ms: ${stages.join(', ')}`);
  }
  return lines.join('\n');
}

function taskName(request: CoordinateRequest, task: number): string {
  return task < 0 ? 'idle' : (request.taskIds?.[task] ?? String(task));
}

function likelyTasks(request: CoordinateRequest, { assignment }: CoordinateAnswer, agent: number): string {
  const width = assignment?.topKTasks?.shape[1] ?? 0;
  return Array.from({ length: Math.min(3, width) }, (_, k) => {
    const at = agent * width + k;
    const task = assignment?.topKTasks?.data[at] ?? -1;
    return `${taskName(request, task)} ${(assignment?.topKMass?.data[at] ?? 0).toFixed(2)}`;
  }).join(', ');
}

function rowText(data: Float32Array, width: number, row: number): string {
  return listText(Array.from(data.subarray(row * width, (row + 1) * width), number));
}

function number(value: number): string {
  return String(Number(value.toPrecision(4)));
}

const mostInList = 12;

function listText(items: readonly string[]): string {
  const shown = items.slice(0, mostInList).join(' ');
  return items.length > mostInList ? `${shown} ... (${items.length})` : shown;
}
