/** A policy file. */
import { isDeepStrictEqual } from 'node:util';
import { PolicyFileError, readPolicyFile } from '../../src/policies/policy-file.js';
import {
  readSafetensors,
  SafetensorsError,
  type StoredTensor,
  writeSafetensors,
} from '../../src/policies/safetensors.js';
import { promise, type Target } from './target.js';

const tensor = (...shape: number[]): StoredTensor => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((product, length) => product * length, 1) }, (_, i) => i / 8),
});

const files = [
  writeSafetensors(
    new Map([['assignment.bilinear', tensor(2, 3)]]),
    new Map([
      ['version', '2'],
      ['temperature', '0.5'],
    ]),
  ),
  writeSafetensors(
    new Map([
      ['projection.weight', tensor(3, 2)],
      ['projection.bias', tensor(2)],
      ['projection.resource_max', tensor(2)],
      ['assignment.bilinear', tensor(3, 1)],
    ]),
    new Map(Object.entries({ iterations: '7', sigma: '1', start: 'mean' })),
  ),
  Buffer.concat([
    Buffer.from([0x60, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.from(
      '{"assignment.bilinear":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"__metadata__":{"a":"b"}}'.padEnd(
        0x60,
      ),
    ),
    Buffer.from([0, 60, 0, 60]),
  ]),
];

export const safetensorsTarget: Target = {
  name: 'safetensors',
  seeds: files.map((file) => Buffer.from(file)),
  mostBytes: 1024,
  check(bytes) {
    // With and without the length of the header made right.
    return [bytes, withLength(bytes)].map(checkFile).includes(true);
  },
};

/** The header ends with its last brace. */
function withLength(bytes: Buffer): Buffer {
  const whole = Buffer.from(bytes);
  const end = whole.lastIndexOf('}') + 1;
  if (end > 8) whole.writeBigUInt64LE(BigInt(end - 8));
  return whole;
}

function checkFile(bytes: Buffer): boolean {
  try {
    readPolicyFile('fuzzed', bytes);
  } catch (error) {
    if (!(error instanceof SafetensorsError) && !(error instanceof PolicyFileError)) throw error;
  }
  try {
    const { tensors, metadata } = readSafetensors(bytes);
    const again = readSafetensors(writeSafetensors(tensors, metadata));
    promise(isDeepStrictEqual(again, { tensors, metadata }), 'read(write(file)) is the file');
    return true;
  } catch (error) {
    if (error instanceof SafetensorsError) return false;
    throw error;
  }
}
