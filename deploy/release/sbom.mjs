/**
 * Writes the software bill of materials (CycloneDX, JSON) of what is installed with the package to dist/sbom.cdx.json, from
 * package-lock.json alone. The same lock gives the same bytes: npm's random serial number, the time and the folder's name are left out.
 *
 * `node deploy/release/sbom.mjs`; part of `npm pack` and of the image.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const flags = [
  'sbom',
  '--sbom-format',
  'cyclonedx',
  '--sbom-type',
  'application',
  '--omit',
  'dev',
  '--package-lock-only',
];
const output = execFileSync('npm', flags, {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 64 << 20,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const { serialNumber: _random, ...bill } = JSON.parse(output);
delete bill.metadata.timestamp;
// npm calls it after its folder.
bill.metadata.component.name = 'tensor-consensus';
mkdirSync(`${root}/dist`, { recursive: true });
writeFileSync(`${root}/dist/sbom.cdx.json`, `${JSON.stringify(bill, null, 2)}\n`);
console.log(`dist/sbom.cdx.json: ${bill.components.length} components`);
