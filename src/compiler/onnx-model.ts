/** ONNX messages as plain objects, and their encoding by the project's own subset of the format. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { packageRoot } from '../package-root.js';
import type { ArrayType, DType } from './primitives.js';

/** Element types of tensors: those of programs, and int64 for shapes and axes. */
export type OnnxDType = DType | 'int64';

const dataTypes: Record<OnnxDType, number> = { float32: 1, int32: 6, int64: 7, bool: 9 };

/** Numbers of the format for the kinds of attribute that are written. */
const attributeTypes = { f: 1, i: 2, g: 5, ints: 7 } as const;

/** Opset 18 is the first whose reductions all take their axes as an input; IR 8 came with it. */
const opsetVersion = 18;
const irVersion = 8;

export type Attribute =
  { readonly f: number } | { readonly i: number } | { readonly ints: readonly number[] } | { readonly g: GraphMessage };

export interface NodeMessage {
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly name: string;
  readonly opType: string;
  readonly attribute: readonly AttributeMessage[];
}

export type AttributeMessage = { readonly name: string; readonly type: number } & Attribute;

export interface TensorMessage {
  readonly dims: readonly number[];
  readonly dataType: number;
  readonly name: string;
  readonly rawData: Uint8Array;
}

export interface ValueMessage {
  readonly name: string;
  readonly type: { readonly tensorType: { readonly elemType: number; readonly shape: { readonly dim: object[] } } };
}

export interface GraphMessage {
  readonly node: readonly NodeMessage[];
  readonly name: string;
  readonly initializer: readonly TensorMessage[];
  readonly input: readonly ValueMessage[];
  readonly output: readonly ValueMessage[];
}

export function attributeMessage(name: string, value: Attribute): AttributeMessage {
  const kind = 'f' in value ? 'f' : 'i' in value ? 'i' : 'g' in value ? 'g' : 'ints';
  return { name, type: attributeTypes[kind], ...value };
}

/** `data` is copied; the platform is little-endian, as the format is. */
export function tensorMessage(
  name: string,
  dims: readonly number[],
  dtype: OnnxDType,
  data: Float32Array | Int32Array | BigInt64Array | Uint8Array,
): TensorMessage {
  const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return { dims, dataType: dataTypes[dtype], name, rawData };
}

export function valueMessage(
  name: string,
  { shape, dtype }: { shape: ArrayType['shape']; dtype: OnnxDType },
): ValueMessage {
  const dim = shape.map((dimValue) => ({ dimValue }));
  return { name, type: { tensorType: { elemType: dataTypes[dtype], shape: { dim } } } };
}

let modelType: protobuf.Type | null = null;

/** Serialised model. Equal graphs give equal bytes. */
export function encodeModel(graph: GraphMessage): Uint8Array {
  modelType ??= protobuf
    .parse(readFileSync(join(packageRoot, 'proto/onnx/onnx-subset.proto'), 'utf8'))
    .root.lookupType('tensorconsensus.onnx.ModelProto');
  const model = {
    irVersion,
    producerName: 'tensor-consensus',
    graph,
    opsetImport: [{ domain: '', version: opsetVersion }],
  };
  return modelType.encode(model).finish();
}
