/** docs/api.md from the .proto: its comments are the text. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Enum, type Field, type Namespace, parse, type ReflectionObject, Service, Type } from 'protobufjs';
import { packageRoot } from '../../src/package-root.js';
import { protoDirectory, protoFile, protoPackage } from '../../src/wire/messages.js';

export function renderApiPage(): string {
  const source = readFileSync(join(packageRoot, protoDirectory, protoFile), 'utf8');
  const { root } = parse(source, { keepCase: true, alternateCommentMode: true, preferTrailingComment: true });
  const parts = (root.lookup(protoPackage) as Namespace).nestedArray;
  const services = parts.filter((part) => part instanceof Service);
  const messages = parts.filter((part) => part instanceof Type);
  const enums = parts.filter((part) => part instanceof Enum);
  return [
    '# API',
    '',
    `<!-- Generated from proto/${protoFile} by test/unit/docs.test.ts; do not edit. -->`,
    '',
    `Package \`${protoPackage}\`, file [proto/${protoFile}](../proto/${protoFile}). Beside it the server has`,
    '`grpc.health.v1.Health` (`NOT_SERVING` until it is warm and while it drains) and reflection (v1 and v1alpha). What fails: [errors.md](errors.md).',
    'What changes keep clients working: [upgrades.md](upgrades.md).',
    ...services.flatMap(sectionOfService),
    ...messages.flatMap(sectionOfMessage),
    ...enums.flatMap(sectionOfEnum),
    '',
  ].join('\n');
}

function sectionOfService(service: Service): string[] {
  const rows = service.methodsArray.map((method) => {
    const request = `${method.requestStream === true ? 'stream ' : ''}${link(method.requestType)}`;
    const response = `${method.responseStream === true ? 'stream ' : ''}${link(method.responseType)}`;
    return `| \`${method.name}\` | ${request} | ${response} | ${textOf(method)} |`;
  });
  return heading(service, 'Service', ['| Method | Request | Response | |', '|---|---|---|---|', ...rows]);
}

function sectionOfMessage(type: Type): string[] {
  if (type.fieldsArray.length === 0) return heading(type, 'Message', ['No fields.']);
  const rows = type.fieldsArray
    .toSorted((a, b) => a.id - b.id)
    .map((field) => `| ${field.id} | \`${field.name}\` | ${typeOf(field)} | ${textOf(field)} |`);
  return heading(type, 'Message', ['| No. | Field | Type | |', '|---|---|---|---|', ...rows]);
}

function sectionOfEnum(each: Enum): string[] {
  const rows = Object.entries(each.values).map(
    ([name, value]) => `| ${value} | \`${name}\` | ${flat(each.comments[name] ?? '')} |`,
  );
  return heading(each, 'Enum', ['| No. | Name | |', '|---|---|---|', ...rows]);
}

function heading(part: ReflectionObject, kind: string, lines: readonly string[]): string[] {
  const text = textOf(part);
  return ['', `## ${part.name}`, '', text === '' ? `${kind}.` : text, '', ...lines];
}

const scalar = /^[a-z]/;

function typeOf(field: Field): string {
  const { type, repeated } = field;
  const isOptional = field.options?.['proto3_optional'] === true;
  const label = repeated ? 'repeated ' : isOptional ? 'optional ' : '';
  return `${label}${scalar.test(type) ? type : link(type)}`;
}

function link(type: string): string {
  return `[${type}](#${type.toLowerCase()})`;
}

function textOf({ comment }: ReflectionObject): string {
  return flat(comment ?? '');
}

function flat(comment: string): string {
  return comment.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').trim();
}
