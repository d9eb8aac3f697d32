/** What a policy's safetensors file must hold, and the Policy that it makes. */
import { createHash } from 'node:crypto';
import type { AssignmentForm, ConsensusStart, Matrix } from '../problem.js';
import { largestMagnitude } from '../wire/finite.js';
import { bytesView } from '../wire/tensor.js';
import type { Policy, PolicyDefaults, ProjectionWeights } from './policy.js';
import { readSafetensors, type SafetensorsFile, type StoredTensor } from './safetensors.js';

/** Largest d, e and k: the widest bucket of the widths. */
export const largestPolicyWidth = 1024;

/** Largest |weight| and |bias| of a projection: its logits stay finite for every state that is accepted. */
const largestProjectionWeight = 1e15;
/** Largest |U_ij|: |a W t| / sqrt(d) <= largestMagnitude^2 sum |W| / sqrt(d) must be a float32. */
const largestUtility = 3e38;

export const policyTensors = {
  projectionWeight: 'projection.weight',
  projectionBias: 'projection.bias',
  projectionResourceMax: 'projection.resource_max',
  bilinear: 'assignment.bilinear',
} as const;

/** Where the file's metadata says nothing. */
const fileDefaults = {
  forms: ['HARD'],
  temperature: 1,
  iterations: 50,
  sigma: null,
  start: 'MEDOID',
} as const satisfies PolicyDefaults;

const versionFromFingerprintLength = 12;
const longestVersion = 64;

/** Why a file makes no policy, in one line. */
export class PolicyFileError extends Error {
  override readonly name = 'PolicyFileError';
}

/**
 * Reads a policy: `projection.weight` [d,k] with optional `projection.bias` [k] (0) and `projection.resource_max` [k]
 * (1), and `assignment.bilinear` [d,e]; at least one of the two, with the same d. String metadata `version`,
 * `temperature`, `iterations`, `sigma` and `start` set the defaults; other metadata is left alone.
 * @throws SafetensorsError, PolicyFileError
 */
export function readPolicyFile(
  name: string,
  file: Uint8Array,
  forms: readonly AssignmentForm[] = fileDefaults.forms,
): Policy {
  const stored = readSafetensors(file);
  checkNames(stored);
  const projection = readProjection(stored);
  const weight = matrixOf(stored, policyTensors.bilinear, ['d', 'e']);
  if (weight !== null) checkBilinear(weight);
  if (projection === null && weight === null) {
    throw new PolicyFileError(`neither ${policyTensors.projectionWeight} nor ${policyTensors.bilinear} is in it`);
  }
  if (projection !== null && weight !== null && projection.weight.rows !== weight.rows) {
    throw new PolicyFileError(
      `${policyTensors.projectionWeight} has d = ${projection.weight.rows}, ${policyTensors.bilinear} d = ${weight.rows}`,
    );
  }
  return makePolicy({
    name,
    version: readVersion(stored.metadata.get('version')),
    defaults: { ...readDefaults(stored.metadata), forms },
    projection,
    utility: weight === null ? null : { kind: 'bilinear', weight },
  });
}

/** Adds the fingerprint, whose first digits are the version where there is none. */
export function makePolicy(
  parts: Omit<Policy, 'fingerprint' | 'version'> & { readonly version: string | null },
): Policy {
  const { defaults, projection, utility } = parts;
  const hash = createHash('sha256');
  const { forms, temperature, iterations, sigma, start } = defaults;
  hash.update(JSON.stringify([forms, temperature, iterations, sigma, start, utility?.kind ?? null]));
  const add = (matrix: Matrix) => {
    hash.update(JSON.stringify([matrix.rows, matrix.columns]));
    hash.update(bytesView(matrix.data));
  };
  if (projection !== null) {
    add(projection.weight);
    hash.update(bytesView(projection.bias));
    hash.update(bytesView(projection.resourceMax));
  }
  if (utility?.kind === 'bilinear') add(utility.weight);
  const fingerprint = hash.digest('hex');
  return { ...parts, fingerprint, version: parts.version ?? fingerprint.slice(0, versionFromFingerprintLength) };
}

function checkNames({ tensors }: SafetensorsFile): void {
  const known: readonly string[] = Object.values(policyTensors);
  for (const name of tensors.keys()) {
    if (!known.includes(name)) {
      throw new PolicyFileError(`tensor ${JSON.stringify(name.slice(0, 64))} is none of ${known.join(', ')}`);
    }
  }
}

function readProjection(stored: SafetensorsFile): ProjectionWeights | null {
  const weight = matrixOf(stored, policyTensors.projectionWeight, ['d', 'k']);
  if (weight === null) {
    for (const name of [policyTensors.projectionBias, policyTensors.projectionResourceMax]) {
      if (stored.tensors.has(name)) throw new PolicyFileError(`${name} without ${policyTensors.projectionWeight}`);
    }
    return null;
  }
  const kinds = weight.columns;
  const resourceMax = vectorOf(stored, policyTensors.projectionResourceMax, kinds, 1);
  if (resourceMax.some((value) => value < 0)) {
    throw new PolicyFileError(`${policyTensors.projectionResourceMax} has a negative number`);
  }
  const bias = vectorOf(stored, policyTensors.projectionBias, kinds, 0);
  checkMagnitudes(policyTensors.projectionWeight, weight.data);
  checkMagnitudes(policyTensors.projectionBias, bias);
  return { weight, bias, resourceMax };
}

function checkMagnitudes(name: string, data: Float32Array): void {
  const beyond = data.find((value) => Math.abs(value) > largestProjectionWeight);
  if (beyond !== undefined) {
    throw new PolicyFileError(`${name}: expected magnitudes of at most ${largestProjectionWeight}, received ${beyond}`);
  }
}

/** So that no states make a utility that is no number. */
function checkBilinear({ rows, data }: Matrix): void {
  const most = (largestUtility / largestMagnitude ** 2) * Math.sqrt(rows);
  let sum = 0;
  for (const value of data) sum += Math.abs(value);
  if (sum > most) {
    throw new PolicyFileError(
      `${policyTensors.bilinear}: expected magnitudes that add up to at most ${most.toPrecision(3)}, received ${sum.toPrecision(3)}`,
    );
  }
}

function matrixOf(stored: SafetensorsFile, name: string, axes: readonly [string, string]): Matrix | null {
  const tensor: StoredTensor | undefined = stored.tensors.get(name);
  if (tensor === undefined) return null;
  const [rows, columns, ...rest] = tensor.shape;
  if (rows === undefined || columns === undefined || rest.length > 0 || rows < 1 || columns < 1) {
    throw new PolicyFileError(`${name}: expected shape [${axes.join(',')}], received [${tensor.shape.join(',')}]`);
  }
  if (rows > largestPolicyWidth || columns > largestPolicyWidth) {
    throw new PolicyFileError(
      `${name}: expected widths of at most ${largestPolicyWidth}, received [${tensor.shape.join(',')}]`,
    );
  }
  return { rows, columns, data: tensor.data };
}

function vectorOf(stored: SafetensorsFile, name: string, length: number, otherwise: number): Float32Array {
  const tensor = stored.tensors.get(name);
  if (tensor === undefined) return new Float32Array(length).fill(otherwise);
  if (tensor.shape.length !== 1 || tensor.shape[0] !== length) {
    throw new PolicyFileError(`${name}: expected shape [${length}], received [${tensor.shape.join(',')}]`);
  }
  return tensor.data;
}

function readVersion(text: string | undefined): string | null {
  if (text === undefined || text === '') return null;
  if (text.length > longestVersion) throw metadataError('version', `at most ${longestVersion} characters`, text);
  return text;
}

function readDefaults(metadata: ReadonlyMap<string, string>): PolicyDefaults {
  const temperature = readNumber(metadata, 'temperature');
  const iterations = readNumber(metadata, 'iterations');
  const sigma = readNumber(metadata, 'sigma');
  if (iterations !== null && !(Number.isInteger(iterations) && iterations <= 1000)) {
    throw metadataError('iterations', 'a whole number from 1 to 1000', String(iterations));
  }
  return {
    forms: fileDefaults.forms,
    temperature: temperature ?? fileDefaults.temperature,
    iterations: iterations ?? fileDefaults.iterations,
    sigma: sigma ?? fileDefaults.sigma,
    start: readStart(metadata.get('start')),
  };
}

/** A finite number above 0, or null where there is none. */
function readNumber(metadata: ReadonlyMap<string, string>, key: string): number | null {
  const text = metadata.get(key);
  if (text === undefined) return null;
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value <= 0) {
    throw metadataError(key, 'a finite number above 0', text);
  }
  return value;
}

function readStart(text: string | undefined): ConsensusStart {
  if (text === undefined) return fileDefaults.start;
  const start = text.toUpperCase();
  if (start !== 'MEDOID' && start !== 'MEAN') throw metadataError('start', 'MEDOID or MEAN', text);
  return start;
}

function metadataError(key: string, expected: string, received: string): PolicyFileError {
  return new PolicyFileError(
    `metadata ${key}: expected ${expected}, received ${JSON.stringify(received.slice(0, 64))}`,
  );
}
