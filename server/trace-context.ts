/** Whose work a call is part of, as its metadata says: the W3C headers `traceparent` and `tracestate`. */
import type { Metadata } from '@grpc/grpc-js';

export interface TraceContext {
  /** 32 lower-case hexadecimal digits, not all 0. */
  readonly traceId: string;
  /** Of the caller's span: 16 lower-case hexadecimal digits, not all 0. */
  readonly spanId: string;
  /** Whether the caller records its part. */
  readonly sampled: boolean;
  /** As it came, '' where there is none: for other parties to read. */
  readonly state: string;
}

/** Versions after 00 may append fields; what they are is not known here. */
const traceparent = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;
const versionZeroLength = 55;
const sampledFlag = 1;
/** Longer ones are for those who made them. */
const maxStateLength = 512;
const maxParentLength = 256;

/** Null where the call names no parent, several, or one that cannot be read: it then is as if it had none. */
export function traceContextOf(metadata: Metadata): TraceContext | null {
  const [parent, ...more] = metadata.get('traceparent');
  if (typeof parent !== 'string' || more.length > 0) return null;
  return parseTraceparent(parent, metadata.get('tracestate').join(','));
}

export function parseTraceparent(text: string, state = ''): TraceContext | null {
  if (text.length > maxParentLength) return null;
  const match = traceparent.exec(text);
  if (match === null) return null;
  const [, version, traceId, spanId, flags] = match as unknown as readonly [string, string, string, string, string];
  if (version === 'ff' || (version === '00' && text.length !== versionZeroLength)) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null;
  const sampled = (parseInt(flags, 16) & sampledFlag) === sampledFlag;
  return { traceId, spanId, sampled, state: state.length > maxStateLength ? '' : state };
}
