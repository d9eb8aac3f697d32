import { mkdirSync, mkdtempSync, renameSync, rmSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CoordinatorError } from '../../src/errors.js';
import { type PolicyEvent, PolicyRegistry } from '../../src/policies/registry.js';
import { writeSafetensors } from '../../src/policies/safetensors.js';
import { VirtualClock } from '../virtual-clock.js';

const pollMs = 2000;
let directory: string;
let clock: VirtualClock;
let events: PolicyEvent[];
let registry: PolicyRegistry | null;
/** Modification times of files: later for each write, whatever the file system's resolution. */
let writes: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'policies-'));
  clock = new VirtualClock();
  events = [];
  registry = null;
  writes = 0;
});

afterEach(() => {
  registry?.close();
  rmSync(directory, { recursive: true, force: true });
});

async function openRegistry(): Promise<PolicyRegistry> {
  registry = await PolicyRegistry.open({ directory, pollMs, clock, onEvent: (event) => events.push(event) });
  return registry;
}

function write(file: string, bytes: Uint8Array): void {
  writeFileSync(join(directory, file), bytes);
  writes++;
  utimesSync(join(directory, file), writes, writes);
}

type Shapes = Record<string, number[]>;

function weights(shapes: Shapes, metadata: Record<string, string> = {}, value = 0.5): Uint8Array {
  return writeSafetensors(
    new Map(
      Object.entries(shapes).map(([name, shape]) => {
        const count = shape.reduce((product, length) => product * length, 1);
        return [name, { shape, data: new Float32Array(count).fill(value) }];
      }),
    ),
    new Map(Object.entries(metadata)),
  );
}

const bilinear = { 'assignment.bilinear': [3, 2] };

describe('policy files', () => {
  it('become policies with their weights and metadata', async () => {
    const shapes = {
      ...bilinear,
      'projection.weight': [3, 4],
      'projection.bias': [4],
      'projection.resource_max': [4],
    };
    const metadata = {
      version: '2.1',
      temperature: '0.25',
      iterations: '30',
      sigma: '1.5',
      start: 'mean',
      format: 'pt',
    };
    write('swarm.safetensors', weights(shapes, metadata));
    const policy = (await openRegistry()).get('swarm');
    expect(policy).toMatchObject({
      name: 'swarm',
      version: '2.1',
      defaults: { forms: ['HARD'], temperature: 0.25, iterations: 30, sigma: 1.5, start: 'MEAN' },
      utility: { kind: 'bilinear', weight: { rows: 3, columns: 2, data: new Float32Array(6).fill(0.5) } },
      projection: { weight: { rows: 3, columns: 4 }, bias: new Float32Array(4).fill(0.5) },
    });
    expect(events).toEqual([{ kind: 'loaded', name: 'swarm', version: '2.1' }]);
  });

  it('without metadata get a version from their content and the documented defaults', async () => {
    write('a.safetensors', weights({ 'projection.weight': [2, 3] }));
    write('b.safetensors', weights({ 'projection.weight': [2, 3] }));
    write('c.safetensors', weights({ 'projection.weight': [2, 3] }, {}, 0.75));
    const opened = await openRegistry();
    const [a, b, c] = ['a', 'b', 'c'].map((name) => opened.get(name));
    expect(a).toMatchObject({
      version: a!.fingerprint.slice(0, 12),
      defaults: { forms: ['HARD'], temperature: 1, iterations: 50, sigma: null, start: 'MEDOID' },
      utility: null,
      projection: { bias: new Float32Array(3), resourceMax: new Float32Array(3).fill(1) },
    });
    expect(b!.fingerprint).toBe(a!.fingerprint);
    expect(c!.fingerprint).not.toBe(a!.fingerprint);
  });

  const projection = { 'projection.weight': [2, 3] };
  it.each([
    ['no tensors', weights({}), 'neither projection.weight nor assignment.bilinear is in it'],
    [
      'a misspelt tensor',
      weights({ ...bilinear, 'projection.wieght': [3, 2] }),
      'tensor "projection.wieght" is none of projection.weight, projection.bias, projection.resource_max, assignment.bilinear',
    ],
    [
      'a vector for a matrix',
      weights({ 'assignment.bilinear': [6] }),
      'assignment.bilinear: expected shape [d,e], received [6]',
    ],
    [
      'an empty matrix',
      weights({ 'assignment.bilinear': [0, 3] }),
      'assignment.bilinear: expected shape [d,e], received [0,3]',
    ],
    [
      'too wide a matrix',
      weights({ 'assignment.bilinear': [1025, 1] }),
      'assignment.bilinear: expected widths of at most 1024, received [1025,1]',
    ],
    ['a bias alone', weights({ ...bilinear, 'projection.bias': [3] }), 'projection.bias without projection.weight'],
    [
      'a bias of another length',
      weights({ ...projection, 'projection.bias': [2] }),
      'projection.bias: expected shape [3], received [2]',
    ],
    [
      'widths that differ',
      weights({ ...bilinear, 'projection.weight': [4, 2] }),
      'projection.weight has d = 4, assignment.bilinear d = 3',
    ],
    [
      'a negative maximum',
      weights({ ...projection, 'projection.resource_max': [3] }, {}, -1),
      'projection.resource_max has a negative number',
    ],
    [
      'projection weights that overflow on states of 1e15',
      weights({ 'projection.weight': [3, 2] }, {}, -1e16),
      'projection.weight: expected magnitudes of at most 1000000000000000, received -10000000272564224',
    ],
    [
      'bilinear weights that overflow on states of 1e15',
      weights(bilinear, {}, 1e9),
      'assignment.bilinear: expected magnitudes that add up to at most 5.20e+8, received 6.00e+9',
    ],
    [
      'a temperature of 0',
      weights(bilinear, { temperature: '0' }),
      'metadata temperature: expected a finite number above 0, received "0"',
    ],
    [
      'a temperature that is no number',
      weights(bilinear, { temperature: 'warm' }),
      'metadata temperature: expected a finite number above 0, received "warm"',
    ],
    [
      'an empty sigma',
      weights(bilinear, { sigma: '' }),
      'metadata sigma: expected a finite number above 0, received ""',
    ],
    [
      'fractional iterations',
      weights(bilinear, { iterations: '2.5' }),
      'metadata iterations: expected a whole number from 1 to 1000, received "2.5"',
    ],
    [
      'too many iterations',
      weights(bilinear, { iterations: '1001' }),
      'metadata iterations: expected a whole number from 1 to 1000, received "1001"',
    ],
    [
      'an unknown start',
      weights(bilinear, { start: 'MODE' }),
      'metadata start: expected MEDOID or MEAN, received "MODE"',
    ],
    [
      'a long version',
      weights(bilinear, { version: 'x'.repeat(65) }),
      `metadata version: expected at most 64 characters, received "${'x'.repeat(64)}"`,
    ],
    ['no safetensors', Buffer.from('hello'), '5 bytes are no safetensors file'],
  ])('with %s are refused by name with the reason, and do not stop the others', async (_, bytes, reason) => {
    write('bad.safetensors', bytes);
    write('good.safetensors', weights(bilinear));
    const opened = await openRegistry();
    expect(opened.refusals()).toEqual([{ file: 'bad.safetensors', reason }]);
    expect(events).toContainEqual({ kind: 'refused', file: 'bad.safetensors', reason, inService: null });
    expect(opened.list().map((policy) => policy.name)).toEqual(['distance', 'reference', 'good']);
  });

  it('cannot shadow built-in policies, have odd names, or be folders', async () => {
    write('distance.safetensors', weights(bilinear));
    write('two words.safetensors', weights(bilinear));
    mkdirSync(join(directory, 'folder.safetensors'));
    write('.hidden.safetensors', weights(bilinear));
    write('notes.txt', Buffer.from('not a policy'));
    const opened = await openRegistry();
    expect(opened.get('distance').utility).toEqual({ kind: 'distance' });
    expect(opened.list()).toHaveLength(2);
    expect(opened.refusals()).toEqual([
      { file: 'distance.safetensors', reason: '`distance` is a built-in policy and cannot be replaced' },
      { file: 'folder.safetensors', reason: 'not a file' },
      {
        file: 'two words.safetensors',
        reason: 'a policy name is 1 to 64 letters, digits, `.`, `_` and `-`, and starts with a letter or digit',
      },
    ]);
  });
});

describe('the registry', () => {
  it('says which policies there are where a name is unknown', async () => {
    const opened = await openRegistry();
    let thrown: unknown;
    try {
      opened.get('nobody');
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(CoordinatorError);
    expect(thrown).toMatchObject({
      code: 'POLICY_UNKNOWN',
      message: 'policy: expected one of distance, reference, received "nobody"',
    });
    expect(opened.defaultName).toBe('distance');
  });

  it('works without a directory and does not open where the directory cannot be read', async () => {
    const alone = await PolicyRegistry.open({ directory: null, pollMs, clock });
    expect(alone.list().map((policy) => policy.name)).toEqual(['distance', 'reference']);
    expect(clock.pendingTimers).toBe(0);
    const missing = join(directory, 'missing');
    await expect(PolicyRegistry.open({ directory: missing, pollMs, clock })).rejects.toThrow(
      `policy directory ${missing}: ENOENT`,
    );
  });

  it('puts changed, new and deleted files in service at the next poll, without a restart', async () => {
    write('a.safetensors', weights(bilinear, { version: '1' }));
    const opened = await openRegistry();
    const before = opened.get('a');
    write('a.safetensors', weights(bilinear, { version: '2' }));
    write('b.safetensors', weights(bilinear, { version: '1' }));
    expect(opened.get('a').version).toBe('1');
    clock.advance(pollMs);
    await opened.reload();
    expect(
      opened
        .list()
        .map((policy) => `${policy.name} ${policy.version}`)
        .slice(2),
    ).toEqual(['a 2', 'b 1']);
    expect(before.version).toBe('1');
    unlinkSync(join(directory, 'a.safetensors'));
    await opened.reload();
    expect(() => opened.get('a')).toThrow('policy: expected one of distance, reference, b, received "a"');
    expect(events.map((event) => (event.kind === 'refused' ? event : `${event.kind} ${event.name}`))).toEqual([
      'loaded a',
      'loaded a',
      'loaded b',
      'removed a',
    ]);
  });

  it('polls by the clock, again and again', async () => {
    const opened = await openRegistry();
    for (const version of ['1', '2', '3']) {
      write('a.safetensors', weights(bilinear, { version }));
      const poll = clock.nextDueMs;
      expect(poll - clock.nowMs()).toBe(pollMs);
      // The poll's own scan was queued before this one, which therefore finds nothing left to do.
      clock.advance(pollMs);
      await opened.reload();
      expect(opened.get('a').version).toBe(version);
      expect(clock.pendingTimers).toBe(1);
    }
    expect(events).toHaveLength(3);
    opened.close();
    expect(clock.pendingTimers).toBe(0);
  });

  it('keeps the old version while a file is bad, tells it once, and takes the repaired file', async () => {
    const good = weights(bilinear, { version: '1' });
    write('a.safetensors', good);
    const opened = await openRegistry();
    write('a.safetensors', weights(bilinear, { version: '2' }).subarray(0, 90));
    await opened.reload();
    await opened.reload();
    expect(opened.get('a').version).toBe('1');
    expect(opened.refusals().map((refusal) => refusal.file)).toEqual(['a.safetensors']);
    expect(events.slice(1)).toEqual([
      {
        kind: 'refused',
        file: 'a.safetensors',
        reason: expect.stringContaining('the header says') as string,
        inService: '1',
      },
    ]);
    write('a.safetensors', weights(bilinear, { version: '3' }));
    await opened.reload();
    expect(opened.get('a').version).toBe('3');
    expect(opened.refusals()).toEqual([]);
  });

  it('takes a file that is renamed into place with the same size and time', async () => {
    write('a.safetensors', weights(bilinear, { version: '1' }));
    const opened = await openRegistry();
    writeFileSync(join(directory, 'a.tmp'), weights(bilinear, { version: '2' }));
    utimesSync(join(directory, 'a.tmp'), writes, writes);
    renameSync(join(directory, 'a.tmp'), join(directory, 'a.safetensors'));
    await opened.reload();
    expect(opened.get('a').version).toBe('2');
  });

  it('drops a policy whose bad file is deleted, and keeps all while the directory is away', async () => {
    write('a.safetensors', weights(bilinear, { version: '1' }));
    write('b.safetensors', weights(bilinear, { version: '1' }));
    const opened = await openRegistry();
    write('a.safetensors', Buffer.from('bad'));
    await opened.reload();
    unlinkSync(join(directory, 'a.safetensors'));
    await opened.reload();
    expect(opened.list().map((policy) => policy.name)).toEqual(['distance', 'reference', 'b']);
    const away = `${directory}-away`;
    renameSync(directory, away);
    await opened.reload();
    await opened.reload();
    expect(opened.get('b').version).toBe('1');
    expect(opened.refusals()).toEqual([{ file: directory, reason: expect.stringContaining('ENOENT') as string }]);
    expect(events.filter((event) => event.kind === 'refused')).toHaveLength(2);
    renameSync(away, directory);
    await opened.reload();
    expect(opened.refusals()).toEqual([]);
  });
});
