/** Messages as they come off the wire: built from partial input by the loader's own encoder and decoder. */
import { join } from 'node:path';
import { loadSync, type MethodDefinition } from '@grpc/proto-loader';
import { packageRoot } from '../src/package-root.js';
import {
  type CoordinateRequestInput,
  type CoordinateRequestMessage,
  type CoordinateResponseMessage,
  protoDirectory,
  protoFile,
  protoLoaderOptions,
  protoPackage,
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
  return coordinateMethod.requestDeserialize(bytes) as CoordinateRequestMessage;
}

export function responseBytes(message: CoordinateResponseMessage): Buffer {
  return coordinateMethod.responseSerialize(message);
}

export function responseFromBytes(bytes: Buffer): CoordinateResponseMessage {
  return coordinateMethod.responseDeserialize(bytes) as CoordinateResponseMessage;
}
