/** The remote methods that the client calls, from their .proto files. */
import { join } from 'node:path';
import type { MethodDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { protoPath as healthProtoPath } from 'grpc-health-check';
import { packageRoot } from '../src/package-root.js';
import {
  type CoordinateRequestInput,
  type CoordinateResponseMessage,
  type ListPoliciesResponseMessage,
  protoDirectory,
  protoFile,
  protoLoaderOptions,
  protoPackage,
} from '../src/wire/messages.js';

export const coordinatorServiceName = `${protoPackage}.Coordinator`;

/** SERVICE_UNKNOWN: the server does not have the service asked about. UNIMPLEMENTED: it has no health service. */
export type Health = 'SERVING' | 'NOT_SERVING' | 'UNKNOWN' | 'SERVICE_UNKNOWN' | 'UNIMPLEMENTED';

let coordinatorPackage: PackageDefinition | null = null;
let healthPackage: PackageDefinition | null = null;

function methodOf(definition: PackageDefinition, service: string, method: string): unknown {
  const found = (definition[service] as Record<string, unknown> | undefined)?.[method];
  if (found === undefined) throw new Error(`${service}/${method} is missing from its .proto`);
  return found;
}

/** Loaded on first use and shared: parsing the .proto takes milliseconds. */
function coordinatorMethod(method: string): unknown {
  coordinatorPackage ??= loadSync(protoFile, {
    ...protoLoaderOptions,
    includeDirs: [join(packageRoot, protoDirectory)],
  });
  return methodOf(coordinatorPackage, coordinatorServiceName, method);
}

// proto-loader's definitions are untyped; these casts say once what src/wire/messages.ts is tested to say.
export function coordinateMethod(): MethodDefinition<CoordinateRequestInput, CoordinateResponseMessage> {
  return coordinatorMethod('Coordinate') as MethodDefinition<CoordinateRequestInput, CoordinateResponseMessage>;
}

export function coordinateStreamMethod(): MethodDefinition<CoordinateRequestInput, CoordinateResponseMessage> {
  return coordinatorMethod('CoordinateStream') as MethodDefinition<CoordinateRequestInput, CoordinateResponseMessage>;
}

export function listPoliciesMethod(): MethodDefinition<object, ListPoliciesResponseMessage> {
  return coordinatorMethod('ListPolicies') as MethodDefinition<object, ListPoliciesResponseMessage>;
}

type HealthMethod = MethodDefinition<{ service: string }, { status: Health }>;

export function healthMethod(): HealthMethod {
  return healthServiceMethod('Check');
}

/** One answer now, and one at each change. */
export function healthWatchMethod(): HealthMethod {
  return healthServiceMethod('Watch');
}

function healthServiceMethod(method: string): HealthMethod {
  healthPackage ??= loadSync(healthProtoPath, protoLoaderOptions);
  return methodOf(healthPackage, 'grpc.health.v1.Health', method) as HealthMethod;
}
