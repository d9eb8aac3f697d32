/** The one error that calls of the client fail with, read from the gRPC status and its google.rpc details. */
import { join } from 'node:path';
import { type Metadata, type ServiceError, status as grpcStatus } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import type { FieldViolation } from '../src/errors.js';
import { packageRoot } from '../src/package-root.js';
import type { StreamErrorMessage } from '../src/wire/messages.js';

export type { FieldViolation };

/** Name of a gRPC status code other than OK. */
export type GrpcCode = Exclude<keyof typeof grpcStatus, 'OK'>;

export interface CallErrorOptions {
  readonly reason?: string;
  readonly fieldViolations?: readonly FieldViolation[];
  readonly retryAfterMs?: number | null;
  readonly requestId?: string;
  readonly traceId?: string;
  readonly cause?: unknown;
}

/**
 * A call that failed. `code` is the gRPC status; `reason` is the service's stable code for the failure (`QUEUE_FULL`,
 * `TENSOR_SHAPE`, ...), which is what programs should branch on, or '' where the failure came from elsewhere.
 */
export class CoordinatorCallError extends Error {
  readonly code: GrpcCode;
  readonly reason: string;
  /** Which fields of the request are at fault, in proto names. */
  readonly fieldViolations: readonly FieldViolation[];
  /** When the same call may succeed, in milliseconds from now; null where the service did not say. */
  readonly retryAfterMs: number | null;
  readonly requestId: string;
  /** Where the service's traces have the call; '' where it named none. */
  readonly traceId: string;

  constructor(code: GrpcCode, message: string, options: CallErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CoordinatorCallError';
    this.code = code;
    this.reason = options.reason ?? '';
    this.fieldViolations = options.fieldViolations ?? [];
    this.retryAfterMs = options.retryAfterMs ?? null;
    this.requestId = options.requestId ?? '';
    this.traceId = options.traceId ?? '';
  }
}

/** What grpc-js reported, with the details that the service packed into it. */
export function fromServiceError(error: ServiceError, requestId: string): CoordinatorCallError {
  const details = readDetails(error.metadata);
  // grpc-js ends connection failures with an empty "Resolution note".
  const message = error.details.replace(/\s*Resolution note:\s*$/, '');
  return new CoordinatorCallError(codeName(error.code), message, {
    reason: details.reason,
    fieldViolations: details.fieldViolations,
    retryAfterMs: details.retryAfterMs,
    requestId,
    traceId: details.traceId,
    cause: error,
  });
}

/** A request that a stream answered with an error of its own. */
export function fromStreamError(error: StreamErrorMessage, requestId: string): CoordinatorCallError {
  return new CoordinatorCallError(codeName(error.code), error.message, {
    reason: error.reason,
    retryAfterMs: error.retryAfterMs === 0 ? null : error.retryAfterMs,
    requestId,
    traceId: error.traceId,
  });
}

function codeName(code: number): GrpcCode {
  const name = (grpcStatus as Record<number, string | undefined>)[code];
  return name === undefined || name === 'OK' ? 'UNKNOWN' : (name as GrpcCode);
}

interface Details {
  readonly reason: string;
  readonly fieldViolations: readonly FieldViolation[];
  readonly retryAfterMs: number | null;
  readonly traceId: string;
}

const noDetails: Details = { reason: '', fieldViolations: [], retryAfterMs: null, traceId: '' };

let loaded: protobuf.Root | null = null;

/** Details that cannot be read must not hide the failure that they belong to: they are then left out. */
function readDetails(metadata: Metadata | undefined): Details {
  const bytes = metadata?.get('grpc-status-details-bin')[0];
  if (!(bytes instanceof Uint8Array)) return noDetails;
  try {
    return parseDetails(bytes);
  } catch {
    return noDetails;
  }
}

interface PackedStatus {
  readonly details?: readonly { readonly type_url: string; readonly value: Uint8Array }[];
}

function parseDetails(bytes: Uint8Array): Details {
  loaded ??= protobuf.loadSync(join(packageRoot, 'proto', 'google-rpc-subset.proto'));
  const status = loaded.lookupType('google.rpc.Status').decode(bytes) as unknown as PackedStatus;
  let details = noDetails;
  for (const { type_url: url, value } of status.details ?? []) {
    const name = url.slice(url.lastIndexOf('/') + 1);
    const type = loaded.lookup(name);
    if (!(type instanceof protobuf.Type)) continue;
    const fields = type.toObject(type.decode(value), { defaults: true, longs: Number }) as Record<string, unknown>;
    if (name === 'google.rpc.ErrorInfo') {
      const { trace_id: traceId = '' } = fields.metadata as Record<string, string>;
      details = { ...details, reason: String(fields.reason), traceId };
    }
    if (name === 'google.rpc.BadRequest') {
      details = { ...details, fieldViolations: fields.fieldViolations as FieldViolation[] };
    }
    if (name === 'google.rpc.RetryInfo') {
      const delay = fields.retryDelay as { seconds: number; nanos: number } | null;
      if (delay !== null) details = { ...details, retryAfterMs: delay.seconds * 1000 + delay.nanos / 1e6 };
    }
  }
  return details;
}
