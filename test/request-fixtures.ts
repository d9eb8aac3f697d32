/** Requests and policies for the tests of the wire: N = 3, M = 2, d = 3, e = 2 unless said. */
import { CoordinatorError } from '../src/errors.js';
import { builtInPolicies } from '../src/policies/built-in.js';
import type { Policy, PolicySource } from '../src/policies/policy.js';
import { makePolicy } from '../src/policies/policy-file.js';
import type { Problem } from '../src/problem.js';
import type { CoordinateRequestInput, TensorInput } from '../src/wire/messages.js';
import { decodeRequest, type RequestLimits } from '../src/wire/request.js';
import { requestMessage } from './wire-codec.js';

export const limits: RequestLimits = {
  maxAgents: 5120,
  maxTasks: 5120,
  maxWidth: 1024,
  maxTensorElements: 2 ** 26,
  maxMessageBytes: 64 * 1024 * 1024,
};

/** d = 3, k = 2, no bilinear weights. */
const projecting = makePolicy({
  name: 'projecting',
  version: null,
  defaults: { forms: ['TOP_K'], temperature: 0.25, iterations: 7, sigma: 1.5, start: 'MEAN' },
  projection: {
    weight: { rows: 3, columns: 2, data: new Float32Array(6).fill(1) },
    bias: new Float32Array(2),
    resourceMax: Float32Array.of(4, 5),
  },
  utility: null,
});

/** d = 3, e = 2. */
const bilinear = makePolicy({
  ...projecting,
  name: 'bilinear',
  version: '3',
  utility: { kind: 'bilinear', weight: { rows: 3, columns: 2, data: new Float32Array(6).fill(1) } },
});

const known = new Map<string, Policy>(
  [...builtInPolicies(), projecting, bilinear].map((policy) => [policy.name, policy]),
);
export const policies: PolicySource = {
  defaultName: 'distance',
  get(name) {
    const policy = known.get(name);
    if (policy === undefined) throw CoordinatorError.field('POLICY_UNKNOWN', 'policy', 'a known one', name);
    return policy;
  },
  list: () => [...known.values()],
};

export function decode(request: CoordinateRequestInput, changed: Partial<RequestLimits> = {}): Problem {
  return decodeRequest(requestMessage(request), { policies, limits: { ...limits, ...changed } });
}

export function refusal(request: CoordinateRequestInput, changed: Partial<RequestLimits> = {}): CoordinatorError {
  try {
    decode(request, changed);
  } catch (error) {
    if (error instanceof CoordinatorError) return error;
    throw error;
  }
  throw new Error('the request was accepted');
}

export function floats(shape: number[], values?: number[]): TensorInput {
  const count = shape.reduce((product, length) => product * length, 1);
  return { shape, values: values ?? Array.from({ length: count }, (_, i) => i / 8) };
}

export function booleans(shape: number[], values: number[]): TensorInput {
  return { dtype: 'UINT8', shape, data: Uint8Array.from(values) };
}

export const base: CoordinateRequestInput = { agents: floats([3, 3]), tasks: floats([2, 2]) };
