import { describe, expect, it } from 'vitest';
import { parseRequest } from '../../client/request-file.js';

const parse = (value: unknown) => parseRequest(JSON.stringify(value));

describe('request files', () => {
  it('take nested arrays as tensors and the strings of proto JSON as infinite numbers', () => {
    expect(
      parse({
        utility: [
          [1, '-Infinity', 2.5],
          [0, 3, 'NaN'],
        ],
      }).utility,
    ).toEqual({
      data: new Float32Array([1, -Infinity, 2.5, 0, 3, NaN]),
      shape: [2, 3],
    });
  });

  it('take snake_case and camelCase, enums in either case, and 64-bit numbers as text', () => {
    const snake = parse({
      agent_ids: ['a'],
      assignment: { idle_utility: 1, top_k: 2, forms: ['hard'] },
      seed: '18446744073709551615',
    });
    const camel = parse({
      agentIds: ['a'],
      assignment: { idleUtility: 1, topK: 2, forms: ['HARD'] },
      seed: '18446744073709551615',
    });
    expect(snake).toEqual(camel);
    expect(snake.seed).toBe(18446744073709551615n);
    expect(snake.assignment).toEqual({ idleUtility: 1, topK: 2, forms: ['HARD'] });
  });

  it('take masks as numbers, booleans or tensors', () => {
    const expected = new Uint8Array([1, 0, 1]);
    for (const mask of [[1, 0, 1], [true, false, true], { dtype: 'UINT8', shape: [3], values: [1, 0, 1] }]) {
      expect(parse({ agent_mask: mask }).agentMask).toEqual(expected);
    }
    expect(
      parse({
        assignment: {
          forbidden: [
            [0, 1],
            [1, 0],
          ],
        },
      }).assignment?.forbidden,
    ).toEqual(new Uint8Array([0, 1, 1, 0]));
  });

  it('take the tensor object of the proto, as values or as base64 bytes', () => {
    const base64 = Buffer.from(new Float64Array([1, 2]).buffer).toString('base64');
    expect(parse({ agents: { dtype: 'FLOAT64', shape: ['2', 1], data: base64 } }).agents).toEqual({
      data: new Float64Array([1, 2]),
      shape: [2, 1],
    });
    expect(parse({ agents: { dtype: 'INT32', shape: [2, 1], values: [1, 2] } }).agents?.data).toEqual(
      new Int32Array([1, 2]),
    );
  });

  it('leave out what is null, as proto JSON does', () => {
    expect(parse({ agents: null, policy: 'distance' })).toEqual({ policy: 'distance' });
  });

  it('are refused by the path of what is wrong', () => {
    const refusals: [unknown, RegExp][] = [
      [{ agnets: [[1]] }, /^agnets: unknown field; a request has .*agents/],
      [{ assignment: { top_kk: 1 } }, /^assignment\.top_kk: unknown field/],
      [{ agents: [[1, 2], [3]] }, /^agents\[1\]: expected an array of 2, as its neighbours are, received 1/],
      [{ agents: [[1], [[2]]] }, /^agents\[1\]\[0\]: expected a number.*received \[2\]/],
      [{ agents: [['x']] }, /^agents\[0\]\[0\]: expected a number/],
      [{ agents: { shape: [2], values: [1] } }, /^agents: expected 2 numbers for shape \[2\], received 1/],
      [{ agents: { shape: [1] } }, /^agents: expected either data or values/],
      [{ operators: ['FLY'] }, /^operators\[0\]: expected one of PROJECTION, ASSIGNMENT, CONSENSUS, received "FLY"/],
      [{ assignment: { capacities: [1, -1] } }, /^assignment\.capacities\[1\]: expected a whole number from 0/],
      [{ agent_ids: 'a' }, /^agent_ids: expected an array/],
      [{ agent_ids: ['a'], agentIds: ['b'] }, /^agent_ids: given twice/],
      [[1], /^request: expected an object/],
    ];
    for (const [value, message] of refusals) expect(() => parse(value)).toThrow(message);
    expect(() => parseRequest('{"agents": ')).toThrow(/^not JSON/);
  });
});
