import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { packageRoot } from './package-root.js';

/**
 * The compiled JavaScript of a worker thread's entry file that stands beside `importMetaUrl`.
 * Node runs workers from JavaScript only; under a TypeScript test runner the compiled file is in dist/.
 */
export function workerUrl(importMetaUrl: string, fileName: `${string}.js`): URL {
  if (importMetaUrl.endsWith('.js')) return new URL(fileName, importMetaUrl);
  const folder = relative(packageRoot, fileURLToPath(new URL('.', importMetaUrl)));
  return pathToFileURL(join(packageRoot, 'dist', folder, fileName));
}
