import { expect, test } from 'vitest';
import { Cancellation } from '../../src/cancellation.js';

test('calls each listener once, in turn, and none that was taken off', () => {
  const cancellation = new Cancellation();
  const calls: string[] = [];
  const third = (): void => void calls.push('third');
  const gone = (): void => void calls.push('gone');
  cancellation.addEventListener('abort', gone);
  cancellation.addEventListener('abort', () => {
    calls.push(`first, aborted ${cancellation.aborted}`);
    cancellation.removeEventListener('abort', third);
  });
  cancellation.addEventListener('abort', () => void calls.push('second'));
  cancellation.addEventListener('abort', third);
  cancellation.removeEventListener('abort', gone);
  expect(cancellation.aborted).toBe(false);
  cancellation.abort();
  cancellation.abort();
  cancellation.addEventListener('abort', gone);
  cancellation.abort();
  expect(calls).toEqual(['first, aborted true', 'second']);
});

test('is aborted with the outer one, for its reason, until it lets go of it', () => {
  const outer = new AbortController();
  const inner = new Cancellation(outer.signal);
  const released = new Cancellation(outer.signal);
  released.release();
  outer.abort('why');
  expect([inner.aborted, inner.reason, released.aborted]).toEqual([true, 'why', false]);
  expect(new Cancellation(outer.signal).aborted).toBe(true);
});
