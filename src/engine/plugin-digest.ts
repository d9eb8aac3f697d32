/** Which build a PJRT plugin is: its version numbers do not tell (the CPU plugin calls itself "cpu"), its file does. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { ExecutableCache } from './executable-cache.js';

/**
 * SHA-256 of the library, in hexadecimal. Hashing hundreds of megabytes at every start would cost up to a second, so the cache remembers it for
 * the file as it stands: path, size, inode and both times, of which writing to the file or putting another in its place changes some.
 */
export async function pluginDigest(path: string, cache: ExecutableCache): Promise<string> {
  const { size, ino, dev, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  const state = ['plugin', path, size, dev, ino, mtimeNs, ctimeNs].join('\n');
  const key = createHash('sha256').update(state).digest('hex');
  const known = await cache.read(key, false);
  if (known !== null) return Buffer.from(known).toString('hex');
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: readBytes })) digest.update(chunk as Buffer);
  const found = digest.digest();
  await cache.write(key, found);
  return found.toString('hex');
}

const readBytes = 1024 * 1024;
