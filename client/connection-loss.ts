/** Failures that say nothing but that the connection under a call is gone. */
import { type ServiceError, status as grpcStatus } from '@grpc/grpc-js';

/**
 * grpc-js 1.14.7 tells most of them as UNAVAILABLE, which is retried. The rest comes to light as INTERNAL, where Node reports the loss on
 * the stream before the connection (EPIPE, a reset without a status) or the connection ended between the choice and the use of
 * it, or as CANCELLED, where the server's end closed the connection with that code. Our requests may be sent twice, so
 * these are retried too. `byCaller`: the call was cancelled here.
 */
export function isConnectionLoss({ code, details }: ServiceError, byCaller: boolean): boolean {
  if (code === grpcStatus.UNAVAILABLE) return true;
  if (code === grpcStatus.CANCELLED) return !byCaller && details === 'Call cancelled';
  return code === grpcStatus.INTERNAL && /^(?:Received RST_STREAM|Failed to start HTTP\/2 stream)/.test(details);
}
