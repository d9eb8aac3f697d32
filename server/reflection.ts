/** grpc.reflection v1 and v1alpha: lists the API, health, and the messages of error details, so that grpcurl needs no proto file. */
import { join } from 'node:path';
import type { Server } from '@grpc/grpc-js';
import { loadSync, type MessageTypeDefinition, type PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { protoPath as healthProtoPath } from 'grpc-health-check';
import type { Message } from 'protobufjs';
import descriptorTypes from 'protobufjs/ext/descriptor/index.js';
import { packageRoot } from '../src/package-root.js';
import { protoDirectory, protoFile, protoLoaderOptions } from '../src/wire/messages.js';
import { googleRpcProtoPath } from './error-details.js';

export function addReflection(registrar: Pick<Server, 'addService'>): void {
  // Fields are named as in the proto files.
  const reflected = loadSync([protoFile, healthProtoPath, googleRpcProtoPath], {
    ...protoLoaderOptions,
    keepCase: true,
    includeDirs: [join(packageRoot, protoDirectory)],
  });
  new ReflectionService(withRepairedDescriptors(reflected)).addToServer(registrar);
}

/** The parts of descriptor.proto that are repaired. */
interface FieldDescriptor {
  readonly name: string;
  /** Empty where the type is a scalar. */
  typeName: string;
  readonly oneofIndex?: number;
  /** In JSON; clients take both names. */
  jsonName: string;
  proto3Optional?: boolean;
}

interface MessageDescriptor {
  name: string;
  readonly field: readonly FieldDescriptor[];
  readonly nestedType: readonly MessageDescriptor[];
  readonly enumType: readonly { readonly name: string }[];
  readonly oneofDecl: readonly { readonly name: string }[];
  readonly options?: { readonly mapEntry?: boolean };
}

type FileDescriptor = Message & {
  readonly name: string;
  readonly package: string;
  /** Names of the files whose types this one refers to. */
  dependency: string[];
  readonly messageType: readonly MessageDescriptor[];
  readonly enumType: readonly { readonly name: string }[];
};

/**
 * protobufjs 7 writes descriptors in which maps do not have the names that protoc gives them and types of other packages
 * have shortened names and no imports, so that Go clients refuse the file, and in which `optional` fields look like oneofs.
 * All of that is set right here; tests hold the result.
 */
function withRepairedDescriptors(definition: PackageDefinition): PackageDefinition {
  const type = descriptorTypes.FileDescriptorProto;
  const filesOf = (entry: PackageDefinition[string]): readonly Buffer[] =>
    (entry as Partial<MessageTypeDefinition<object, object>>).fileDescriptorProtos ?? [];
  const files = new Map<Buffer, FileDescriptor>();
  for (const entry of Object.values(definition)) {
    for (const file of filesOf(entry)) if (!files.has(file)) files.set(file, type.decode(file) as FileDescriptor);
  }
  const fileOfType = new Map<string, string>();
  for (const file of files.values()) {
    for (const message of file.messageType) nameMaps(message);
    addTypeNames(file.package, file.messageType, file.enumType, file.name, fileOfType);
  }
  const repaired = new Map<Buffer, Buffer>();
  for (const [bytes, file] of files) {
    const used = new Set<string>();
    for (const message of file.messageType) repairFields(message, `${file.package}.${message.name}`, fileOfType, used);
    used.delete(file.name);
    file.dependency = [...used].sort();
    repaired.set(bytes, Buffer.from(type.encode(file).finish()));
  }
  const result: PackageDefinition = {};
  for (const [name, entry] of Object.entries(definition)) {
    const fileDescriptorProtos = filesOf(entry).map((file) => repaired.get(file)!);
    result[name] = fileDescriptorProtos.length === 0 ? entry : ({ ...entry, fileDescriptorProtos } as typeof entry);
  }
  return result;
}

/** The entry type of a map `some_field` is `SomeFieldEntry`. */
function nameMaps(message: MessageDescriptor): void {
  for (const nested of message.nestedType) {
    if (nested.options?.mapEntry !== true) {
      nameMaps(nested);
      continue;
    }
    const field = message.field.find(({ typeName }) => typeName === nested.name);
    if (field === undefined) continue;
    nested.name = `${field.name.replace(/(?:^|_)([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase())}Entry`;
    field.typeName = nested.name;
  }
}

function addTypeNames(
  scope: string,
  messages: readonly MessageDescriptor[],
  enums: readonly { readonly name: string }[],
  file: string,
  fileOfType: Map<string, string>,
): void {
  for (const { name } of enums) fileOfType.set(`${scope}.${name}`, file);
  for (const { name, nestedType, enumType } of messages) {
    fileOfType.set(`${scope}.${name}`, file);
    addTypeNames(`${scope}.${name}`, nestedType, enumType, file, fileOfType);
  }
}

/** Adds the files of the fields' types to `used`. */
function repairFields(
  message: MessageDescriptor,
  fullName: string,
  fileOfType: ReadonlyMap<string, string>,
  used: Set<string>,
): void {
  for (const field of message.field) {
    const typeName = field.typeName === '' ? null : resolved(field.typeName, fullName, fileOfType);
    if (typeName !== null) {
      field.typeName = `.${typeName}`;
      used.add(fileOfType.get(typeName)!);
    }
    field.jsonName = field.name.replace(/_([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase());
    // proto3 optional is a oneof of its own, named after the field.
    const oneof = Object.hasOwn(field, 'oneofIndex') ? message.oneofDecl[field.oneofIndex ?? -1] : undefined;
    if (oneof?.name === `_${field.name}`) field.proto3Optional = true;
  }
  for (const nested of message.nestedType) repairFields(nested, `${fullName}.${nested.name}`, fileOfType, used);
}

/** The full name of a type that is referred to from `scope`: the innermost one that fits; null where there is none. */
function resolved(typeName: string, scope: string, fileOfType: ReadonlyMap<string, string>): string | null {
  for (let outer = scope; outer !== ''; outer = outer.slice(0, Math.max(0, outer.lastIndexOf('.')))) {
    if (fileOfType.has(`${outer}.${typeName}`)) return `${outer}.${typeName}`;
  }
  return null;
}
