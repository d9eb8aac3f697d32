/** jax-js functions to graphs. Tracing works on types alone: no array of the bucket's size is ever allocated. */
import { type Array as JaxArray, type ClosedJaxpr, makeJaxpr } from '@jax-js/jax';
import {
  type ArrayType,
  type Constant,
  type DType,
  type Graph,
  normalise,
  type Operand,
  type Variable,
} from './primitives.js';

/** A jax-js function of arrays. Consumes its arguments (move semantics: `x.ref` to read one twice). */
export type ArrayFunction = (...arrays: JaxArray[]) => JaxArray[];

/**
 * Stands for an argument: `makeJaxpr` reads shape and dtype only. A class, because jax-js takes plain objects apart
 * as trees of arrays.
 */
class AbstractArray {
  readonly shape: number[];
  readonly dtype: DType;
  readonly weakType = false;

  constructor(type: ArrayType) {
    this.shape = [...type.shape];
    this.dtype = type.dtype;
  }
}

function dtypeOf(dtype: string): DType {
  if (dtype === 'float32' || dtype === 'int32' || dtype === 'bool') return dtype;
  throw new Error(`expected float32, int32 or bool in a traced function, received ${dtype}`);
}

/** Traces `fn` for arguments of the given types. Throws where it uses dtypes other than float32, int32 and bool. */
export function trace(fn: ArrayFunction, inputs: readonly ArrayType[]): Graph {
  const examples = inputs.map((type) => new AbstractArray(type)) as unknown as JaxArray[];
  const closed: ClosedJaxpr = makeJaxpr(fn)(...examples).jaxpr;
  try {
    return normalise(graphOf(closed));
  } finally {
    closed.dispose();
  }
}

function graphOf(closed: ClosedJaxpr): Graph {
  const jaxpr = closed.jaxpr.flatten();
  type Atom = (typeof jaxpr.outs)[number];
  type Binder = (typeof jaxpr.inBinders)[number];
  const variables = new Map<Atom, Variable>();
  const define = (binder: Binder): Variable => {
    const type = { shape: [...binder.aval.shape], dtype: dtypeOf(binder.aval.dtype) };
    const variable: Variable = { kind: 'variable', id: variables.size, type };
    variables.set(binder, variable);
    return variable;
  };
  const read = (atom: Atom): Operand => {
    if ('value' in atom) return { kind: 'literal', value: atom.value, type: { shape: [], dtype: dtypeOf(atom.dtype) } };
    const variable = variables.get(atom);
    if (variable === undefined) throw new Error('a traced equation reads a variable that nothing defines');
    return variable;
  };
  const constants = closed.consts.map((array, index): Constant => {
    const variable = define(jaxpr.inBinders[index]!);
    return { variable, data: ownedData((array as unknown as ConcreteArray).ref.dataSync(), variable.type.dtype) };
  });
  const inputs = jaxpr.inBinders.slice(constants.length).map(define);
  const equations = jaxpr.eqns.map((equation) => ({
    primitive: equation.primitive,
    inputs: equation.inputs.map(read),
    outputs: equation.outBinders.map(define),
    params: equation.params,
  }));
  return { inputs, constants, equations, outputs: jaxpr.outs.map(read) };
}

/** A captured constant is always an evaluated array; `dataSync` consumes the reference it is called on. */
interface ConcreteArray {
  readonly ref: { dataSync(): ArrayLike<number> };
}

/** A copy that outlives the trace's arrays; booleans as bytes 0 and 1. */
function ownedData(data: ArrayLike<number>, dtype: DType): Constant['data'] {
  if (dtype === 'float32') return Float32Array.from(data);
  if (dtype === 'int32') return Int32Array.from(data);
  return Uint8Array.from(data, (bit) => (bit === 0 ? 0 : 1));
}
