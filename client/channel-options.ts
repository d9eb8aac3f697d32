/** How a channel of the client is set up. */
import type { ChannelOptions } from '@grpc/grpc-js';

/** What the server may send ahead of being read; with Node's 64 KiB a large answer takes several round trips. */
const flowControlWindowBytes = 1 << 20;
/** While calls are open. A stream has no deadline of its own to end it where the server is gone without a word. */
const keepaliveTimeMs = 30_000;
const keepaliveTimeoutMs = 10_000;

/** Limits, flow control and keepalive, whatever is balanced over. */
export function channelOptions(maxMessageBytes: number): ChannelOptions {
  return {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    // A request is kept for a retry only while it fits these buffers.
    'grpc.per_rpc_retry_buffer_size': maxMessageBytes,
    'grpc.retry_buffer_size': 4 * maxMessageBytes,
    'grpc-node.flow_control_window': flowControlWindowBytes,
    'grpc.keepalive_time_ms': keepaliveTimeMs,
    'grpc.keepalive_timeout_ms': keepaliveTimeoutMs,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 5000,
  };
}
