/**
 * Writes `docs/tpu.md` from reports of `tensor-consensus compile`: `node dist/client/compile/write-page.js docs/tpu.md DIR [DIR ...]`.
 * Together the folders hold every default program for one chip; a program that two of them hold counts from the later one.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CompileReport } from './report.js';
import { tpuPage } from './tpu-page.js';

const [page, ...folders] = process.argv.slice(2);
const reports = folders.map((folder) => JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as CompileReport);
if (page === undefined || reports.length === 0) {
  process.stderr.write('expected a file to write and one or more folders that compile wrote\n');
  process.exit(2);
}
writeFileSync(page, tpuPage(reports));
