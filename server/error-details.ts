/** The google.rpc messages of failed calls, encoded as `grpc-status-details-bin` wants them. */
import { join } from 'node:path';
import protobuf from 'protobufjs';
import type { FieldViolation } from '../src/errors.js';
import { packageRoot } from '../src/package-root.js';
import type { CallIds } from './call-ids.js';

export const googleRpcProtoPath: string = join(packageRoot, 'proto', 'google-rpc-subset.proto');

const root = protobuf.loadSync(googleRpcProtoPath);
const statusType = root.lookupType('google.rpc.Status');
const errorInfoType = root.lookupType('google.rpc.ErrorInfo');
const badRequestType = root.lookupType('google.rpc.BadRequest');
const requestInfoType = root.lookupType('google.rpc.RequestInfo');
const retryInfoType = root.lookupType('google.rpc.RetryInfo');

export interface ErrorDetails {
  /** gRPC status code. */
  readonly status: number;
  readonly message: string;
  readonly reason: string;
  readonly domain: string;
  readonly violations: readonly FieldViolation[];
  /** Null: no RetryInfo. */
  readonly retryAfterMs: number | null;
  readonly ids: CallIds;
}

/**
 * A serialized google.rpc.Status with ErrorInfo, and with BadRequest, RetryInfo and RequestInfo where there is something to say. The
 * trace is in ErrorInfo's metadata.
 */
export function encodeErrorDetails(details: ErrorDetails): Buffer {
  const { status, message, reason, domain, violations, retryAfterMs } = details;
  const { requestId, traceId } = details.ids;
  const metadata = traceId === '' ? {} : { trace_id: traceId };
  const packed = [pack(errorInfoType, { reason, domain, metadata })];
  if (violations.length > 0) packed.push(pack(badRequestType, { fieldViolations: violations }));
  if (retryAfterMs !== null) {
    const seconds = Math.floor(retryAfterMs / 1000);
    const nanos = Math.round((retryAfterMs - seconds * 1000) * 1e6);
    packed.push(pack(retryInfoType, { retryDelay: { seconds, nanos } }));
  }
  if (requestId !== '') packed.push(pack(requestInfoType, { requestId }));
  return Buffer.from(statusType.encode({ code: status, message, details: packed }).finish());
}

function pack(type: protobuf.Type, message: object): { type_url: string; value: Uint8Array } {
  return { type_url: `type.googleapis.com/${type.fullName.slice(1)}`, value: type.encode(message).finish() };
}
