/** docs/dependencies.md tells every direct dependency as package.json pins it; licences, sources and install scripts are as it says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/package-root.js';

interface Locked {
  readonly version: string;
  readonly license?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly hasInstallScript?: boolean;
}

const read = (path: string): string => readFileSync(join(packageRoot, path), 'utf8');
const manifest = JSON.parse(read('package.json')) as Record<'dependencies' | 'devDependencies', Record<string, string>>;
const { packages } = JSON.parse(read('package-lock.json')) as { packages: Record<string, Locked> };
const locked = Object.entries(packages).filter(([path]) => path !== '');
const page = read('docs/dependencies.md');

/** Name, version and licence of each row in the table below a heading of the page. */
function rowsUnder(heading: string): string[] {
  const [, section = ''] = page.split(`\n## ${heading}\n`);
  const [table] = section.split('\n## ');
  return [...table!.matchAll(/^\| `([^`]+)` +\| ([^| ]+) +\| ([^|]+?) +\| [^|]{20,}\|$/gm)].map(
    ([, name, version, licence]) => `${name} ${version} ${licence}`,
  );
}

const pinned = (of: Record<string, string>): string[] =>
  Object.entries(of).map(([name, version]) => `${name} ${version} ${packages[`node_modules/${name}`]?.license}`);

test('every dependency is pinned to one version and told with its licence and its reason', () => {
  expect(rowsUnder('Installed with the package').toSorted()).toEqual(pinned(manifest.dependencies).toSorted());
  expect(rowsUnder('For development').toSorted()).toEqual(pinned(manifest.devDependencies).toSorted());
  for (const of of [manifest.dependencies, manifest.devDependencies]) {
    for (const version of Object.values(of)) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  }
});

test('what is installed has a licence that allows it, and development adds only those that bind no user', () => {
  const free = ['MIT', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', '0BSD', '(MIT OR CC0-1.0)'];
  for (const [path, { license, dev, devOptional }] of locked) {
    const isForDevelopment = dev === true || devOptional === true;
    expect(isForDevelopment ? [...free, 'MPL-2.0', 'BlueOak-1.0.0'] : free, path).toContain(license);
  }
});

test('all of it comes from the registry, whichever is configured, held by its hash', () => {
  for (const [path, { resolved, integrity }] of locked) {
    expect(resolved ?? '', path).toMatch(/^$|^https:\/\/registry\.npmjs\.org\//);
    expect(integrity, path).toMatch(/^sha512-/);
  }
});

test('install scripts are those that the page names, none of which is needed', () => {
  const [, section = ''] = page.split('\n## Install scripts\n');
  const named = [...section.split('\n## ')[0]!.matchAll(/^- `([^`]+)`/gm)].map(([, name]) => name);
  const scripted = locked.filter(([, { hasInstallScript }]) => hasInstallScript === true);
  expect(scripted.map(([path]) => path.replace(/^.*node_modules\//, '')).toSorted()).toEqual(named.toSorted());
});
