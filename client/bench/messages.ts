/** Request bytes for load tests, and calls that leave both messages as bytes, so that the caller's own coding is not measured. */
import { join } from 'node:path';
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  credentials as channelCredentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { packageRoot } from '../../src/package-root.js';
import type { AssignmentForm } from '../../src/problem.js';
import { protoDirectory, protoFile as protoName, protoPackage } from '../../src/wire/messages.js';
import { normalArray, uniformArray } from './random-states.js';

export const protoFile: string = join(packageRoot, protoDirectory, protoName);
export const coordinatePath = `/${protoPackage}.Coordinator/Coordinate`;
export const streamPath = `/${protoPackage}.Coordinator/CoordinateStream`;
const healthPath = '/grpc.health.v1.Health/Check';
const mebibyte = 1024 * 1024;

export interface RequestShape {
  readonly policy: string;
  readonly agents: number;
  readonly tasks: number;
  /** Columns of agents and tasks alike. */
  readonly width: number;
  readonly forms: readonly AssignmentForm[];
  readonly solver?: 'AUTO' | 'EXACT' | 'GREEDY';
  /** `normal` states have mean 0 and variance 1; `uniform` ones lie in the unit cube. */
  readonly states?: 'normal' | 'uniform';
  readonly seed: number;
}

let cachedRoot: protobuf.Root | undefined;

function messageType(name: string): protobuf.Type {
  cachedRoot ??= protobuf.loadSync(protoFile);
  return cachedRoot.lookupType(`${protoPackage}.${name}`);
}

/** Serializes any CoordinateRequest given in the proto's JSON form (camelCase, enums by name). */
export function encodeRequest(request: Record<string, unknown>): Buffer {
  const type = messageType('CoordinateRequest');
  return Buffer.from(type.encode(type.fromObject(request)).finish());
}

/** A FLOAT32 tensor [rows, columns] in the proto's JSON form. */
export function float32Tensor(rows: number, columns: number, values: Float32Array): Record<string, unknown> {
  return { shape: [rows, columns], data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

/** A request of the given shape with seeded random states; equal shapes give equal bytes. */
export function sampleRequest(shape: RequestShape): Buffer {
  const draw = shape.states === 'uniform' ? uniformArray : normalArray;
  return encodeRequest({
    policy: shape.policy,
    agents: float32Tensor(shape.agents, shape.width, draw(shape.agents * shape.width, 2 * shape.seed)),
    tasks: float32Tensor(shape.tasks, shape.width, draw(shape.tasks * shape.width, 2 * shape.seed + 1)),
    assignment: { forms: shape.forms, solver: shape.solver ?? 'AUTO' },
    seed: shape.seed,
  });
}

/** A client on one connection of its own, for messages up to `maxMessageMb`; in plain text where no credentials are given. */
export function rawClient(
  address: string,
  maxMessageMb = 64,
  credentials: ChannelCredentials = channelCredentials.createInsecure(),
): Client {
  return new Client(address, credentials, {
    'grpc.max_receive_message_length': maxMessageMb * mebibyte,
    'grpc.max_send_message_length': maxMessageMb * mebibyte,
    // Clients of one process share connections to an address unless each has a pool of its own.
    'grpc.use_local_subchannel_pool': 1,
  });
}

const unchanged = (bytes: Buffer): Buffer => bytes;

export interface RawCall {
  readonly answer: Promise<Buffer>;
  cancel(): void;
}

/** One unary call with bytes on both sides. The answer rejects with grpc-js's ServiceError. */
export function rawCall(
  client: Client,
  path: string,
  request: Buffer,
  deadlineMs = 60_000,
  metadata = new Metadata(),
): RawCall {
  let cancel = (): void => undefined;
  const answer = new Promise<Buffer>((resolve, reject) => {
    const call = client.makeUnaryRequest(
      path,
      unchanged,
      unchanged,
      request,
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error: ServiceError | null, value?: Buffer) => {
        if (error !== null) reject(error);
        else resolve(value ?? Buffer.alloc(0));
      },
    );
    cancel = () => call.cancel();
  });
  return { answer, cancel };
}

/** A CoordinateStream with bytes both ways. Failures end up in `onError`; the client's connection is shared. */
export function rawStream(
  client: Client,
  onAnswer: (answer: Buffer) => void,
  onError: (error: Error) => void,
): ClientDuplexStream<Buffer, Buffer> {
  const stream = client.makeBidiStreamRequest<Buffer, Buffer>(streamPath, unchanged, unchanged);
  stream.on('data', onAnswer);
  stream.on('error', onError);
  return stream;
}

/** A decoded CoordinateResponse; fields that were not sent have their defaults. */
export function decodeResponse(answer: Buffer): Record<string, unknown> {
  return messageType('CoordinateResponse').decode(answer) as unknown as Record<string, unknown>;
}

const streamErrorField = 7;

/** Whether a serialized CoordinateResponse carries `error`: looks at its top-level fields only, in a microsecond. */
export function isStreamError(answer: Buffer): boolean {
  const reader = protobuf.Reader.create(answer);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag >>> 3 === streamErrorField) return true;
    reader.skipType(tag & 7);
  }
  return false;
}

/** Whether the standard health service says SERVING. */
export async function isServing(client: Client): Promise<boolean> {
  const answer = await rawCall(client, healthPath, Buffer.alloc(0), 2000).answer;
  // HealthCheckResponse{status: SERVING}: field 1, varint 1.
  return answer.length === 2 && answer[0] === 0x08 && answer[1] === 0x01;
}
