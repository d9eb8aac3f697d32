import { join } from 'node:path';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.js';
import { enumNames, messageFields, protoDirectory, protoFile, protoPackage } from '../../src/wire/messages.js';

const root = protobuf.loadSync(join(packageRoot, protoDirectory, protoFile)).resolveAll();
const namespace = root.lookup(protoPackage) as protobuf.Namespace;
const types = namespace.nestedArray.filter((nested): nested is protobuf.Type => nested instanceof protobuf.Type);
const enums = namespace.nestedArray.filter((nested): nested is protobuf.Enum => nested instanceof protobuf.Enum);

function fieldsOf(type: protobuf.Type): Record<string, string> {
  return Object.fromEntries(
    type.fieldsArray.map((field) => {
      const prefix = field.repeated ? 'repeated ' : field.partOf === null ? '' : 'optional ';
      return [field.name, prefix + field.type];
    }),
  );
}

describe('message types', () => {
  it('covers every message of the .proto and no other', () => {
    expect(Object.keys(messageFields).sort()).toEqual(types.map((type) => type.name).sort());
  });

  it.each(types.map((type) => [type.name, type] as const))('has the fields of %s in both directions', (name, type) => {
    expect(messageFields[name as keyof typeof messageFields]).toEqual(fieldsOf(type));
  });

  it('covers every enum, numbered as in the .proto', () => {
    expect(Object.keys(enumNames).sort()).toEqual(enums.map((each) => each.name).sort());
    for (const each of enums) {
      const numbered = Object.fromEntries(enumNames[each.name as keyof typeof enumNames].map((name, i) => [name, i]));
      expect(each.values, each.name).toEqual(numbered);
    }
  });
});
