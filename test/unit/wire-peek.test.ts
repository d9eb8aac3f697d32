import { join } from 'node:path';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.js';
import { protoDirectory, protoFile } from '../../src/wire/messages.js';
import { outlineOf } from '../../src/wire/peek.js';

const root = protobuf.loadSync(join(packageRoot, protoDirectory, protoFile));
const requestType = root.lookupType('tensorconsensus.v1.CoordinateRequest');
const encoded = (message: object) => requestType.encode(requestType.fromObject(message)).finish();

const tensor = { dtype: 0, shape: [1, 2], data: Buffer.alloc(8) };

describe('what a request says before it is decoded', () => {
  it('its id, policy and priority', () => {
    const bytes = encoded({ requestId: 'tick 7', policy: 'depot', agents: tensor, priority: 'HIGH' });
    expect(outlineOf(bytes)).toEqual({ requestId: 'tick 7', policy: 'depot', priority: 'HIGH', isHard: false });
    expect(outlineOf(encoded({}))).toEqual({ requestId: '', policy: '', priority: 'NORMAL', isHard: false });
    expect(outlineOf(encoded({ priority: 'LOW' })).priority).toBe('LOW');
  });

  it('whether a hard assignment is asked for, or left to the policy', () => {
    const isHard = (message: object) => outlineOf(encoded({ agents: tensor, ...message })).isHard;
    expect(isHard({})).toBe(false);
    expect(isHard({ tasks: tensor })).toBeNull();
    expect(isHard({ utility: tensor, assignment: { temperature: 1 } })).toBeNull();
    expect(isHard({ tasks: tensor, assignment: { forms: ['PLAN', 'HARD'] } })).toBe(true);
    expect(isHard({ tasks: tensor, assignment: { forms: ['TOP_K'] } })).toBe(false);
    expect(isHard({ tasks: tensor, operators: ['PROJECTION', 'CONSENSUS'] })).toBe(false);
    expect(isHard({ tasks: tensor, operators: ['ASSIGNMENT'] })).toBeNull();
  });

  it('whatever the bytes are, without failing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(['LOW', 'NORMAL', 'HIGH']).toContain(outlineOf(bytes).priority);
      }),
    );
    const whole = encoded({ requestId: 'x', tasks: tensor, assignment: { forms: ['HARD'] }, priority: 'HIGH' });
    for (let length = 0; length < whole.length; length++) outlineOf(whole.subarray(0, length));
  });
});
