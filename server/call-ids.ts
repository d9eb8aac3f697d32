/** What finds a call again: in its answer, in the log, and among the traces. */
import type { Metadata } from '@grpc/grpc-js';
import type { CallRecord } from './call-record.js';
import { traceContextOf } from './trace-context.js';

export interface CallIds {
  /** As the caller gave it, '' where it gave none; a very long one is cut. */
  readonly requestId: string;
  /** Where the call's span is, else its caller's; '' where there is neither. */
  readonly traceId: string;
}

export const noIds: CallIds = { requestId: '', traceId: '' };

export interface IdentifiedCall {
  /** '' until it is known. */
  readonly requestId: string;
  readonly metadata: Metadata;
  /** Null: neither traced nor in the access log. */
  readonly record: CallRecord | null;
}

const maxIdLength = 128;

/** For what is written about a call: the trace of one that is not traced is only looked for here. */
export function idsOf({ requestId, metadata, record }: IdentifiedCall): CallIds {
  const traceId = record?.span?.traceId ?? traceContextOf(metadata)?.traceId ?? '';
  return { requestId: requestId.slice(0, maxIdLength), traceId };
}
