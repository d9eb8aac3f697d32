import { Metadata } from '@grpc/grpc-js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseTraceparent, traceContextOf } from '../../server/trace-context.js';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const spanId = 'b7ad6b7169203331';
const parent = `00-${traceId}-${spanId}-01`;

test('a traceparent is read as the W3C wrote it down, its flags bit by bit', () => {
  expect(parseTraceparent(parent)).toEqual({ traceId, spanId, sampled: true, state: '' });
  expect(parseTraceparent(`00-${traceId}-${spanId}-00`)?.sampled).toBe(false);
  expect(parseTraceparent(`00-${traceId}-${spanId}-03`)?.sampled).toBe(true);
  expect(parseTraceparent(`00-${traceId}-${spanId}-fe`)?.sampled).toBe(false);
});

test('a later version is read as far as it is known, also where it appends fields', () => {
  expect(parseTraceparent(`01-${traceId}-${spanId}-01`)?.traceId).toBe(traceId);
  expect(parseTraceparent(`cc-${traceId}-${spanId}-01-what-comes-next`)?.spanId).toBe(spanId);
});

test.each([
  ['empty', ''],
  ['version ff', `ff-${traceId}-${spanId}-01`],
  ['more fields in version 00', `${parent}-ff`],
  ['upper case', parent.toUpperCase()],
  ['trace id of zeros', `00-${'0'.repeat(32)}-${spanId}-01`],
  ['span id of zeros', `00-${traceId}-${'0'.repeat(16)}-01`],
  ['short trace id', `00-${traceId.slice(1)}-${spanId}-01`],
  ['short flags', parent.slice(0, -1)],
  ['white space', ` ${parent}`],
  ['a line break', `${parent}\n`],
  ['two in one', `${parent},${parent}`],
  ['no hexadecimal digits', `00-${'g'.repeat(32)}-${spanId}-01`],
  ['a flood', `01-${traceId}-${spanId}-01-${'x'.repeat(100_000)}`],
])('no parent is taken from a traceparent with %s', (_what, text) => {
  expect(parseTraceparent(text)).toBeNull();
});

test('no text makes it throw, and what it takes is well-formed', () => {
  const nearly = fc
    .tuple(fc.nat(parent.length), fc.string({ maxLength: 3 }))
    .map(([at, text]) => parent.slice(0, at) + text + parent.slice(at + 1));
  fc.assert(
    fc.property(fc.oneof(fc.string(), nearly), (text) => {
      const context = parseTraceparent(text);
      if (context === null) return;
      expect(context.traceId).toMatch(/^(?!0+$)[0-9a-f]{32}$/);
      expect(context.spanId).toMatch(/^(?!0+$)[0-9a-f]{16}$/);
    }),
  );
});

test('metadata with several parents has none; several states are one list; one that is too long is left out', () => {
  const metadata = new Metadata();
  expect(traceContextOf(metadata)).toBeNull();
  metadata.set('traceparent', parent);
  expect(traceContextOf(metadata)?.state).toBe('');
  metadata.add('tracestate', 'a=1');
  metadata.add('tracestate', 'b=2');
  expect(traceContextOf(metadata)?.state).toBe('a=1,b=2');
  metadata.set('tracestate', `a=${'x'.repeat(600)}`);
  expect(traceContextOf(metadata)).toEqual({ traceId, spanId, sampled: true, state: '' });
  metadata.add('traceparent', parent);
  expect(traceContextOf(metadata)).toBeNull();
});
