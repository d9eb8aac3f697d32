import { describe, expect, it } from 'vitest';
import { InputArena } from '../../src/engine/input-arena.js';
import { programSignature } from '../../src/operators/signature.js';
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
    expect(arena.holds(tensors)).toBe(true);
    expect(arena.holds([new Float32Array(4)])).toBe(false);
  });

  it('is the same for the next batch, also after a smaller one', () => {
    const arena = new InputArena();
    const first = arena.take(signature, small);
    arena.take(signature, { ...small, batch: 1 });
    expect(arena.take(signature, small)).toBe(first);
  });

  it('grows for a larger batch, and what was handed out before is no longer it', () => {
    const arena = new InputArena();
    const first = arena.take(signature, small)!;
    const larger = arena.take(signature, { ...small, batch: 8 })!;
    expect(arena.holds(larger)).toBe(true);
    expect(arena.holds(first)).toBe(false);
    expect(arena.holds(arena.take(signature, small)!)).toBe(true);
  });

  it('is not kept for inputs of tens of megabytes', () => {
    expect(new InputArena().take(signature, { batch: 1, agents: 5120, tasks: 5120 })).toBeNull();
  });
});
