/**
 * `npm audit` with the policy of docs/dependencies.md: a known vulnerability of severity high or critical in what is installed with the package fails,
 * unless `exceptions` names it with a reason and a day until which that holds; everything else is shown. A registry that answers no audits
 * (mirrors often do not) is said and is no failure.
 *
 * `node deploy/release/audit.mjs`
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Advisories that do not apply: { id: 'GHSA-…', until: '2027-01-31', reason: '…' }. */
const exceptions = [];
const failing = ['high', 'critical'];

const root = fileURLToPath(new URL('../..', import.meta.url));
const { stdout, stderr } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 64 << 20,
});
let report = null;
try {
  report = JSON.parse(stdout);
} catch {
  // Said below.
}
if (report?.vulnerabilities === undefined) {
  const why =
    report?.error?.summary ||
    report?.message ||
    stderr.split('\n').find((line) => line.includes('audit')) ||
    'no answer';
  console.log(`audit: the registry answers no audits (${why}); nothing was checked`);
  process.exit(0);
}
const today = new Date().toISOString().slice(0, 10);
let failed = 0;
for (const [name, { severity, via }] of Object.entries(report.vulnerabilities)) {
  for (const advisory of via.filter((each) => typeof each === 'object')) {
    const id = advisory.url?.split('/').at(-1) ?? String(advisory.source);
    const exception = exceptions.find((each) => each.id === id && each.until >= today);
    const isFailure = failing.includes(advisory.severity ?? severity) && exception === undefined;
    if (isFailure) failed++;
    const note =
      exception === undefined
        ? isFailure
          ? 'FAILS'
          : 'noted'
        : `excepted until ${exception.until}: ${exception.reason}`;
    console.log(`audit: ${name} ${id} ${advisory.severity ?? severity}: ${advisory.title} (${note})`);
  }
}
console.log(`audit: ${failed} that fail`);
process.exit(failed === 0 ? 0 : 1);
