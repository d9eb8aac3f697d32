/** `tensor-consensus call`: one Coordinate call from files. */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { answerJson, answerTable } from '../answer-text.js';
import { exitCodes } from '../exit-codes.js';
import { encodeNpy, parseNpy } from '../npy.js';
import type { AssignmentForm, AssignmentRequest, CoordinateRequest, Operator, TensorInput } from '../request.js';
import { parseRequest } from '../request-file.js';
import { UsageError, wholeNumber } from '../usage.js';
import { connectionFlags, connectionHelp, outputForm, withClient } from './connection.js';

export const callHelp = `tensor-consensus call [REQUEST.json | -] [options]

Makes one call and prints the answer. The request is a JSON file (- = standard input) with the fields of
CoordinateRequest, .npy files, or both; flags win over the file.

  {"agents": [[0, 0], [9, 9]], "tasks": [[8, 8], [1, 1]], "assignment": {"forms": ["HARD"]}}

Tensors are nested arrays; "-Infinity" forbids a pair. Names may be camelCase or snake_case.

  --agents FILE.npy      agent states [N,d]
  --tasks FILE.npy       task states [M,e]
  --utility FILE.npy     utility [N,M], instead of tasks
  --responses FILE.npy   what to agree on [N,r] (default: the agents)
  --policy NAME          (default: the server's)
  --operators LIST       comma list of PROJECTION, ASSIGNMENT, CONSENSUS (default: all that the inputs allow)
  --forms LIST           comma list of HARD, TOP_K, PLAN
  --top-k COUNT          tasks an agent in TOP_K
  --idle-utility NUMBER  agents stay idle where no task is worth more
  --plan-out FILE.npy    write the soft plan [N,M] there (asks for PLAN)
${connectionHelp}

Examples
  tensor-consensus call request.json
  tensor-consensus call --utility utility.npy --forms hard --output json
  echo '{"utility": [[3, 1], [2, 2]]}' | tensor-consensus call - --output table
`;

const operators: readonly Operator[] = ['PROJECTION', 'ASSIGNMENT', 'CONSENSUS'];
const forms: readonly AssignmentForm[] = ['HARD', 'TOP_K', 'PLAN'];

/** @throws UsageError, CoordinatorCallError */
export async function runCall(argv: readonly string[]): Promise<number> {
  const { values, positionals } = UsageError.from('call', () =>
    parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        ...connectionFlags,
        agents: { type: 'string' },
        tasks: { type: 'string' },
        utility: { type: 'string' },
        responses: { type: 'string' },
        policy: { type: 'string' },
        operators: { type: 'string' },
        forms: { type: 'string' },
        'top-k': { type: 'string' },
        'idle-utility': { type: 'string' },
        'plan-out': { type: 'string' },
      },
    }),
  );
  if (values.help) {
    process.stdout.write(callHelp);
    return exitCodes.ok;
  }
  if (positionals.length > 1) throw new UsageError(`expected one request file, received ${positionals.join(' ')}`);
  const output = outputForm(values.output);
  const planOut = values['plan-out'];
  const request = merged(positionals[0], {
    agents: npyFile(values.agents),
    tasks: npyFile(values.tasks),
    utility: npyFile(values.utility),
    responses: npyFile(values.responses),
    policy: values.policy,
    operators: listFlag('--operators', values.operators, operators),
    assignment: {
      forms: listFlag('--forms', values.forms, forms),
      topK: values['top-k'] === undefined ? undefined : wholeNumber('--top-k', values['top-k'], 1, 5120),
      idleUtility: numberFlag('--idle-utility', values['idle-utility']),
    },
    needsPlan: planOut !== undefined,
  });
  return withClient(values, async (client) => {
    const answer = await client.coordinate(request);
    if (planOut !== undefined) writePlan(planOut, answer.assignment?.plan ?? null);
    process.stdout.write(`${output === 'json' ? answerJson(answer) : answerTable(request, answer)}\n`);
    return exitCodes.ok;
  });
}

interface FlagValues {
  readonly agents: TensorInput | undefined;
  readonly tasks: TensorInput | undefined;
  readonly utility: TensorInput | undefined;
  readonly responses: TensorInput | undefined;
  readonly policy: string | undefined;
  readonly operators: readonly Operator[] | undefined;
  readonly assignment: { readonly [K in 'forms' | 'topK' | 'idleUtility']: AssignmentRequest[K] | undefined };
  readonly needsPlan: boolean;
}

/** The file's request with what the flags give put over it. */
function merged(path: string | undefined, flags: FlagValues): CoordinateRequest {
  const file = path === undefined ? {} : jsonFile(path);
  const { assignment: assignmentFlags, needsPlan, ...fields } = flags;
  const given = { ...file, ...withoutUndefined(fields) };
  if (given.agents === undefined && given.utility === undefined && given.responses === undefined) {
    throw new UsageError(
      'nothing to coordinate: give a request file, --agents, --utility or --responses (see call --help)',
    );
  }
  const assignment = { ...file.assignment, ...withoutUndefined(assignmentFlags) };
  const wanted: readonly AssignmentForm[] = assignment.forms ?? [];
  if (needsPlan && !wanted.includes('PLAN'))
    assignment.forms = [...(wanted.length === 0 ? ['HARD' as const] : wanted), 'PLAN'];
  return Object.keys(assignment).length === 0 ? given : { ...given, assignment };
}

function withoutUndefined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

function jsonFile(path: string): CoordinateRequest {
  const text = readable(path === '-' ? 'standard input' : path, () => readFileSync(path === '-' ? 0 : path, 'utf8'));
  try {
    return parseRequest(text);
  } catch (error) {
    if (error instanceof UsageError)
      throw new UsageError(`${path === '-' ? 'standard input' : path}: ${error.message}`);
    throw error;
  }
}

function npyFile(path: string | undefined): TensorInput | undefined {
  return path === undefined ? undefined : readable(path, () => parseNpy(readFileSync(path)));
}

function readable<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    // fs names the file already: "ENOENT: no such file or directory, open 'x'".
    throw new UsageError(
      `${name}: ${error instanceof Error ? error.message.replace(/, open '.*'$/, '') : String(error)}`,
    );
  }
}

function writePlan(
  path: string,
  plan: { readonly data: Float32Array; readonly shape: readonly number[] } | null,
): void {
  if (plan === null) throw new UsageError('--plan-out: the answer has no plan');
  try {
    writeFileSync(path, encodeNpy(plan));
  } catch (error) {
    throw new UsageError(`--plan-out: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function listFlag<T extends string>(name: string, text: string | undefined, allowed: readonly T[]): T[] | undefined {
  return text?.split(',').map((part) => {
    const found = allowed.find((value) => value === part.trim().toUpperCase().replace('-', '_'));
    if (found === undefined) throw new UsageError(`${name}: expected ${allowed.join(', ')}, received '${part.trim()}'`);
    return found;
  });
}

function numberFlag(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) throw new UsageError(`${name}: expected a number, received '${text}'`);
  return value;
}
