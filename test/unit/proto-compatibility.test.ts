/**
 * The .proto against that of the last release (test/golden/released-proto), by buf's rules for whole files: whatever a client was built with goes on working,
 * in its code and on the wire. A release copies the .proto there.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/package-root.js';
import { protoDirectory, protoFile } from '../../src/wire/messages.js';

const folder = mkdtempSync(join(tmpdir(), 'tensor-consensus-proto-'));
const released = join(packageRoot, 'test/golden/released-proto');
const rules = JSON.stringify({ version: 'v2', breaking: { use: ['FILE'] } });
const buf = join(packageRoot, 'node_modules/.bin/buf');

afterAll(() => rmSync(folder, { recursive: true }));

/** What breaks, a line each, in the .proto after `change`. */
function breaksAfter(change: (source: string) => string): string[] {
  const changed = mkdtempSync(join(folder, 'proto-'));
  cpSync(join(packageRoot, protoDirectory), changed, { recursive: true });
  const file = join(changed, protoFile);
  const source = readFileSync(file, 'utf8');
  writeFileSync(file, change(source));
  // Away from the project: buf would take its folder for a workspace. A home of its own: it keeps a cache there.
  const options = { cwd: folder, env: { ...process.env, HOME: folder }, encoding: 'utf8' } as const;
  const { status, stdout, stderr } = spawnSync(
    buf,
    ['breaking', changed, '--against', released, '--config', rules],
    options,
  );
  if (status !== 0 && status !== 100) throw new Error(`buf ended with ${status}: ${stderr}`);
  return stdout.split('\n').filter((line) => line !== '');
}

test('the proto breaks no client of the last release', () => {
  expect(breaksAfter((source) => source)).toEqual([]);
});

test('a field that is renamed, renumbered or removed would be noticed', () => {
  const breaks = breaksAfter((source) => source.replace('string policy = 2;', 'string policy = 99;'));
  expect(breaks.join('\n')).toMatch(/field "2" with name "policy"/i);
  const renamed = breaksAfter((source) => source.replace('string request_id = 1;', 'string request_name = 1;'));
  expect(renamed.join('\n')).toContain('"request_id" to "request_name"');
});
