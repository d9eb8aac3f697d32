/**
 * ONNX models as the runtime optimised them, kept among the executables on disk: a start that finds its programs there neither traces nor
 * lowers nor optimises, which is most of what it costs. An entry is found by what decides it and is known without tracing: spec, bucket,
 * weights, the code that lowers, the runtime's version and the host, for whose CPU the runtime lays out weights.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { bucketName, specKey } from '../operators/signature.js';
import { workerUrl } from '../worker-url.js';
import type { ProgramRequest } from './engine.js';
import type { ExecutableCache } from './executable-cache.js';
import { loweringDigest } from './lowering-digest.js';

export interface KeptModel {
  readonly model: Uint8Array<ArrayBuffer>;
  /** Of the model before it was optimised, as `OnnxSessions` gives it. */
  readonly fingerprint: string;
}

/** An entry's payload: the fingerprint as 16 characters, then the model. */
const fingerprintBytes = 16;

export class OnnxModelCache {
  readonly #cache: ExecutableCache;
  readonly #identity: string;
  readonly #writing = new Set<Promise<void>>();

  /** `host`: what optimised models depend on beside the runtime. Throws where the code that lowers cannot be read. */
  constructor(cache: ExecutableCache, host: string) {
    this.#cache = cache;
    const lowering = loweringDigest(workerUrl(import.meta.url, 'onnx-worker.js'));
    this.#identity = JSON.stringify(['onnx', lowering, runtimeVersion(), host]);
  }

  /** The name of the request's entry. */
  entryOf({ spec, bucket, parameters }: ProgramRequest): string {
    const digest = createHash('sha256').update([this.#identity, specKey(spec), bucketName(bucket)].join('\n'));
    for (const [name, values] of parameters) digest.update(`\n${name} ${values.length}\n`).update(bytesOf(values));
    return digest.digest('hex');
  }

  async read(entry: string): Promise<KeptModel | null> {
    const payload = await this.#cache.read(entry);
    if (payload === null) return null;
    const fingerprint = Buffer.from(payload.subarray(0, fingerprintBytes)).toString('latin1');
    return { model: payload.slice(fingerprintBytes), fingerprint };
  }

  /** The runtime does not take what is kept: it is forgotten. */
  refuse(entry: string, reason: string): Promise<void> {
    return this.#cache.refuse(entry, reason);
  }

  /** An empty file for the runtime to write a model into; null where there can be none. */
  scratch(): Promise<string | null> {
    return this.#cache.temporary();
  }

  /** Keeps what the runtime wrote to `scratch`, in the background, and deletes that file. An empty one says that it wrote nothing. */
  keep(entry: string, fingerprint: string, scratch: string): void {
    const write = async (): Promise<void> => {
      try {
        const model = await readFile(scratch);
        if (model.length > 0)
          await this.#cache.write(entry, Buffer.concat([Buffer.from(fingerprint, 'latin1'), model]));
      } catch {
        // The disk does not give it back: the program is compiled again at the next start.
      } finally {
        await this.discard(scratch);
      }
    };
    const writing = write().finally(() => this.#writing.delete(writing));
    this.#writing.add(writing);
  }

  async discard(scratch: string): Promise<void> {
    await rm(scratch, { force: true }).catch(() => undefined);
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await Promise.all(this.#writing);
  }
}

function bytesOf(values: ArrayLike<number>): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

function runtimeVersion(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  const { version } = JSON.parse(readFileSync(join(dirname(main), '..', 'package.json'), 'utf8')) as {
    version: string;
  };
  return version;
}
