import { describe, expect, it } from 'vitest';
import { maxBatch } from '../../src/batching/buckets.js';
import { warmRequests } from '../../src/engine/warmup.js';
import { bucketName, type ProgramSpec } from '../../src/operators/signature.js';
import type { Policy } from '../../src/policies/policy.js';

const policy = (name: string): Policy => ({
  name,
  version: '1',
  fingerprint: name,
  defaults: { forms: ['HARD'], temperature: 1, iterations: 10, sigma: null, start: 'MEDOID' },
  projection: null,
  utility: { kind: 'distance' },
});

const spec = (parameters: string, utility: ProgramSpec['utility']): ProgramSpec => ({
  parameters,
  projection: null,
  utility,
  utilityOut: utility !== null,
  soft: null,
  consensus: { source: 'agents', width: 4, iterations: 10, start: 'MEDOID' },
});

const planner = {
  defaultSpecs: ({ name }: Policy) => [
    spec(name, name === 'flock' ? null : ({ source: 'distance', width: 4 } as const)),
  ],
  parametersOf: ({ name }: Policy) => new Map([['bilinear' as const, Float32Array.of(name.length)]]),
  largestBatch: (agents: number, tasks: number) => maxBatch(agents, tasks, 32),
};

describe('warm set', () => {
  it('is the square buckets up to 128 at batch 1 and at the largest batch, largest first', () => {
    const requests = warmRequests([policy('swarm')], planner);
    expect(requests.map(({ bucket }) => bucketName(bucket))).toEqual(
      [128, 64, 32, 16].flatMap((size) => [`b32 n${size} m${size}`, `b1 n${size} m${size}`]),
    );
  });

  it('covers every policy with its own weights', () => {
    const requests = warmRequests([policy('swarm'), policy('fleet')], planner);
    expect(requests).toHaveLength(16);
    for (const { spec: of, parameters } of requests) {
      expect(parameters.get('bilinear')).toEqual(Float32Array.of(of.parameters.length));
    }
  });

  it('has no task axis for programs without tasks, and one program where the largest batch is 1', () => {
    const requests = warmRequests([policy('flock')], { ...planner, largestBatch: () => 1 });
    expect(requests.map(({ bucket }) => bucketName(bucket))).toEqual([
      'b1 n128 m0',
      'b1 n64 m0',
      'b1 n32 m0',
      'b1 n16 m0',
    ]);
  });
});
