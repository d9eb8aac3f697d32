/** What the code that lowers programs is, as a digest: programs that other code lowered are other programs. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { workerUrl } from '../worker-url.js';

/** A relative import or export in compiled JavaScript. One that stands in a comment or a string is one file too many, or is no file and throws. */
const relativeImport = /\b(?:from|import)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g;

/**
 * Digest of the lowering thread's compiled code with all that it imports, and of the version of jax-js, which traces. Of the files as they are
 * now: a thread that has loaded them already may run others. Takes some 5 ms. Throws where a file is missing.
 */
export function loweringDigest(entry: URL = workerUrl(import.meta.url, 'lowering-worker.js')): string {
  const digest = createHash('sha256');
  const known = new Set([entry.href]);
  // A set is walked in the order of insertion, and goes on to what is added meanwhile.
  for (const href of known) {
    const code = readFileSync(fileURLToPath(href), 'utf8');
    digest.update(`${code.length}\n`).update(code);
    for (const [, name] of code.matchAll(relativeImport)) known.add(new URL(name!, href).href);
  }
  const jax = createRequire(import.meta.url).resolve('@jax-js/jax');
  digest.update(readFileSync(join(dirname(jax), '..', 'package.json')));
  return digest.digest('hex');
}
