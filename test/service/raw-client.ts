/** A gRPC client with nothing of ours in it but the proto file: what a stranger's generated client does. */
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.js';

export type RawMessage = Record<string, unknown>;

export type RawOptions = grpc.CallOptions & { readonly metadata?: grpc.Metadata };

export interface RawClient {
  coordinate(request: RawMessage, options?: RawOptions): Promise<RawMessage>;
  listPolicies(): Promise<RawMessage>;
  close(): void;
}

type Method = (
  request: RawMessage,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  done: (error: grpc.ServiceError | null, answer: RawMessage) => void,
) => void;

export function rawClient(address: string, channelOptions: grpc.ChannelOptions = {}): RawClient {
  const definition = loadSync(join(packageRoot, 'proto/tensorconsensus/v1/coordinator.proto'), {
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  });
  const loaded = grpc.loadPackageDefinition(definition) as unknown as {
    tensorconsensus: { v1: { Coordinator: grpc.ServiceClientConstructor } };
  };
  const client = new loaded.tensorconsensus.v1.Coordinator(address, grpc.credentials.createInsecure(), {
    'grpc.max_receive_message_length': 1 << 28,
    'grpc.max_send_message_length': 1 << 28,
    ...channelOptions,
  });
  const call = (name: string, request: RawMessage, { metadata = new grpc.Metadata(), ...options }: RawOptions = {}) =>
    new Promise<RawMessage>((resolve, reject) => {
      const method = client[name] as Method;
      method.call(client, request, metadata, { deadline: Date.now() + 100_000, ...options }, (error, answer) =>
        error ? reject(error) : resolve(answer),
      );
    });
  return {
    coordinate: (request, options) => call('coordinate', request, options),
    listPolicies: () => call('listPolicies', {}),
    close: () => client.close(),
  };
}

/** A float32 tensor in `data`, row-major; one dimension per nesting level. */
export function floatTensor(rows: readonly (readonly number[])[] | readonly number[]): RawMessage {
  return tensorOf(rows, 'FLOAT32', (flat) => Buffer.from(Float32Array.from(flat).buffer));
}

export function maskTensor(mask: readonly number[]): RawMessage {
  return tensorOf(mask, 'UINT8', (flat) => Buffer.from(flat));
}

function tensorOf(
  rows: readonly (readonly number[])[] | readonly number[],
  dtype: string,
  encode: (flat: number[]) => Buffer,
): RawMessage {
  const nested = Array.isArray(rows[0]) ? (rows as readonly (readonly number[])[]) : null;
  const flat = nested === null ? [...(rows as readonly number[])] : nested.flat();
  const shape = nested === null ? [flat.length] : [nested.length, nested[0]!.length];
  return { dtype, shape, data: encode(flat) };
}

/** The floats of an answer's tensor, or null where it has none. */
export function floatsOf(tensor: unknown): { shape: number[]; values: number[] } | null {
  if (tensor === null || tensor === undefined) return null;
  const { shape, data } = tensor as { shape: number[]; data: Buffer };
  const copy = Uint8Array.from(data);
  return { shape, values: [...new Float32Array(copy.buffer)] };
}
