/** The one place where a failure becomes a gRPC status with details and trailers. */
import { Metadata, status as grpcStatus } from '@grpc/grpc-js';
import type { CoordinatorError, ErrorCode, FieldViolation } from '../src/errors.js';
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
  WARMING: 1000,
  DRAINING: 100,
  ENGINE_FAILED: 500,
};

/**
 * The reply for a failure: message, `grpc-status-details-bin` (google.rpc.Status), and for a full queue the trailer
 * `grpc-retry-pushback-ms`, which gRPC clients with a retry policy obey. Retry times are spread by up to a quarter, so
 * that refused callers do not come back together. `random` gives numbers in [0, 1).
 */
export function toStatusReply(error: CoordinatorError, random: () => number = Math.random): StatusReply {
  const code = grpcStatus[error.status];
  const message = headerText(error.message, maxMessageLength);
  const baseMs = error.retryAfterMs ?? retryAfterMsByCode[error.code] ?? 0;
  const retryAfterMs = error.retryable ? Math.max(1, Math.round(baseMs * (1 + random() / 4))) : null;
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
    }),
  );
  if (error.code === 'QUEUE_FULL') metadata.set('grpc-retry-pushback-ms', String(retryAfterMs));
  return { code, details: message, metadata };
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
