/** The google.rpc details of a failed call, read with the numbers of the published error_details.proto, written down apart from the server's. */
import type { ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

const standard = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message RequestInfo { string request_id = 1; }
  message RetryInfo { Duration retry_delay = 1; }
  message FieldViolation { string field = 1; string description = 2; }
  message BadRequest { repeated FieldViolation field_violations = 1; }
`).root;

export interface ReadDetails {
  readonly code: number;
  readonly message: string;
  readonly reason: string | null;
  readonly domain: string | null;
  /** Of ErrorInfo. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly requestId: string | null;
  readonly violations: readonly { readonly field: string; readonly description: string }[] | null;
  readonly retryAfterMs: number | null;
  /** In the order in which they were sent. */
  readonly typeUrls: readonly string[];
}

export function errorDetailsOf(error: Pick<ServiceError, 'metadata'>): ReadDetails {
  const plain = (type: string, bytes: Uint8Array): unknown => {
    const found = standard.lookupType(`google.rpc.${type}`);
    return found.toObject(found.decode(bytes), { longs: Number, defaults: true });
  };
  const bytes = error.metadata.get('grpc-status-details-bin')[0];
  if (!Buffer.isBuffer(bytes)) throw new Error('the failure has no grpc-status-details-bin');
  const { code, message, details } = plain('Status', bytes) as {
    code: number;
    message: string;
    details: { typeUrl: string; value: Uint8Array }[];
  };
  const detail = (type: string): unknown => {
    const found = details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/google.rpc.${type}`);
    return found === undefined ? null : plain(type, found.value);
  };
  const info = detail('ErrorInfo') as (Pick<ReadDetails, 'metadata'> & { reason: string; domain: string }) | null;
  const request = detail('RequestInfo') as { requestId: string } | null;
  const badRequest = detail('BadRequest') as { fieldViolations: { field: string; description: string }[] } | null;
  const retry = detail('RetryInfo') as { retryDelay: { seconds: number; nanos: number } } | null;
  return {
    code,
    message,
    reason: info?.reason ?? null,
    domain: info?.domain ?? null,
    metadata: info?.metadata ?? {},
    requestId: request?.requestId ?? null,
    violations: badRequest?.fieldViolations ?? null,
    retryAfterMs: retry === null ? null : retry.retryDelay.seconds * 1000 + retry.retryDelay.nanos / 1e6,
    typeUrls: details.map(({ typeUrl }) => typeUrl),
  };
}
