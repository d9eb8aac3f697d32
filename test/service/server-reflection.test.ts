/** Reflection: a client that has no proto file finds the service, its messages and how to call it. */
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { loadFileDescriptorSetFromBuffer, loadSync } from '@grpc/proto-loader';
import protobuf from 'protobufjs';
import descriptorTypes from 'protobufjs/ext/descriptor/index.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/package-root.js';
import { startFakeServer, type FakeServer } from './fake-server.js';

let fake: FakeServer;

beforeAll(async () => {
  fake = await startFakeServer();
});

afterAll(async () => {
  await fake.server.close();
});

interface ReflectionAnswer {
  readonly listServicesResponse?: { readonly service: readonly { readonly name: string }[] };
  readonly fileDescriptorResponse?: { readonly fileDescriptorProto: readonly Buffer[] };
  readonly errorResponse?: { readonly errorCode: number };
}

/** One question and its answer over ServerReflectionInfo. */
function ask(version: 'v1' | 'v1alpha', question: Record<string, string>): Promise<ReflectionAnswer> {
  const proto = join(
    packageRoot,
    `node_modules/@grpc/reflection/build/proto/grpc/reflection/${version}/reflection.proto`,
  );
  const loaded = grpc.loadPackageDefinition(loadSync(proto, { oneofs: true })) as unknown as {
    grpc: { reflection: Record<string, { ServerReflection: grpc.ServiceClientConstructor }> };
  };
  const { ServerReflection } = loaded.grpc.reflection[version]!;
  const client = new ServerReflection(fake.server.grpcAddress, grpc.credentials.createInsecure());
  const method = client['serverReflectionInfo'] as () => grpc.ClientDuplexStream<unknown, ReflectionAnswer>;
  const stream = method.call(client);
  return new Promise<ReflectionAnswer>((resolve, reject) => {
    stream.on('data', resolve);
    stream.on('error', reject);
    stream.write(question);
    stream.end();
  }).finally(() => client.close());
}

test.each(['v1', 'v1alpha'] as const)('%s lists the API and health', async (version) => {
  const { listServicesResponse } = await ask(version, { listServices: '*' });
  const names = listServicesResponse?.service.map(({ name }) => name);
  expect(names).toContain('tensorconsensus.v1.Coordinator');
  expect(names).toContain('grpc.health.v1.Health');
});

test.each(['v1', 'v1alpha'] as const)(
  '%s gives descriptors with which a call can be made, fields named as in the proto file',
  async (version) => {
    const { fileDescriptorResponse } = await ask(version, {
      fileContainingSymbol: 'tensorconsensus.v1.Coordinator',
    });
    const files = fileDescriptorResponse!.fileDescriptorProto;
    // A FileDescriptorSet is its files as field 1, one after another.
    const writer = protobuf.Writer.create();
    for (const file of files) writer.uint32(10).bytes(file);
    const definition = loadFileDescriptorSetFromBuffer(Buffer.from(writer.finish()));
    const loaded = grpc.loadPackageDefinition(definition) as unknown as {
      tensorconsensus: { v1: { Coordinator: grpc.ServiceClientConstructor } };
    };
    const client = new loaded.tensorconsensus.v1.Coordinator(
      fake.server.grpcAddress,
      grpc.credentials.createInsecure(),
    );
    const coordinate = client['coordinate'] as (
      request: unknown,
      done: (error: grpc.ServiceError | null, answer: { request_id: string }) => void,
    ) => void;
    const answer = await new Promise<{ request_id: string }>((resolve, reject) =>
      coordinate.call(client, { request_id: 'found by reflection' }, (error, value) =>
        error === null ? resolve(value) : reject(error),
      ),
    );
    client.close();
    expect(answer.request_id).toBe('found by reflection');
  },
);

test.each(['google.rpc.ErrorInfo', 'google.rpc.BadRequest', 'google.rpc.RetryInfo'])(
  '%s is found, so that generic clients can print error details',
  async (symbol) => {
    const { fileDescriptorResponse } = await ask('v1', { fileContainingSymbol: symbol });
    expect(fileDescriptorResponse?.fileDescriptorProto.length).toBeGreaterThan(0);
  },
);

test('what is not there is NOT_FOUND', async () => {
  const { errorResponse } = await ask('v1', { fileContainingSymbol: 'no.such.Symbol' });
  expect(errorResponse?.errorCode).toBe(grpc.status.NOT_FOUND);
});

interface Field {
  readonly name: string;
  readonly jsonName: string;
  readonly typeName: string;
  readonly proto3Optional: boolean;
}

interface MessageType {
  readonly name: string;
  readonly field: readonly Field[];
  readonly nestedType: readonly { readonly name: string }[];
}

/** The file of `symbol` with those that it imports. */
async function filesOf(symbol: string) {
  const { fileDescriptorResponse } = await ask('v1', { fileContainingSymbol: symbol });
  return fileDescriptorResponse!.fileDescriptorProto.map((bytes) => {
    const file = descriptorTypes.FileDescriptorProto.decode(bytes);
    return file as unknown as { name: string; dependency: string[]; messageType: MessageType[] };
  });
}

async function fieldOf(message: string, field: string): Promise<Field> {
  const [file] = await filesOf(message);
  const type = file!.messageType.find(({ name }) => message.endsWith(`.${name}`));
  return type!.field.find(({ name }) => name === field)!;
}

test('descriptors are as strict clients want them: imports, full type names, names of maps, optional fields, JSON names', async () => {
  const [rpc, ...imported] = await filesOf('google.rpc.Status');
  expect(rpc!.dependency).toEqual(['google_protobuf.proto']);
  expect(imported.map(({ name }) => name)).toContain('google_protobuf.proto');
  expect((await fieldOf('google.rpc.Status', 'details')).typeName).toBe('.google.protobuf.Any');

  const [health] = await filesOf('grpc.health.v1.Health');
  const list = health!.messageType.find(({ name }) => name === 'HealthListResponse')!;
  expect(list.nestedType.map(({ name }) => name)).toEqual(['StatusesEntry']);
  expect(list.field[0]!.typeName).toBe('.grpc.health.v1.HealthListResponse.StatusesEntry');

  const idleUtility = await fieldOf('tensorconsensus.v1.AssignmentOptions', 'idle_utility');
  expect(idleUtility).toMatchObject({ jsonName: 'idleUtility', proto3Optional: true });
  const iterations = await fieldOf('tensorconsensus.v1.AssignmentOptions', 'iterations');
  expect(iterations).toMatchObject({ jsonName: 'iterations', proto3Optional: false });
  const agents = await fieldOf('tensorconsensus.v1.CoordinateRequest', 'agents');
  expect(agents.typeName).toBe('.tensorconsensus.v1.Tensor');
});
