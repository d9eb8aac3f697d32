/** A stream of ticks with nothing of our client in it: what a stranger's generated client does. */
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';
import type { RawMessage } from './raw-client.js';

export interface RawStream {
  readonly call: grpc.ClientDuplexStream<RawMessage, RawMessage>;
  /** In order of arrival. */
  readonly answers: RawMessage[];
  /** How the stream ended; its code is 0 where it went well. */
  readonly status: Promise<grpc.StatusObject>;
  send(request: RawMessage): void;
  /** Sends bytes as a request message, whatever they are. */
  sendBytes(bytes: Buffer): void;
  /** Resolves when so many answers have arrived, or the stream has ended. */
  received(count: number): Promise<void>;
}

export interface StreamClient {
  open(options?: grpc.CallOptions & { metadata?: grpc.Metadata }): RawStream;
  /** A call of its own on the same connection: when it is answered, the server has read what streams sent before. */
  ping(): Promise<void>;
  close(): void;
}

interface Codec {
  readonly path: string;
  readonly requestSerialize: (message: RawMessage) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => RawMessage;
}

export function streamClient(
  address: string,
  channelOptions: grpc.ChannelOptions = {},
  credentials = grpc.credentials.createInsecure(),
): StreamClient {
  const definition = loadSync(join(packageRoot, 'proto/tensorconsensus/v1/coordinator.proto'), {
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  });
  const service = definition['tensorconsensus.v1.Coordinator'] as unknown as Record<string, Codec>;
  const { path, requestSerialize, responseDeserialize } = service['CoordinateStream']!;
  const channel = new grpc.Client(address, credentials, {
    'grpc.enable_retries': 0,
    // A connection of its own.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': 1 << 28,
    ...channelOptions,
  });
  return {
    open({ metadata = new grpc.Metadata(), ...options } = {}) {
      const encode = (message: RawMessage | Buffer): Buffer =>
        Buffer.isBuffer(message) ? message : requestSerialize(message);
      const call = channel.makeBidiStreamRequest<RawMessage, RawMessage>(
        path,
        encode,
        responseDeserialize,
        metadata,
        options,
      );
      const answers: RawMessage[] = [];
      let waiting: (() => void)[] = [];
      let ended = false;
      const wake = (): void => {
        const woken = waiting;
        waiting = [];
        for (const resolve of woken) resolve();
      };
      call.on('data', (answer: RawMessage) => {
        answers.push(answer);
        wake();
      });
      call.on('error', () => undefined);
      const status = new Promise<grpc.StatusObject>((resolve) =>
        call.on('status', (object: grpc.StatusObject) => {
          ended = true;
          resolve(object);
          wake();
        }),
      );
      return {
        call,
        answers,
        status,
        send: (request) => void call.write(request),
        sendBytes: (bytes) => void call.write(bytes as unknown as RawMessage),
        async received(count) {
          while (answers.length < count && !ended) await new Promise<void>((resolve) => waiting.push(resolve));
        },
      };
    },
    ping: () =>
      new Promise((resolve, reject) => {
        const same = (bytes: Buffer): Buffer => bytes;
        channel.makeUnaryRequest(
          '/tensorconsensus.v1.Coordinator/ListPolicies',
          same,
          same,
          Buffer.alloc(0),
          (error: grpc.ServiceError | null) => (error === null ? resolve() : reject(error)),
        );
      }),
    close: () => channel.close(),
  };
}
