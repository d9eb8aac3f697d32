/**
 * Messages as they come off the wire: built from partial input by proto-loader's encoder and read as the server reads them. What proto-loader
 * makes of the same bytes, and of the same answers, is what both are compared with.
 */
import { join } from 'node:path';
import { loadSync, type MethodDefinition } from '@grpc/proto-loader';
import { packageRoot } from '../src/package-root.js';
import { readRequest, writeResponse } from '../src/wire/codec.js';
import {
  type CoordinateRequestInput,
  type CoordinateRequestMessage,
  type CoordinateResponseMessage,
  protoDirectory,
  protoFile,
  protoLoaderOptions,
  protoPackage,
  type Sent,
} from '../src/wire/messages.js';

const definition = loadSync(join(packageRoot, protoDirectory, protoFile), protoLoaderOptions);
const service = definition[`${protoPackage}.Coordinator`] as unknown as {
  readonly Coordinate: MethodDefinition<object, object>;
};

export const coordinateMethod = service.Coordinate;

export function requestMessage(input: CoordinateRequestInput): CoordinateRequestMessage {
  return requestFromBytes(coordinateMethod.requestSerialize(input));
}

/** Throws where the bytes are no message at all. */
export function requestFromBytes(bytes: Buffer): CoordinateRequestMessage {
  return readRequest(bytes);
}

export function responseBytes(message: Sent<CoordinateResponseMessage>): Buffer {
  return writeResponse(message);
}

/** What proto-loader reads, without the names of the fields that are set, which it adds for `optional` ones. It takes text that is cut short for whole. */
export function loadedRequest(bytes: Buffer): CoordinateRequestMessage {
  const message = coordinateMethod.requestDeserialize(bytes) as CoordinateRequestMessage;
  return { ...message, assignment: declared(message.assignment), consensus: declared(message.consensus) };
}

function declared<T extends object | null>(message: T): T {
  if (message === null) return message;
  return Object.fromEntries(Object.entries(message).filter(([name]) => !name.startsWith('_'))) as T;
}

/** What proto-loader writes. */
export function loaderResponseBytes(message: Sent<CoordinateResponseMessage>): Buffer {
  return coordinateMethod.responseSerialize(message);
}

export function responseFromBytes(bytes: Buffer): CoordinateResponseMessage {
  return coordinateMethod.responseDeserialize(bytes) as CoordinateResponseMessage;
}
