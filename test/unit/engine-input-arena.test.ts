import { describe, expect, it } from 'vitest';
import { bundled, bundlingOf } from '../../src/compiler/bundling.js';
import { InputArena } from '../../src/engine/input-arena.js';
import { programSignature } from '../../src/operators/signature.js';
import { addressOf, hostAlignmentBytes } from '../../src/pjrt/native-memory.js';
import { givenSpec } from '../fake-programs.js';

const small = { batch: 2, agents: 16, tasks: 32 };
const signature = programSignature(givenSpec());

describe('the memory that batches are packed into', () => {
  it('holds every input in its shape and type, apart from each other', () => {
    const arena = new InputArena();
    const tensors = arena.take(signature, small)!;
    expect(tensors.map(({ length }) => length)).toEqual(
      signature.inputs.map(({ axes }) =>
        axes.reduce<number>(
          (size, axis) => size * (axis === 'B' ? 2 : axis === 'N' ? 16 : axis === 'M' ? 32 : axis),
          1,
        ),
      ),
    );
    tensors.forEach((tensor, index) => tensor.fill(index + 1));
    tensors.forEach((tensor, index) => expect(new Set(tensor)).toEqual(new Set([index + 1])));
  });

  it('starts where plugins take it without a copy, and lays what travels in a bundle as one', () => {
    const tensors = new InputArena().take(signature, small)!;
    const bundling = bundlingOf(signature.inputs, small);
    expect(bundling.members.length).toBeGreaterThan(1);
    tensors.forEach((tensor, index) => tensor.fill(index + 1));
    const [bundle] = bundled(bundling, tensors);
    expect(addressOf(bundle!) % BigInt(hostAlignmentBytes)).toBe(0n);
    expect(bundle!.buffer).toBe(tensors[0]!.buffer);
    const large = { batch: 32, agents: 128, tasks: 128 };
    for (const position of bundlingOf(signature.inputs, large).single) {
      const tensor = new InputArena().take(signature, large)![position]!;
      expect(addressOf(tensor) % BigInt(hostAlignmentBytes)).toBe(0n);
    }
  });

  it('is apart for every batch until it is given back, and then the same, also after a smaller one', () => {
    const arena = new InputArena();
    const first = arena.take(signature, small)!;
    const second = arena.take(signature, small)!;
    expect(second[0]!.buffer).not.toBe(first[0]!.buffer);
    arena.giveBack(first);
    const smaller = arena.take(signature, { ...small, batch: 1 })!;
    expect(smaller[0]!.buffer).toBe(first[0]!.buffer);
    arena.giveBack(smaller);
    expect(arena.take(signature, small)).toBe(first);
  });

  it('is not handed out twice where it was given back twice', () => {
    const arena = new InputArena();
    const tensors = arena.take(signature, small)!;
    arena.giveBack(tensors);
    arena.giveBack(tensors);
    expect(arena.take(signature, small)).toBe(tensors);
    expect(arena.take(signature, small)![0]!.buffer).not.toBe(tensors[0]!.buffer);
  });

  it('leaves memory alone that is not its own', () => {
    const arena = new InputArena();
    const foreign = signature.inputs.map(() => new Float32Array(4));
    arena.giveBack(foreign);
    arena.giveBack([]);
    expect(arena.take(signature, small)![0]!.buffer).not.toBe(foreign[0]!.buffer);
  });

  it('makes room for a larger batch in the place of what is too small, and keeps three blocks, the largest', () => {
    const arena = new InputArena();
    arena.giveBack(arena.take(signature, small)!);
    const larger = arena.take(signature, { ...small, batch: 8 })!;
    arena.giveBack(larger);
    expect(arena.take(signature, small)![0]!.buffer).toBe(larger[0]!.buffer);

    const taken = [1, 2, 4, 8].map((batch) => arena.take(signature, { ...small, batch })!);
    for (const tensors of taken) arena.giveBack(tensors);
    const again = [1, 1, 1, 1].map((batch) => arena.take(signature, { ...small, batch })![0]!.buffer);
    const known = taken.map(([tensor]) => tensor!.buffer);
    expect(new Set(again.slice(0, 3))).toEqual(new Set(known.slice(1)));
    expect(known).not.toContain(again[3]);
  });

  it('is not kept for inputs of tens of megabytes', () => {
    expect(new InputArena().take(signature, { batch: 1, agents: 5120, tasks: 5120 })).toBeNull();
  });
});
