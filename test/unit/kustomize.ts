/**
 * What `kustomize build` makes of the folders under deploy/, as far as they use it: resources, components, strategic-merge and
 * JSON 6902 patches, namespace. Unlike kustomize it refuses a patch that meets nothing.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';

type Value = string | number | boolean | null | Value[] | { [key: string]: Value };

/** A Kubernetes object, or a part of one. */
export type Tree = Record<string, Value>;

interface Patch {
  readonly path?: string;
  readonly patch?: string;
  readonly target?: { readonly kind?: string; readonly name?: string };
}

interface Kustomization {
  readonly resources?: readonly string[];
  readonly components?: readonly string[];
  readonly patches?: readonly Patch[];
  readonly namespace?: string;
}

interface Operation {
  readonly op: 'add' | 'remove' | 'replace';
  readonly path: string;
  readonly value?: Value;
}

/** By which field the entries of a list are told apart; other lists are replaced as a whole. */
const mergeKeys: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  env: 'name',
  volumes: 'name',
  volumeMounts: 'mountPath',
};

const isTree = (value: Value | undefined): value is Tree =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function documentsOf(file: string): Tree[] {
  return parseAllDocuments(readFileSync(file, 'utf8')).map((document) => {
    if (document.errors.length > 0) throw new Error(`${file}: ${document.errors[0]!.message}`);
    return document.toJS() as Tree;
  });
}

/** The objects of a kustomization, in no order. @throws Error where a patch or a component meets nothing. */
export function build(folder: string): Tree[] {
  return withKustomization(folder, []);
}

/** Those objects with one more component on them. */
export function buildWith(folder: string, component: string): Tree[] {
  return withKustomization(component, build(folder));
}

function withKustomization(folder: string, given: readonly Tree[]): Tree[] {
  const {
    resources = [],
    components = [],
    patches = [],
    namespace,
  } = parse(readFileSync(join(folder, 'kustomization.yaml'), 'utf8')) as Kustomization;
  let objects = [...given];
  for (const path of resources) {
    objects.push(...(path.endsWith('.yaml') ? documentsOf(join(folder, path)) : build(join(folder, path))));
  }
  for (const path of components) objects = withKustomization(join(folder, path), objects);
  for (const patch of patches) objects = patched(objects, patch, folder);
  if (namespace !== undefined) {
    for (const object of objects)
      if (object['kind'] !== 'Namespace') (object['metadata'] as Tree)['namespace'] = namespace;
  }
  return objects;
}

function patched(objects: readonly Tree[], { path, patch, target }: Patch, folder: string): Tree[] {
  const text = patch ?? readFileSync(join(folder, path!), 'utf8');
  const content = parse(text) as Tree | Operation[];
  const ownKind = Array.isArray(content) ? undefined : (content['kind'] as string);
  const ownName = Array.isArray(content) ? undefined : ((content['metadata'] as Tree)['name'] as string);
  const kind = new RegExp(`^(${target === undefined ? ownKind! : (target.kind ?? '.*')})$`);
  const name = new RegExp(`^(${target === undefined ? ownName! : (target.name ?? '.*')})$`);
  let met = 0;
  const result = objects.flatMap((object) => {
    if (!kind.test(object['kind'] as string) || !name.test((object['metadata'] as Tree)['name'] as string))
      return [object];
    met++;
    if (Array.isArray(content)) return [content.reduce(operated, structuredClone(object))];
    if (content['$patch'] === 'delete') return [];
    const { apiVersion, kind: unchanged } = object;
    return [{ ...(merged(object, content) as Tree), apiVersion: apiVersion!, kind: unchanged! }];
  });
  if (met === 0) throw new Error(`${folder}: a patch for ${kind.source} ${name.source} meets nothing`);
  return result;
}

function operated(object: Tree, { op, path, value }: Operation): Tree {
  const keys = path
    .slice(1)
    .split('/')
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
  const last = keys.pop()!;
  let place: Value = object;
  for (const key of keys) {
    const next: Value | undefined = Array.isArray(place) ? place[Number(key)] : isTree(place) ? place[key] : undefined;
    if (next === undefined) throw new Error(`${path}: there is no ${key}`);
    place = next;
  }
  if (Array.isArray(place)) {
    if (last === '-') place.push(value!);
    else if (op === 'remove') place.splice(Number(last), 1);
    else place[Number(last)] = value!;
    return object;
  }
  const parent = place as Tree;
  if (op !== 'add' && parent[last] === undefined) throw new Error(`${path}: there is no ${last} to ${op}`);
  if (op === 'remove') Reflect.deleteProperty(parent, last);
  else parent[last] = value!;
  return object;
}

function merged(old: Value | undefined, patch: Value, key = ''): Value {
  const by = mergeKeys[key];
  if (Array.isArray(patch) && Array.isArray(old) && by !== undefined) {
    const entries = new Map((old as Tree[]).map((entry) => [entry[by], entry]));
    for (const entry of patch as Tree[]) {
      if (entry['$patch'] === 'delete') {
        if (!entries.delete(entry[by])) throw new Error(`${key}: there is no ${JSON.stringify(entry[by])} to delete`);
      } else entries.set(entry[by], merged(entries.get(entry[by]), entry) as Tree);
    }
    return [...entries.values()];
  }
  if (!isTree(patch)) return patch;
  const result: Tree = isTree(old) ? { ...old } : {};
  for (const [name, value] of Object.entries(patch)) result[name] = merged(result[name], value, name);
  return result;
}
