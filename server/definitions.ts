/** The gRPC definition that the server serves. */
import { join } from 'node:path';
import { loadSync, type ServiceDefinition } from '@grpc/proto-loader';
import { packageRoot } from '../src/package-root.js';
import type {
  CoordinateRequestMessage,
  CoordinateResponseMessage,
  ListPoliciesRequestMessage,
  ListPoliciesResponseMessage,
} from '../src/wire/messages.js';
import { isWhole } from '../src/wire/peek.js';
import { protoDirectory, protoFile, protoLoaderOptions, protoPackage } from '../src/wire/messages.js';

const includeDirs = [join(packageRoot, protoDirectory)];

export const coordinatorServiceName: string = `${protoPackage}.Coordinator`;

const coordinatorPackage = loadSync(protoFile, { ...protoLoaderOptions, includeDirs });

/** With the message types that proto-loader gives and takes. */
interface Method<Request, Response> {
  readonly path: string;
  requestDeserialize(bytes: Buffer): Request;
  responseSerialize(message: Response): Buffer;
}

const coordinatorService = coordinatorPackage[coordinatorServiceName] as ServiceDefinition;

const coordinate = coordinatorService['Coordinate'] as unknown as Method<
  CoordinateRequestMessage,
  CoordinateResponseMessage
>;

export const coordinateMethod: typeof coordinate = {
  ...coordinate,
  requestDeserialize(bytes) {
    if (!isWhole(bytes)) throw new RangeError('the message ends within a field');
    return coordinate.requestDeserialize(bytes);
  },
};

export const listPoliciesMethod = coordinatorService['ListPolicies'] as unknown as Method<
  ListPoliciesRequestMessage,
  ListPoliciesResponseMessage
>;

/** The service as it is registered: requests arrive and answers leave as bytes, so that a handler sees every failure and times its own coding. */
export const rawCoordinatorService: ServiceDefinition = Object.fromEntries(
  Object.entries(coordinatorService).map(([name, method]) => [
    name,
    { ...method, requestDeserialize: (bytes: Buffer) => bytes, responseSerialize: (bytes: unknown) => bytes as Buffer },
  ]),
);
