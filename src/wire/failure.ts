/** The answer to a request of a stream that failed. */
import type { CoordinateResponseMessage, Sent, StreamErrorMessage } from './messages.js';

/** Nothing but the error and the id, which is '' where the request could not be read. */
export function encodeFailure(requestId: string, error: StreamErrorMessage): Sent<CoordinateResponseMessage> {
  return {
    requestId,
    resources: null,
    assignment: null,
    consensus: null,
    rejectedAgents: [],
    execution: null,
    error,
  };
}
