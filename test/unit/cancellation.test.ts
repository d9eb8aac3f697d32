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
