import { expect, it } from 'vitest';
import { lowerToStableHlo } from '../../src/compiler/stablehlo.js';
import { buildProgram } from '../../src/operators/pipeline.js';
import { defaultSpecs } from '../../src/planning/spec.js';
import { builtInPolicies } from '../../src/policies/built-in.js';

const spec = defaultSpecs(builtInPolicies().find(({ name }) => name === 'reference')!)[0]!;
const program = buildProgram(spec, { batch: 1, agents: 64, tasks: 32 });

it('cuts the agents of arguments and results over the devices, and leaves the rest whole', () => {
  const text = lowerToStableHlo(program, { partitions: 4 });
  expect(text).toContain('  sdy.mesh @devices = <["agents"=4]>\n');
  const attribute = (axes: string): string => `{sdy.sharding = #sdy.sharding<@devices, [${axes}]>}`;
  expect(text).toContain(`%agents: tensor<1x64x64xf32> ${attribute('{}, {"agents"}, {}')}`);
  expect(text).toContain(`%tasks: tensor<1x32x64xf32> ${attribute('{}, {}, {}')}`);
  expect(text).toContain(`%bilinear: tensor<64x64xf32> ${attribute('{}, {}')}`);
  expect(text).toContain(`tensor<1x64x32xf32> ${attribute('{}, {"agents"}, {}')}`); // the plan
  const main = text.split('\n').find((line) => line.includes('@main'))!;
  expect(main.match(/sdy\.sharding = /g)).toHaveLength(main.match(/tensor</g)!.length);
});

it('says nothing of devices for one', () => {
  expect(lowerToStableHlo(program)).not.toContain('sdy');
  expect(lowerToStableHlo(program, { partitions: 1 })).toBe(lowerToStableHlo(program));
});

it('refuses devices that would get unequal shares', () => {
  expect(() => lowerToStableHlo(program, { partitions: 3 })).toThrow('64 agents over 3 devices');
});
