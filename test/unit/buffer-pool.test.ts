import { expect, it } from 'vitest';
import { poolMessages } from '../../server/buffer-pool.js';

/** Whether one of two buffers made in a row shares its memory with the one before it; the first of a fresh piece shares with none. */
function share(bytes: number): boolean {
  const [first, second, third] = [0, 1, 2].map(() => Buffer.allocUnsafe(bytes).buffer);
  return first === second || second === third;
}

it('messages of tens of kilobytes share their memory once they are pooled', () => {
  const before = Buffer.poolSize;
  try {
    Buffer.poolSize = 8 * 1024;
    expect(share(52_000)).toBe(false);
    poolMessages();
    // What is left of a piece of the old size is no larger than that.
    expect(share(52_000)).toBe(true);
  } finally {
    Buffer.poolSize = before;
  }
});
