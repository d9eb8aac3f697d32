/** What is written to a descriptor that takes some of it, none of it, or is broken. */
import { beforeEach, describe, expect, it, vi } from 'vitest';

const descriptor = vi.hoisted(() => ({
  written: '',
  /** Bytes that it takes; more are refused with `code`. */
  room: Infinity,
  code: 'EAGAIN',
}));

vi.mock(import('node:fs'), async (original) => {
  const writeSync = (_fd: number, bytes: Buffer): number => {
    const taken = Math.min(descriptor.room, bytes.length);
    if (taken === 0) throw Object.assign(new Error(descriptor.code), { code: descriptor.code });
    descriptor.room -= taken;
    descriptor.written += bytes.subarray(0, taken).toString();
    return taken;
  };
  return { ...(await original()), writeSync } as unknown as Awaited<ReturnType<typeof original>>;
});

const { LogOutput } = await import('../../server/log-output.js');

beforeEach(() => {
  vi.useFakeTimers();
  Object.assign(descriptor, { written: '', room: Infinity, code: 'EAGAIN' });
});

describe('lines to a descriptor', () => {
  it('are written at once where there is room', () => {
    new LogOutput(1).write('one\n');
    expect(descriptor.written).toBe('one\n');
  });

  it('go on within a line where that was cut, in order, when there is room again', () => {
    const output = new LogOutput(1);
    descriptor.room = 5;
    for (const line of ['one\n', 'two\n', 'three\n']) output.write(line);
    expect(descriptor.written).toBe('one\nt');
    expect(output.flush()).toBe(false);
    descriptor.room = 4;
    vi.advanceTimersByTime(100);
    expect(descriptor.written).toBe('one\ntwo\nt');
    descriptor.room = Infinity;
    vi.advanceTimersByTime(100);
    expect(descriptor.written).toBe('one\ntwo\nthree\n');
    expect(output.flush()).toBe(true);
    expect(output.linesLost).toBe(0);
  });

  it.each(['EAGAIN', 'EPIPE', 'ENOSPC'])(
    'wait up to a megabyte for a descriptor that says %s, then are lost',
    (code) => {
      const output = new LogOutput(1);
      const told: number[] = [];
      output.onRead = (lostLines) => {
        told.push(lostLines);
        output.write(`lost ${lostLines}\n`);
      };
      Object.assign(descriptor, { room: 0, code });
      const line = `${'x'.repeat(1023)}\n`;
      for (let i = 0; i < 1030; i++) output.write(line);
      expect(output.linesLost).toBe(6);
      vi.advanceTimersByTime(5000);
      expect(told).toEqual([]);
      descriptor.room = Infinity;
      vi.advanceTimersByTime(1000);
      expect(told).toEqual([6]);
      expect(descriptor.written).toBe(`${line.repeat(1024)}lost 6\n`);
      output.write('after\n');
      expect(descriptor.written.endsWith('lost 6\nafter\n')).toBe(true);
      expect(told).toEqual([6]);
    },
  );

  it('may be longer than what may wait', () => {
    const output = new LogOutput(1);
    descriptor.room = 10;
    const line = `${'x'.repeat(2 * 1024 * 1024)}\n`;
    output.write(line);
    descriptor.room = Infinity;
    expect(output.flush()).toBe(true);
    expect(descriptor.written).toBe(line);
  });
});
