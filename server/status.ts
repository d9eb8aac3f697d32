/** The one place where a failure becomes a gRPC status with details and trailers. */
import { Metadata, status as grpcStatus } from '@grpc/grpc-js';
import type { CoordinatorError, ErrorCode, FieldViolation } from '../src/errors.js';
import type { StreamErrorMessage } from '../src/wire/messages.js';
import { type CallIds, noIds } from './call-ids.js';
import { encodeErrorDetails } from './error-details.js';

export const errorDomain = 'tensor-consensus';

/** What grpc-js sends for a failed call. */
export interface StatusReply {
  readonly code: grpcStatus;
  readonly details: string;
  readonly metadata: Metadata;
}

/**
 * Limits on what goes into headers: clients refuse large ones (gRPC core at 8 to 16 KiB), and percent-encoding makes
 * nine characters of one that is not ASCII. Messages and violations may quote what the caller sent.
 */
const maxMessageLength = 300;
const maxViolations = 6;
const maxFieldLength = 100;
const maxDescriptionLength = 200;

/** Time to retry where the error brings none of its own: what the cause usually takes to go away. */
const retryAfterMsByCode: Partial<Record<ErrorCode, number>> = {
  QUEUE_FULL: 50,
  PREDICTED_LATE: 50,
  WARMING: 1000,
  DRAINING: 100,
  ENGINE_FAILED: 500,
  STREAM_LIMIT: 1000,
};

/**
 * The reply for a failure: message, `grpc-status-details-bin` (google.rpc.Status), and where the server has too much to do the trailer
 * `grpc-retry-pushback-ms`, which gRPC clients with a retry policy obey. Retry times are spread by up to a quarter, so
 * that refused callers do not come back together; those of quotas are exact. `random` gives numbers in [0, 1).
 */
export function toStatusReply(
  error: CoordinatorError,
  ids: CallIds = noIds,
  random: () => number = Math.random,
): StatusReply {
  const code = grpcStatus[error.status];
  const message = headerText(error.message, maxMessageLength);
  const retryAfterMs = spreadRetryMs(error, random);
  const metadata = new Metadata();
  metadata.set(
    'grpc-status-details-bin',
    encodeErrorDetails({
      status: code,
      message,
      reason: error.code,
      domain: errorDomain,
      violations: error.violations.slice(0, maxViolations).map(shortViolation),
      retryAfterMs,
      ids,
    }),
  );
  if (error.code === 'QUEUE_FULL' || error.code === 'PREDICTED_LATE' || error.code === 'QUOTA_EXCEEDED')
    metadata.set('grpc-retry-pushback-ms', String(retryAfterMs));
  return { code, details: message, metadata };
}

/** A failed request of a stream as it is told within the stream. The message names the field at fault; 0 ms: a retry does not help. */
export function toStreamError(
  error: CoordinatorError,
  { traceId }: CallIds = noIds,
  random: () => number = Math.random,
): StreamErrorMessage {
  return {
    code: grpcStatus[error.status],
    reason: error.code,
    message: headerText(error.message, maxMessageLength),
    retryAfterMs: spreadRetryMs(error, random) ?? 0,
    traceId,
  };
}

/** Null where a retry does not help. */
function spreadRetryMs(error: CoordinatorError, random: () => number): number | null {
  if (!error.retryable) return null;
  const baseMs = error.retryAfterMs ?? retryAfterMsByCode[error.code] ?? 0;
  const spread = error.code === 'QUOTA_EXCEEDED' ? 0 : random() / 4;
  return Math.max(1, Math.round(baseMs * (1 + spread)));
}

function shortViolation({ field, description }: FieldViolation): FieldViolation {
  return {
    field: headerText(field, maxFieldLength),
    description: headerText(description, maxDescriptionLength),
  };
}

/**
 * Text that can travel in a header: lone surrogates are replaced, as grpc-js percent-encodes with `encodeURI`, which
 * throws on them and would leave the call without an answer; what is too long is cut.
 */
function headerText(text: string, maxLength: number): string {
  const cut = text.length <= maxLength ? text : `${text.slice(0, maxLength - 1)}…`;
  return cut.replace(/[\uD800-\uDFFF]/gu, '\uFFFD');
}
