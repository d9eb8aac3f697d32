/** What the commands that call a server share: its address, and how failures are told. */
import type { ClientOptions, CoordinatorCallError } from '../client.js';
import { CoordinatorClient } from '../client.js';
import { exitCodes } from '../exit-codes.js';
import { UsageError, wholeNumber } from '../usage.js';
import { accessFlags, accessHelp, accessOf, type AccessValues } from './access-flags.js';

export const connectionFlags = {
  address: { type: 'string', default: '127.0.0.1:50051' },
  'deadline-ms': { type: 'string', default: '10000' },
  'max-message-mb': { type: 'string', default: '64' },
  ...accessFlags,
  output: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

export const connectionHelp = `  --address HOST:PORT    of the server (default 127.0.0.1:50051); of several replicas with commas, or dns:///NAME:PORT
  --deadline-ms COUNT    give up after this time, retries included (default 10000)
  --max-message-mb COUNT largest request and answer (default 64; large plans need more, on the server too)
${accessHelp}
  --output json|table    (default: table on a terminal, JSON elsewhere)
  -h, --help             this text`;

export interface ConnectionValues extends AccessValues {
  readonly address: string;
  readonly 'deadline-ms': string;
  readonly 'max-message-mb': string;
}

/** Runs `use` with a client and closes it. @throws UsageError */
export async function withClient<T>(
  values: ConnectionValues,
  use: (client: CoordinatorClient) => Promise<T>,
): Promise<T> {
  const client = clientOf(values.address, {
    ...accessOf(values, process.env),
    deadlineMs: wholeNumber('--deadline-ms', values['deadline-ms'], 1, 86_400_000),
    maxMessageBytes: wholeNumber('--max-message-mb', values['max-message-mb'], 1, 2047) * 1024 * 1024,
  });
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** A client of what `--address` names. @throws UsageError where that, or an option, is of no use. */
export function clientOf(address: string, options: ClientOptions): CoordinatorClient {
  try {
    return new CoordinatorClient(address, options);
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message);
    throw error;
  }
}

/** @throws UsageError */
export function outputForm(text: string | undefined): 'json' | 'table' {
  if (text === undefined) return process.stdout.isTTY ? 'table' : 'json';
  if (text === 'json' || text === 'table') return text;
  throw new UsageError(`--output: expected json or table, received '${text}'`);
}

/** One line that says what failed, why, and which request it was. */
export function failureLine(error: CoordinatorCallError): string {
  const code = error.reason === '' ? error.code : `${error.code} ${error.reason}`;
  // The first violation is the message itself.
  const more = error.fieldViolations.slice(1).map(({ field, description }) => `; ${field}: ${description}`);
  const retry = error.retryAfterMs === null ? '' : `; try again in ${Math.ceil(error.retryAfterMs)} ms`;
  const request = error.requestId === '' ? '' : ` (request ${error.requestId})`;
  return `${code}: ${error.message}${more.join('')}${retry}${request}`.replace(/\s*\n\s*/g, ' ');
}

export function exitCodeOf(error: CoordinatorCallError): number {
  return error.code === 'UNAVAILABLE' ? exitCodes.unreachable : exitCodes.failed;
}
