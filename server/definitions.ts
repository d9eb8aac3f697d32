/** The methods that the server serves, as coordinator.proto defines them, and the coding of their messages. */
import type { ServiceDefinition } from '@grpc/grpc-js';
import { protoRoot, readRequest, writeResponse } from '../src/wire/codec.js';
import {
  type CoordinateRequestMessage,
  type CoordinateResponseMessage,
  type ListPoliciesResponseMessage,
  protoPackage,
  type Sent,
} from '../src/wire/messages.js';

export const coordinatorServiceName: string = `${protoPackage}.Coordinator`;

const service = protoRoot.lookupService(coordinatorServiceName);
const pathOf = (name: string): string => `/${coordinatorServiceName}/${name}`;

/** What takes requests and gives answers. */
interface Method<Request, Response> {
  readonly path: string;
  /** Throws where the bytes are no such message. */
  requestDeserialize(bytes: Buffer): Request;
  responseSerialize(message: Response): Buffer;
}

/** Of Coordinate; CoordinateStream has the same messages. */
export const coordinateMethod: Method<CoordinateRequestMessage, Sent<CoordinateResponseMessage>> = {
  path: pathOf('Coordinate'),
  requestDeserialize: readRequest,
  responseSerialize: writeResponse,
};

const { resolvedRequestType: policiesRequest, resolvedResponseType: policiesResponse } =
  service.methods['ListPolicies']!;

export const listPoliciesMethod: Method<object, ListPoliciesResponseMessage> = {
  path: pathOf('ListPolicies'),
  requestDeserialize: (bytes) => policiesRequest!.decode(bytes),
  responseSerialize: (message) => policiesResponse!.encode(policiesResponse!.fromObject(message)).finish() as Buffer,
};

const asItIs = (bytes: unknown): Buffer => bytes as Buffer;

/** The service as it is registered: requests arrive and answers leave as bytes, so that a handler sees every failure and times its own coding. */
export const rawCoordinatorService: ServiceDefinition = Object.fromEntries(
  service.methodsArray.map(({ name, requestStream = false, responseStream = false }) => [
    name,
    {
      path: pathOf(name),
      requestStream,
      responseStream,
      requestSerialize: asItIs,
      requestDeserialize: asItIs,
      responseSerialize: asItIs,
      responseDeserialize: asItIs,
    },
  ]),
);
