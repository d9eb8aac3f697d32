/**
 * When a call is due, on the server's own clock, from the moment that its headers came. What grpc-js keeps is a time of day, which a step of the
 * wall clock moves while the request is still on its way.
 */
import type { IncomingHttpHeaders } from 'node:http2';
import type { Metadata } from '@grpc/grpc-js';

/** Carries the time from the headers to the handler. Always ours: what a caller sends by this name is overwritten or dropped. */
const dueHeader = 'tc-internal-due-ms';

/** grpc-js keeps timeouts in 32-bit milliseconds: a longer one wraps round and is over at once. */
const longestTimeout = '2147483S';
const longestTimeoutMs = 2_147_483_000;
const unitMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/**
 * Shortens a `grpc-timeout` to what the method allows (`deadlines`, by path, in milliseconds), and to the longest that grpc-js can hold, about 25 days; where
 * there is none, the method's is set: so grpc-js ends the call by then, also one whose request never comes. Notes what `dueMsOf` then says.
 */
export function setDeadline(
  headers: IncomingHttpHeaders,
  deadlines: ReadonlyMap<string, number>,
  nowMs: () => number,
): void {
  if (headers[dueHeader] !== undefined) Reflect.deleteProperty(headers, dueHeader);
  const mostMs = deadlines.get(headers[':path'] as string);
  const text = headers['grpc-timeout'];
  let timeoutMs = mostMs;
  if (typeof text === 'string') {
    timeoutMs = Number(text.slice(0, -1)) * (unitMs[text.slice(-1)] ?? NaN);
    if (timeoutMs > (mostMs ?? longestTimeoutMs)) {
      timeoutMs = mostMs ?? longestTimeoutMs;
      headers['grpc-timeout'] = mostMs === undefined ? longestTimeout : `${mostMs}m`;
    }
  } else if (mostMs !== undefined) headers['grpc-timeout'] = `${mostMs}m`;
  // One that does not read ends the call in grpc-js.
  if (timeoutMs !== undefined && !Number.isNaN(timeoutMs)) headers[dueHeader] = String(nowMs() + timeoutMs);
}

/** When a call with this metadata is due, on the clock's scale; Infinity where there is no deadline. */
export function dueMsOf(metadata: Metadata): number {
  const [text] = metadata.get(dueHeader);
  return text === undefined ? Infinity : Number(text);
}
